"""The APNs double breaks as APNs breaks, and counts what clients do then."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from h2.errors import ErrorCodes

from push_proxy.tasks import spawn
from tests.doubles.apns import (
    ApnsDevice,
    ApnsDouble,
    Play,
    drop,
    empty,
    error,
    going_away,
    held,
    reset,
    silence,
    slow,
    split,
    unavailable_and_away,
)
from tests.lab.process import poll_until

from .apns_sender import RawSender, Sender, provider_token


@pytest.fixture
def phone(apns: ApnsDouble) -> ApnsDevice:
    return apns.device()


@pytest.fixture
def token(apns: ApnsDouble) -> str:
    return provider_token(apns.keys[apns.key_id])


async def test_one_stream_before_the_token(apns: ApnsDouble, phone: ApnsDevice, token: str) -> None:
    """SETTINGS allow one stream until a valid token was seen, then many; what is too much is
    refused as not processed, and remembered.
    """
    event = asyncio.Event()
    apns.next(held(event))
    raw = await RawSender.connect(apns)
    await raw.until(lambda: raw.max_streams == [1])
    first = raw.push(phone, "not.a.token")
    await raw.until(lambda: apns.requests)
    raw.ignore_limits()
    second = raw.push(phone, token)
    await raw.until(lambda: raw.streams[second].reset is not None)
    assert raw.streams[second].reset == ErrorCodes.REFUSED_STREAM
    event.set()
    await raw.until(lambda: raw.streams[first].ended)
    assert raw.streams[first].status == 403
    third = raw.push(phone, token)
    await raw.until(lambda: raw.streams[third].ended)
    await raw.until(lambda: raw.max_streams == [1, 1000])
    assert (raw.streams[third].status, len(apns.requests)) == (200, 2)
    [fault] = apns.faults
    assert "MAX_CONCURRENT_STREAMS being 1" in fault
    await raw.close()


async def test_many_streams(apns: ApnsDouble, token: str) -> None:
    """After the first push 500 go side by side on one connection, each delivered once."""
    phones = [apns.device() for _ in range(501)]
    raw = await RawSender.connect(apns)
    raw.push(phones[0], token)
    await raw.until(lambda: raw.max_streams == [1, 1000])
    for phone in phones[1:]:
        raw.push(phone, token)
    await raw.until(lambda: all(stream.ended for stream in raw.streams.values()))
    assert {stream.status for stream in raw.streams.values()} == {200}
    assert [len(phone.received) for phone in phones] == [1] * 501
    assert (apns.connections, len(apns.tokens_seen), apns.faults) == (1, 1, [])
    await raw.close()


async def test_graceful_goaway(apns: ApnsDouble, phone: ApnsDevice, token: str) -> None:
    """GOAWAY names the last accepted stream; accepted pushes are answered, later ones ignored,
    and then the connection closes.
    """
    event = asyncio.Event()
    raw = await RawSender.connect(apns)
    raw.push(phone, token)
    await raw.until(lambda: raw.max_streams == [1, 1000])
    apns.next(held(event))
    accepted = raw.push(phone, token)
    await raw.until(lambda: len(apns.requests) == 2)
    assert apns.go_away("Shutdown") == 1
    await raw.until(lambda: raw.goaway)
    assert raw.goaway is not None
    assert raw.goaway.last_stream_id == accepted
    assert json.loads(raw.goaway.additional_data or b"") == {"reason": "Shutdown"}
    assert raw.goaway.error_code == ErrorCodes.NO_ERROR
    assert apns.open_lines
    late = raw.push(phone, token)
    raw.h2.ping(b"after it")
    raw.flush()
    await raw.until(lambda: apns.pings == 1)
    event.set()
    await raw.until(lambda: raw.streams[accepted].ended)
    assert raw.streams[accepted].status == 200
    await raw.until(lambda: raw.closed)
    assert raw.streams[late].status is None
    assert await poll_until(lambda: not apns.open_lines, within_s=2)
    assert [request.status for request in apns.requests] == [200, 200]
    await raw.close()


async def test_goaway_that_does_not_accept(apns: ApnsDouble, phone: ApnsDevice, token: str) -> None:
    """A push that GOAWAY does not name was not processed."""
    apns.next(Play(), going_away(accepts=False))
    raw = await RawSender.connect(apns)
    first = raw.push(phone, token)
    await raw.until(lambda: raw.streams[first].ended)
    raw.push(phone, token)
    await raw.until(lambda: raw.goaway)
    assert raw.goaway is not None
    assert raw.goaway.last_stream_id == first
    assert [request.status for request in apns.requests] == [200, None]
    assert len(apns.delivered) == 1
    await raw.close()


async def test_abrupt_goaway(apns: ApnsDouble, phone: ApnsDevice) -> None:
    """GOAWAY and the end of the connection at once."""
    apns.next(going_away("InternalServerError", close=True))
    async with Sender(apns) as sender:
        with pytest.raises(httpx.RemoteProtocolError):
            await sender.push(phone)
        assert (await sender.answer(phone)) == (200, "")
    assert apns.connections == 2
    assert [request.status for request in apns.requests] == [None, 200]


async def test_503_then_goaway(apns: ApnsDouble, phone: ApnsDevice, token: str) -> None:
    """503, then GOAWAY: the answer is complete before."""
    apns.next(unavailable_and_away())
    raw = await RawSender.connect(apns)
    stream = raw.push(phone, token)
    await raw.until(lambda: raw.goaway)
    assert raw.streams[stream].status == 503
    assert json.loads(b"".join(raw.streams[stream].chunks)) == {"reason": "Shutdown"}
    assert apns.delivered == []
    await raw.close()


async def test_split_and_empty_bodies(apns: ApnsDouble, phone: ApnsDevice, token: str) -> None:
    """An error's body comes in two DATA frames, or not at all."""
    apns.next(split("BadDeviceToken"), empty(503))
    raw = await RawSender.connect(apns)
    first = raw.push(phone, token)
    await raw.until(lambda: raw.streams[first].ended)
    halves = raw.streams[first].chunks
    assert len(halves) == 2
    assert json.loads(b"".join(halves)) == {"reason": "BadDeviceToken"}
    second = raw.push(phone, token)
    await raw.until(lambda: raw.streams[second].ended)
    assert (raw.streams[second].status, raw.streams[second].chunks) == (503, [])
    await raw.close()


async def test_reset_and_drop(apns: ApnsDouble, phone: ApnsDevice) -> None:
    """RST_STREAM leaves the connection; a drop does not. Either may happen after the delivery."""
    apns.next(reset(), reset(delivers=True), drop(delivers=True))
    async with Sender(apns) as sender:
        for _ in range(3):
            with pytest.raises(httpx.RemoteProtocolError):
                await sender.push(phone)
        assert await sender.answer(phone) == (200, "")
    assert [request.connection for request in apns.requests] == [1, 1, 1, 2]
    assert [request.delivered for request in apns.requests] == [False, True, True, True]


async def test_slowness(apns: ApnsDouble, phone: ApnsDevice) -> None:
    """A slow answer comes when it is time, or when the test says so; the phone has its push."""
    event = asyncio.Event()
    apns.next(held(event), slow(0.05))
    async with Sender(apns) as sender:
        late = spawn(sender.answer(phone), name="late push")
        await apns.wait_delivered(1)
        assert not late.done()
        event.set()
        assert await late == (200, "")
        assert await sender.answer(phone) == (200, "")
    assert [request.status for request in apns.requests] == [200, 200]


async def test_silence(apns: ApnsDouble, phone: ApnsDevice, token: str) -> None:
    """Silence lasts until the client gives up, which is on record; its connection goes on."""
    apns.next(silence())
    raw = await RawSender.connect(apns)
    first = raw.push(phone, token)
    await apns.wait(1)
    assert not apns.requests[0].cancelled
    raw.give_up(first)
    await raw.until(lambda: apns.requests[0].cancelled)
    second = raw.push(phone, token)
    await raw.until(lambda: raw.streams[second].ended)
    assert [request.status for request in apns.requests] == [None, 200]
    assert [request.delivered for request in apns.requests] == [False, True]
    await raw.close()


async def test_listeners(apns: ApnsDouble, phone: ApnsDevice) -> None:
    """A port may be closed, mute or rude, and be as before afterwards."""
    async with Sender(apns) as sender:
        port = apns.production.port
        await apns.production.listen("refusing")
        with pytest.raises(httpx.ConnectError):
            await sender.push(phone)
        await apns.production.listen("mute")
        with pytest.raises(httpx.ConnectTimeout):
            await sender.push(phone, within=0.2)
        assert apns.production.knocks == 1
        await apns.production.listen("rude")
        with pytest.raises(httpx.ConnectError):
            await sender.push(phone)
        await apns.production.listen("open")
        assert apns.production.port == port
        assert await sender.answer(phone) == (200, "")


async def test_pings_and_frozen_connections(
    apns: ApnsDouble, phone: ApnsDevice, token: str
) -> None:
    """PINGs are counted and answered; a frozen connection hears nothing, a new one works."""
    raw = await RawSender.connect(apns)
    raw.h2.ping(b"12345678")
    raw.flush()
    await raw.until(lambda: apns.pings == 1)
    apns.freeze_connections()
    raw.push(phone, token)
    other = await RawSender.connect(apns)
    stream = other.push(phone, token)
    await other.until(lambda: other.streams[stream].ended)
    assert [request.connection for request in apns.requests] == [2]
    assert not raw.closed
    apns.drop_connections()
    assert await poll_until(lambda: not apns.open_lines, within_s=2)
    await raw.close()
    await other.close()


async def test_always(apns: ApnsDouble, phone: ApnsDevice) -> None:
    """A fate may hold for all requests, or for all of one token."""
    other = apns.device()
    apns.always_for(phone.token, empty(500))
    async with Sender(apns) as sender:
        assert await sender.answer(other) == (200, "")
        assert [(await sender.answer(phone))[0] for _ in range(2)] == [500, 500]
        apns.always_for(phone.token, None)
        apns.always = slow(0.01)
        assert await sender.answer(phone) == (200, "")


def test_unknown_reasons_are_refused() -> None:
    """A test that asks for an error that APNs does not have is wrong."""
    with pytest.raises(ValueError, match="NoSuchReason"):
        Play(reason="NoSuchReason")


async def test_errors_on_demand_do_not_hide_what_is_wrong(
    apns: ApnsDouble, phone: ApnsDevice
) -> None:
    """A push that gets an error on demand is judged all the same: what the rules say of it is on
    record, and its valid token opens the connection for more streams.
    """
    apns.next(error("TooManyRequests"), error("ExpiredProviderToken"))
    async with Sender(apns) as sender:
        token = sender.token
        assert await sender.answer(phone, apns_priority="7") == (429, "TooManyRequests")
        assert apns.requests[0].fault == "BadPriority"
        assert await sender.answer(phone) == (403, "ExpiredProviderToken")
        assert apns.requests[1].fault == ""
    assert [line.allowed for line in apns.lines] == [1000]
    apns.next(error("InvalidProviderToken"))
    raw = await RawSender.connect(apns)
    stream = raw.push(phone, str(token))
    await raw.until(lambda: raw.streams[stream].ended)
    assert apns.lines[1].allowed == 1
    await raw.close()
