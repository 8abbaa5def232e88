"""Calls to Android phones that sleep: a real PBX, the service, and the FCM double."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.doubles.fcm import PROJECT, FcmDevice, FcmDouble, error, held
from tests.lab.phone import Phone
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID, LabService, ServiceOptions

from .conftest import Extension, Stage, StartService

_numbers = itertools.count(7501)
StartAndroid = Callable[..., Awaitable["Android"]]


@dataclass(frozen=True, slots=True)
class Android:
    """The service, its FCM and its PBX."""

    service: LabService
    fcm: FcmDouble
    stage: Stage
    sink: PushSink

    async def phone(self, *, kind: str = "token") -> tuple[Extension, FcmDevice]:
        """A new extension with one Android phone, which sleeps."""
        ext, device = self.extension(), self.fcm.device(kind=kind)
        await ext.provision()
        await self.service.put_device(
            ext.account, provider="fcm", token=device.token, token_kind=kind, platform="android"
        )
        return ext, device

    def extension(self) -> Extension:
        """A new one, not yet known."""
        user = str(next(_numbers))
        return Extension(service=self.service, pbx=self.stage.hold, sink=self.sink, user=user)


@pytest.fixture
async def start_android(
    stage: Stage, start_service: StartService, push_sink: PushSink, fcm: FcmDouble
) -> AsyncIterator[StartAndroid]:
    """Starts a service with FCM; at the end no rule of HTTP/2 was broken, and nothing secret is
    in its log.
    """
    services: list[LabService] = []

    async def start(**extra: Any) -> Android:
        section = {
            "app_id": APP_ID,
            "service_account_file": str(fcm.service_account_file),
            "base_url": fcm.base_url,
            "ca_file": str(fcm.ca_file),
        }
        service = await start_service(
            ServiceOptions(
                webhook_url=push_sink.url,
                webhook_key=push_sink.key,
                extra={"providers": {"fcm": [section]}, **extra},
            )
        )
        services.append(service)
        return Android(service, fcm, stage, push_sink)

    yield start
    assert fcm.faults == []
    secrets = {*fcm.devices, *fcm.oauth.tokens}
    secrets |= {each.form["assertion"] for each in fcm.oauth_requests}
    for service in services:
        log = service.process.output()
        assert "Traceback" not in log
        assert not [secret for secret in secrets if secret in log]


def register_when_pushed(device: FcmDevice, phone: Phone) -> None:
    """The first push wakes the phone."""
    left = [phone.register]

    async def wake(_: object) -> None:
        if left:
            await left.pop()()

    device.deliver = wake


async def is_called(ext: Extension, device: FcmDevice) -> None:
    """A whole call that the pushed phone takes."""
    async with ext.caller() as caller, ext.phone() as phone:
        register_when_pushed(device, phone)
        call = caller.call(ext.aor)
        incoming = await phone.incoming(within=10)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    record = await ext.record(sip_call_id=call.invite.call_id)
    assert record["verdict"] == "answered"


@pytest.mark.parametrize("kind", ["token", "fid"])
async def test_woken_call(start_android: StartAndroid, kind: str) -> None:
    """A call to a sleeping Android phone is held; one urgent data message leaves; the phone
    registers and gets this very call.
    """
    android = await start_android()
    ext, device = await android.phone(kind=kind)
    await is_called(ext, device)
    [request] = android.fcm.requests
    assert request.project_id == PROJECT
    assert request.message[kind] == device.token
    assert request.android == {"priority": "high", "ttl": "0s"}
    assert request.data["type"] == "call"
    assert request.data["call_id"] == (await ext.record())["id"]
    assert len(android.fcm.oauth_requests) == 1
    assert android.sink.pushes == []


async def test_cancelled_while_waking(start_android: StartAndroid) -> None:
    """The caller gives up: the phone is told so, by a message that is not urgent and names the
    call, and by another one that it was missed.
    """
    android = await start_android()
    ext, _ = await android.phone()
    async with ext.caller() as caller:
        call = caller.call(ext.aor)
        await android.fcm.wait_delivered(1)
        assert (await call.cancel())[1].status == 487
    first, *words = await android.fcm.wait_delivered(3)
    word, missed = sorted(words, key=lambda each: each.data["type"])
    assert (word.data["type"], word.priority) == ("cancel", "normal")
    assert (missed.data["type"], missed.data["call_id"]) == ("missed", first.data["call_id"])
    assert word.data["call_id"] == first.data["call_id"]
    assert (await ext.record())["verdict"] == "caller_cancelled"


async def test_app_is_gone(start_android: StartAndroid) -> None:
    """FCM says UNREGISTERED: the call ends as `push_rejected`, and that token is never pushed to
    again; the app's next token is.
    """
    android = await start_android()
    ext, device = await android.phone()
    android.fcm.unregister(device.token)
    async with ext.caller() as caller:
        call = caller.call(ext.aor)
        assert (await call.final(within=10)).status == 480
    record = await ext.record(sip_call_id=call.invite.call_id)
    assert record["verdict"] == "push_rejected"
    async with ext.caller() as caller:
        again = caller.call(ext.aor)
        assert (await again.final(within=10)).status >= 400
    assert len(android.fcm.requests) == 1
    new = android.fcm.device()
    await android.service.put_device(ext.account, provider="fcm", token=new.token)
    await android.service.is_registered(ext.account)
    await is_called(ext, new)


async def test_fcm_needs_a_second_try(start_android: StartAndroid) -> None:
    """500 costs one more request and no call."""
    android = await start_android()
    ext, device = await android.phone()
    android.fcm.next(error("INTERNAL"))
    await is_called(ext, device)
    assert [each.status for each in android.fcm.requests] == [500, 200]


async def test_oauth_holds_up_no_other_call(start_android: StartAndroid, fcm: FcmDouble) -> None:
    """While Google's OAuth server keeps its answer, a call to a phone that is woken by webhook goes
    through from the first to the last message; the Android phone's call waits, and is woken as
    soon as the answer comes.
    """
    release = asyncio.Event()
    fcm.oauth_always = held(release)
    android = await start_android()
    ext, device = await android.phone()
    other = android.extension()
    await other.provision()
    async with ext.caller() as caller, ext.phone() as phone:
        register_when_pushed(device, phone)
        call = caller.call(ext.aor)
        await call.expect(100)
        async with other.caller() as second_caller, other.phone() as webhooked:
            android.sink.hook = lambda _: webhooked.register()
            second = second_caller.call(other.aor)
            incoming = await webhooked.incoming(within=10)
            incoming.accept()
            dialog = await second.answered()
            await incoming.expect_ack()
            dialog.send("BYE")
            await incoming.dialog().expect_bye()
        assert android.fcm.requests == []
        release.set()
        incoming = await phone.incoming(within=10)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    assert (await ext.record())["verdict"] == "answered"
    assert len(android.fcm.requests) == 1
