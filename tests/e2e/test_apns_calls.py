"""Calls to iPhones that sleep: a real PBX, the service, and the APNs double."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.doubles.apns import ApnsDouble, Request, held, silence
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID

from .apple import Apple, apple_options, by_certificate
from .conftest import REALM, Extension, Stage, StartService

ADAS_NUMBER = "447700900123"
StartApple = Callable[..., Awaitable[Apple]]


@pytest.fixture
async def start_apple(
    stage: Stage, start_service: StartService, push_sink: PushSink, apns: ApnsDouble
) -> AsyncIterator[StartApple]:
    """Starts a service with APNs; at the end no rule of HTTP/2 was broken, with one JWT at most."""

    async def start(**extra: Any) -> Apple:
        service = await start_service(apple_options(apns, push_sink, **extra))
        return Apple(service=service, apns=apns, pbx=stage.hold, sink=push_sink)

    yield start
    assert apns.faults == []
    assert len(apns.tokens_seen) <= 1


@pytest.fixture
async def apple(start_apple: StartApple) -> Apple:
    return await start_apple()


async def test_woken_call(apple: Apple) -> None:
    """A call to a sleeping iPhone is held; one VoIP push leaves, as Apple wants it; the phone
    registers and gets this very call, is heard and hangs up.
    """
    phone = await apple.iphone()
    async with phone.caller() as caller, phone.phone() as app:
        phone.register_when_pushed(app.register)
        call = caller.call(phone.aor)
        incoming = await app.incoming()
        [request] = apple.apns.requests
        _is_voip_push(request, caller_number="9000")
        assert request.token == phone.voip.token
        assert request.payload["sip_call_id"] == incoming.invite.call_id
        assert incoming.invite.all("X-Push-ID") == [request.payload["call_id"]]
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    record = await phone.record()
    assert record["verdict"] == "answered"
    assert record["id"] == request.payload["call_id"]
    assert phone.service.events(record).count("push_accepted") == 1
    assert [delivery.push_type for delivery in apple.apns.delivered] == ["voip"]
    assert {line.environment for line in apple.apns.lines} == {"production"}


async def test_cancelled_while_waking(apple: Apple) -> None:
    """The caller gives up: the word goes to the alert token as a background push that names the
    call, and the missed call as an alert; never as a VoIP push, and the VoIP token hears nothing
    more.
    """
    phone = await apple.iphone()
    async with phone.caller() as caller:
        call = caller.call(phone.aor)
        await apple.apns.wait_delivered(1)
        assert (await call.cancel())[1].status == 487
    voip, *words = await apple.apns.wait(3)
    word, missed = sorted(words, key=lambda each: each.push_type, reverse=True)
    assert phone.alert is not None
    _is_farewell(word, to=phone.alert.token, kind="cancel")
    assert (missed.push_type, missed.token) == ("alert", phone.alert.token)
    assert missed.payload["call_id"] == voip.payload["call_id"]
    assert word.payload["call_id"] == voip.payload["call_id"]
    assert word.apns_id != voip.apns_id
    record = await phone.record()
    assert (record["verdict"], record["phase"]) == ("caller_cancelled", "waking")
    assert len(apple.apns.delivered) == 3


async def test_cancelled_without_alert_token(apple: Apple) -> None:
    """Without a token for alerts there is no push for the end of a call: none leaves, and the
    metric says that it was left out.
    """
    phone = await apple.iphone(alerts=False)
    async with phone.caller() as caller:
        call = caller.call(phone.aor)
        await apple.apns.wait_delivered(1)
        assert (await call.cancel())[1].status == 487
        await apple.service.eventually(
            lambda: _samples(apple, "push_proxy_pushes_total"),
            lambda found: found.get(("apns", "cancel", "skipped")) == 1,
            within=5,
            what="cancel push that was left out",
        )
        again = caller.call(phone.aor)
        await apple.apns.wait_delivered(2)
        await again.cancel()
    assert {request.push_type for request in apple.apns.requests} == {"voip"}
    assert len(apple.apns.requests) == 2


async def test_answered_elsewhere(apple: Apple) -> None:
    """Two iPhones of one extension are woken side by side, each once; one answers, and the one
    that still sleeps is told so by a background push to its alert token.
    """
    phone = await apple.iphone(instance_id="urn:x-lab:handset")
    voip, alert = apple.apns.device(APP_ID), apple.apns.device(APP_ID, kind="alert")
    await apple.service.put_device(
        phone.account, "tablet", provider="apns", token=voip.token, alert_token=alert.token
    )
    async with phone.caller() as caller, phone.phone(device="handset") as app:
        phone.register_when_pushed(app.register)
        call = caller.call(phone.aor)
        incoming = await app.incoming()
        await apple.apns.wait(2)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        word = (await apple.apns.wait(3))[2]
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    _is_farewell(word, to=alert.token, kind="answered_elsewhere")
    calls = [request for request in apple.apns.requests if request.push_type == "voip"]
    assert sorted(each.token for each in calls) == sorted([voip.token, phone.voip.token])
    assert len({each.apns_id for each in calls}) == 2
    assert (await phone.record())["verdict"] == "answered"
    assert len(apple.apns.requests) == 3


async def test_ids_only(start_apple: StartApple) -> None:
    """With `privacy: ids_only` nothing that leaves for Apple, header or body, names the caller or
    the kind of call; the ids are there.
    """
    apple = await start_apple(privacy="ids_only")
    phone = await apple.iphone()
    async with phone.caller(ADAS_NUMBER) as caller:
        ada = f'"Ada Lovelace" <sip:{ADAS_NUMBER}@{REALM}>;tag=1815'
        call = caller.call(phone.aor, from_value=ada)
        await apple.apns.wait_delivered(1)
        await call.cancel()
        await apple.apns.wait(3)
    for request in apple.apns.requests:
        said = request.body.decode() + repr(sorted(request.headers.items()))
        for secret in ("Lovelace", ADAS_NUMBER, "video", "caller", phone.aor):
            assert secret not in said, (secret, request.push_type)
        assert request.payload["call_id"]
        assert request.payload["sip_call_id"] == call.invite.call_id
    record = await phone.record()
    assert (record["caller_name"], record["caller_number"]) == ("Ada Lovelace", ADAS_NUMBER)


async def test_endless_names(apple: Apple) -> None:
    """A caller's name of 6000 bytes is cut until the push fits Apple's 5120: it leaves, and all
    ids are whole.
    """
    phone = await apple.iphone()
    async with phone.caller() as caller:
        ada = f'"{"Äda" * 1500}" <sip:9000@{REALM}>;tag=1815'
        call = caller.call(phone.aor, from_value=ada)
        await apple.apns.wait_delivered(1)
        await call.cancel()
    [request, *_] = apple.apns.requests
    assert 4900 < len(request.body) <= 5120
    assert request.payload["caller_name"].startswith("ÄdaÄda")
    _is_voip_push(request, caller_number="9000")


async def test_silence_is_answered_by_one_resend(apple: Apple) -> None:
    """APNs says nothing to a push: it is sent once more, with the same id and the same body, and
    the call goes on with that.
    """
    phone = await apple.iphone()
    apple.apns.next(silence())
    await phone.is_called()
    first, second = apple.apns.requests
    assert first.apns_id == second.apns_id == first.headers["apns-id"]
    assert (first.token, first.body) == (second.token, second.body)
    assert [request.status for request in (first, second)] == [None, 200]


async def test_restart_makes_no_new_provider_token(apple: Apple) -> None:
    """A killed and restarted service goes on with its provider token: another one within 20
    minutes would be refused.
    """
    phone = await apple.iphone()
    await phone.is_called()
    apple.service.kill()
    await apple.service.start()
    await apple.service.is_registered(phone.account)
    await phone.is_called()
    assert [request.status for request in apple.apns.requests] == [200, 200]
    assert len(apple.apns.tokens_seen) == 1


async def test_certificate(start_apple: StartApple, apns: ApnsDouble) -> None:
    """A certificate does what a key does: a call by VoIP push, its end by background push, and
    that it was missed as an alert.
    """
    apple = await start_apple(section=by_certificate(apns))
    phone = await apple.iphone()
    async with phone.caller() as caller:
        call = caller.call(phone.aor)
        await apple.apns.wait_delivered(1)
        await call.cancel()
        await apple.apns.wait_delivered(3)
    await phone.is_called()
    assert [request.jwt for request in apple.apns.requests] == ["", "", "", ""]
    kinds = [each.push_type for each in apple.apns.delivered]
    assert (kinds[0], sorted(kinds[1:3]), kinds[3]) == ("voip", ["alert", "background"], "voip")
    assert apple.apns.tokens_seen == []


async def test_hanging_provider_holds_nobody_else(apple: Apple) -> None:
    """APNs never answers, and is asked for a call: another extension's call, pushed by webhook,
    goes through from end to end meanwhile, and the first caller can still give up.
    """
    never = asyncio.Event()
    apple.apns.always = held(never)
    iphone, other = await apple.iphone(), await apple.other_phone()
    async with iphone.caller("9001") as stuck, other.caller("9002") as caller:
        hanging = stuck.call(iphone.aor)
        await apple.apns.wait(1)
        await _whole_call(other, caller)
        assert all(request.status is None for request in apple.apns.requests)
        assert hanging.agent.received(status=200) == []
        assert (await hanging.cancel())[1].status == 487
    assert not never.is_set()
    assert (await other.record())["verdict"] == "answered"
    assert (await iphone.record())["verdict"] == "caller_cancelled"


async def _whole_call(other: Extension, caller: Any) -> None:
    async with other.phone() as app:
        other.wake_on_push(app.register)
        call = caller.call(other.aor)
        incoming = await app.incoming()
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()


def _is_voip_push(request: Request, *, caller_number: str) -> None:
    headers, payload = request.headers, request.payload
    assert headers[":path"] == f"/3/device/{request.token}"
    assert (request.push_type, request.topic) == ("voip", f"{APP_ID}.voip")
    assert (headers["apns-priority"], headers["apns-id"]) == ("10", request.apns_id)
    expiration = headers["apns-expiration"]
    assert expiration == "0" or 0 < int(expiration) - time.time() < 60
    assert uuid.UUID(request.apns_id)
    assert isinstance(payload["aps"], dict)
    assert {payload["v"], payload["type"]} == {"1", "call"}
    assert uuid.UUID(payload["call_id"])
    assert payload["push_id"] == request.apns_id
    assert payload["caller_number"] == caller_number
    assert payload["device"] == "handset"
    assert payload["sent_at"] < payload["expires_at"]
    assert "token" not in payload
    assert all(isinstance(value, str) for key, value in payload.items() if key != "aps")


def _is_farewell(request: Request, *, to: str, kind: str) -> None:
    assert request.token == to
    assert (request.push_type, request.topic) == ("background", APP_ID)
    assert (request.headers["apns-priority"], request.status) == ("5", 200)
    assert request.payload["type"] == kind
    assert request.payload["aps"] == {"content-available": 1}
    assert request.delivered


async def _samples(apple: Apple, name: str) -> dict[Any, float]:
    """The samples of a metric of pushes, by provider, type and result."""
    text = await apple.service.expect("GET", "/metrics")
    found = {}
    for line in text.splitlines():
        if line.startswith(name + "{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            key = (labels["provider"], labels["type"], labels["result"])
            found[key] = float(line.rpartition(" ")[2])
    return found
