"""Calls to phones that sleep behind Web Push, Huawei and RuStore: real PBX, service and doubles."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.doubles.hms import HmsDouble
from tests.doubles.rustore import RustoreDouble
from tests.doubles.webpush import WebpushDouble, vapid_key_file
from tests.lab.certificates import Authority
from tests.lab.kamailio import Kamailio
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID, LabService, ServiceOptions

from .conftest import Extension, Stage, StartService

_numbers = itertools.count(7301)
StartWith = Callable[..., Awaitable[LabService]]


@pytest.fixture
def start_with(start_service: StartService, push_sink: PushSink) -> StartWith:
    """Starts a service with these providers beside its webhook."""

    async def start(**providers: Any) -> LabService:
        return await start_service(
            ServiceOptions(webhook_url=push_sink.url, extra={"providers": providers})
        )

    return start


def an_extension(service: LabService, pbx: Kamailio, sink: PushSink) -> Extension:
    return Extension(service=service, pbx=pbx, sink=sink, user=str(next(_numbers)))


async def woken_call(
    ext: Extension, provider: str, token: str, waking: list[Callable[[], Awaitable[Any]]]
) -> None:
    """The phone that a push by `provider` reaches registers, and gets the very call."""
    await ext.provision()
    await ext.service.put_device(ext.account, provider=provider, token=token)
    async with ext.caller() as caller, ext.phone() as phone:
        waking.append(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming(within=10)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    assert (await ext.record())["verdict"] == "answered"
    assert ext.sink.pushes == []


def waker(
    waking: list[Callable[[], Awaitable[Any]]],
) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """The first push does what is in the list by then."""

    async def wake(_: dict[str, Any]) -> None:
        if waking:
            await waking.pop()()

    return wake


@pytest.fixture
async def webpush(authority: Authority) -> Any:
    async with WebpushDouble(authority) as double:
        yield double


def webpush_section(webpush: WebpushDouble, workdir: Path) -> tuple[dict[str, Any], str]:
    """An entry of `providers.webpush`, and what its apps subscribe with."""
    public = vapid_key_file(workdir / "vapid.pem")
    section = {
        "app_id": APP_ID,
        "vapid_key_file": str(workdir / "vapid.pem"),
        "subject": "mailto:operator@example.com",
        "allow_private": True,
        "ca_file": str(webpush.ca_file),
    }
    return section, public


async def test_web_push(
    stage: Stage,
    start_with: StartWith,
    push_sink: PushSink,
    webpush: WebpushDouble,
    workdir: Path,
) -> None:
    """A UnifiedPush phone decrypts its push, registers and is called."""
    section, public = webpush_section(webpush, workdir)
    service = await start_with(webpush=[section])
    waking: list[Callable[[], Awaitable[Any]]] = []
    subscription = webpush.subscribe(public, waker(waking))
    ext = an_extension(service, stage.hold, push_sink)
    await woken_call(ext, "webpush", subscription.token, waking)
    assert [said["type"] for said in webpush.delivered] == ["call"]
    assert webpush.delivered[0]["caller_number"] == "9000"
    assert subscription.endpoint.rpartition("/")[2] not in service.process.output()


async def test_web_push_by_register(
    stage: Stage,
    start_with: StartWith,
    push_sink: PushSink,
    webpush: WebpushDouble,
    workdir: Path,
) -> None:
    """A softphone that knows RFC 8599 alone names its endpoint when it registers, without any
    pn-param; asleep, it is woken by an empty push and called.
    """
    section, public = webpush_section(webpush, workdir)
    service = await start_with(webpush=[section])
    ext = an_extension(service, stage.hold, push_sink)
    await ext.provision(wake={"fresh_s": 0})
    await service.expect("DELETE", f"/v1/accounts/{ext.account}/devices/handset")
    waking: list[Callable[[], Awaitable[Any]]] = []
    subscription = webpush.subscribe(public, waker(waking))
    async with ext.caller() as caller, ext.phone() as phone:
        named = f";pn-provider=webpush;pn-prid={quote(subscription.endpoint, safe='')}"

        async def register() -> None:
            await phone.wake()
            answer = await phone.register(contact=f"<{phone.contact.strip('<>')}{named}>")
            assert answer.status == 200
            assert f'+sip.pns="webpush";+sip.vapid="{public}"' in answer.get("Feature-Caps", "")

        await register()
        # The device is gone and another one came: we are registered at the PBX again.
        await ext.pbx.wait_for(
            event="own-response", method="REGISTER", status=200, to_user=ext.user, cseq=4
        )
        phone.sleep()
        waking.append(register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming(within=10)
        incoming.reject(486, "Busy Here")
        assert (await call.final()).status == 486
    assert webpush.requests[0].body == b""


async def test_a_malformed_subscription_is_refused(
    start_with: StartWith, webpush: WebpushDouble, workdir: Path
) -> None:
    """A PUT with a subscription that nothing can be encrypted for is answered 422, with advice."""
    section, _ = webpush_section(webpush, workdir)
    service = await start_with(webpush=[section])
    await service.put_account("ext", "sip:101@pbx.test", password="pw", registrar="sip:127.0.0.1")
    body = {"provider": "webpush", "app_id": APP_ID, "token": '{"endpoint":"https://a.example/x"}'}
    status, answer = await service.request("PUT", "/v1/accounts/ext/devices/phone", body)
    assert status == 422
    assert "PushSubscription.toJSON()" in str(answer)


async def test_huawei(
    stage: Stage, start_with: StartWith, push_sink: PushSink, workdir: Path
) -> None:
    """A Huawei phone is woken and called; the access token was there before the call."""
    async with HmsDouble() as huawei:
        secret = workdir / "hms.secret"
        secret.write_text(huawei.client_secret + "\n")
        service = await start_with(
            hms=[
                {
                    "app_id": APP_ID,
                    "hms_app_id": huawei.app_id,
                    "client_secret_file": str(secret),
                    "base_url": huawei.url,
                    "token_uri": huawei.token_uri,
                }
            ]
        )
        assert huawei.tokens_asked == 1
        waking: list[Callable[[], Awaitable[Any]]] = []
        token = huawei.device(waker(waking))
        await woken_call(an_extension(service, stage.hold, push_sink), "hms", token, waking)
        assert [said["type"] for said in huawei.delivered] == ["call"]
        assert huawei.tokens_asked == 1
        assert token not in service.process.output()
        assert huawei.client_secret not in service.process.output()


async def test_rustore(
    stage: Stage, start_with: StartWith, push_sink: PushSink, workdir: Path
) -> None:
    """A phone with RuStore is woken and called."""
    async with RustoreDouble() as store:
        secret = workdir / "rustore.token"
        secret.write_text(store.service_token + "\n")
        service = await start_with(
            rustore=[
                {
                    "app_id": APP_ID,
                    "project_id": store.project_id,
                    "service_token_file": str(secret),
                    "base_url": store.url,
                }
            ]
        )
        waking: list[Callable[[], Awaitable[Any]]] = []
        token = store.device(waker(waking))
        await woken_call(an_extension(service, stage.hold, push_sink), "rustore", token, waking)
        assert [said["type"] for said in store.delivered] == ["call"]
        assert token not in service.process.output()
        assert store.service_token not in service.process.output()


async def test_a_dead_token_ends_pushes(
    stage: Stage, start_with: StartWith, push_sink: PushSink, workdir: Path
) -> None:
    """A token that RuStore does not know any more: the call is `push_rejected`, the device shows
    it, and the next call sends nothing.
    """
    async with RustoreDouble() as store:
        secret = workdir / "rustore.token"
        secret.write_text(store.service_token)
        section = {
            "app_id": APP_ID,
            "project_id": store.project_id,
            "service_token_file": str(secret),
            "base_url": store.url,
        }
        service = await start_with(rustore=[section])
        ext = an_extension(service, stage.hold, push_sink)
        await ext.provision(register="always")
        await service.put_device(ext.account, provider="rustore", token="gone")
        async with ext.caller() as caller:
            assert (await caller.call(ext.aor).final(within=10)).status == 480
        assert (await ext.record())["verdict"] == "push_rejected"
        assert len(store.requests) == 1
        async with ext.caller() as caller:
            await caller.call(ext.aor).final(within=10)
        assert len(store.requests) == 1
