"""The faults of aioapns 4.0, each shown to be gone."""

from __future__ import annotations

import asyncio
import time

import pytest
from aioapns.connection import APNsBaseClientProtocol

from push_proxy.core.events import PushOutcome as O
from push_proxy.providers.apns_request import ApnsTimes
from tests.doubles.apns import (
    ApnsDouble,
    Goaway,
    Play,
    drop,
    empty,
    going_away,
    held,
    reset,
    silence,
    split,
)
from tests.lab.process import poll_until

from .apns_bench import (
    TIMES,
    begin,
    connections,
    device,
    faultless,
    ids,
    provider,
    push,
    section,
    warm,
)


async def test_fault_1_expiration_zero_is_literal(apns: ApnsDouble) -> None:
    """`apns-expiration` of a call is the literal 0, and no time that has just passed."""
    phone = apns.device()
    async with provider(section(apns)) as one:
        await one.send(push(device(phone.token)))
    assert apns.requests[0].headers["apns-expiration"] == "0"
    assert len(phone.received) == 1


async def test_fault_2_one_token_for_all_connections(apns: ApnsDouble) -> None:
    """Connections to both environments and those that replace lost ones show one token."""
    phone, other = apns.device(), apns.device(environment="sandbox")
    async with provider(section(apns)) as one:
        for _ in range(3):
            assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
            assert (await one.send(push(device(other.token)))).outcome is O.ACCEPTED
            apns.drop_connections()
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
    assert apns.connections >= 6
    assert len(apns.tokens_seen) == 1
    faultless(apns)


async def test_fault_2_idle_connections_stay(
    apns: ApnsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle connection is not closed: the next call finds it open."""
    monkeypatch.setattr(APNsBaseClientProtocol, "INACTIVITY_TIME", 0.05)
    phone = apns.device()
    async with provider(section(apns)) as one:
        await warm(one)
        await asyncio.sleep(0.5)
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
        assert apns.connections == len(apns.open_lines) == 2


@pytest.mark.parametrize(
    ("play", "reason"),
    [(silence(), "timeout"), (reset(), "reset"), (empty(500), "http_500"),
     (drop(), "disconnected"), (empty(403), "http_403"), (empty(410), "http_410")],
)  # fmt: skip
async def test_fault_3_every_request_ends(apns: ApnsDouble, play: Play, reason: str) -> None:
    """Silence, RST_STREAM, a broken connection and an error without body all end the request."""
    phone = apns.device()
    apns.always = play
    async with provider(section(apns), request_s=0.4) as one:
        began = time.monotonic()
        result = await one.send(push(device(phone.token, environment="production")))
    assert result.reason == reason
    assert time.monotonic() - began < 8


async def test_fault_4_split_body(apns: ApnsDouble) -> None:
    """A body in two DATA frames is one body, and the connection goes on."""
    phone = apns.device()
    async with provider(section(apns)) as one:
        apns.next(split("Unregistered"))
        assert (await one.send(push(device(phone.token)))).reason == "Unregistered"
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
        await warm(one)
        assert apns.connections == 2


async def test_fault_5_late_answer_harms_nobody(apns: ApnsDouble) -> None:
    """An answer after its request's end finds nobody, and the connection carries on."""
    late, phone = apns.device(), apns.device()
    gate = asyncio.Event()
    apns.always_for(late.token, held(gate))
    async with provider(section(apns), request_s=0.8) as one:
        await warm(one)
        gone = await one.send(push(device(late.token)))
        assert (gone.reason, gone.attempts) == ("timeout", 2)
        gate.set()
        results = [await one.send(push(device(phone.token))) for _ in range(20)]
        assert {each.outcome for each in results} == {O.ACCEPTED}
        assert apns.connections == len(apns.open_lines) == 2, "no connection was lost over it"
    first, second = apns.requests[:2]
    assert first.cancelled, "APNs was told that nobody waits"
    assert second.status == 200, "this answer crossed our word, and found nobody"
    faultless(apns)


async def test_fault_5_cancelled_requests_poison_nothing(apns: ApnsDouble) -> None:
    """Pushes that are cancelled, before or while they are sent, leave the others alone."""
    stuck, phone = apns.device(), apns.device()
    gate = asyncio.Event()
    apns.always_for(stuck.token, held(gate))
    async with provider(section(apns), request_s=4) as one:
        early = asyncio.gather(*(one.send(push(device(stuck.token))) for _ in range(30)))
        await asyncio.sleep(0)
        early.cancel()
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
        await warm(one)
        tasks = [begin(one.send(push(device(stuck.token)))) for _ in range(30)]
        await apns.wait(20, where=lambda each: each.token == stuck.token)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(each.load for each in connections(one)) == 0
        others = [begin(one.send(push(device(phone.token)))) for _ in range(30)]
        apns.drop_connections()
        gate.set()
        results = await asyncio.gather(*others)
    assert {each.outcome for each in results} == {O.ACCEPTED}
    faultless(apns)


async def test_fault_5_connection_dies_beside_a_cancelled_request(apns: ApnsDouble) -> None:
    """A connection that breaks while a cancelled request is unanswered ends all others at once."""
    stuck, phone = apns.device(), apns.device()
    apns.always_for(stuck.token, silence())
    apns.always_for(phone.token, silence())
    async with provider(section(apns), request_s=5) as one:
        await warm(one)
        cancelled = begin(one.send(push(device(stuck.token))))
        others = [begin(one.send(push(device(phone.token)))) for _ in range(2)]
        await apns.wait(2)
        cancelled.cancel()
        apns.always_for(phone.token, None)
        began = time.monotonic()
        apns.drop_connections()
        results = await asyncio.gather(*others)
    assert {each.outcome for each in results} == {O.ACCEPTED}
    assert time.monotonic() - began < 4.5


async def test_fault_6_goaway_is_drained(apns: ApnsDouble) -> None:
    """A push that a GOAWAY names as accepted is not sent again: its answer comes in."""
    phone = apns.device()
    apns.next(going_away())
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token)))
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 1)
    assert len(apns.requests) == len(phone.received) == 1


async def test_fault_6_goaway_at_each_push(apns: ApnsDouble) -> None:
    """Even if every single push is answered with a graceful GOAWAY each arrives exactly once."""
    phone = apns.device()
    apns.always = going_away()
    async with provider(section(apns)) as one:
        sent = [push(device(phone.token)) for _ in range(10)]
        results = [await one.send(each) for each in sent]
    assert {(each.outcome, each.attempts) for each in results} == {(O.ACCEPTED, 1)}
    assert ids(phone.received) == [each.id for each in sent]


async def test_fault_6_what_goaway_leaves_out_is_sent_again(apns: ApnsDouble) -> None:
    """What APNs says it has not seen goes to another connection, unnoticed by the push."""
    phone = apns.device()
    apns.next(going_away(accepts=False), going_away(accepts=False))
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token)))
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 1)
    assert len(phone.received) == 1
    assert len(apns.requests) == 3


async def test_fault_6_abrupt_goaway(apns: ApnsDouble) -> None:
    """A GOAWAY that closes at once leaves the push unknown: once more with the same id."""
    phone = apns.device()
    apns.next(Play(goaway=Goaway(close=True), delivers=True))
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token)))
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 2)
    assert len(set(ids(apns.requests))) == 1


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("refusing", "connect_failed"), ("mute", "connect_timeout"), ("rude", "connect_failed")],
)
async def test_fault_7_no_connection(apns: ApnsDouble, mode: str, reason: str) -> None:
    """Whatever keeps connections away is known within a connect time-out or two."""
    phone = apns.device()
    await apns.production.listen(mode)  # type: ignore[arg-type]
    times = ApnsTimes(connect_s=0.3, backoff_s=0.1, demand_s=0.2, tick_s=0.02)
    async with provider(section(apns), times=times) as one:
        began = time.monotonic()
        result = await one.send(push(device(phone.token)))
        assert (result.outcome, result.reason) == (O.UNAVAILABLE, reason)
        assert time.monotonic() - began < 5
        await apns.production.listen("open")
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED, (
            "and it comes back"
        )


async def test_fault_7_connecting_blocks_nobody(apns: ApnsDouble) -> None:
    """While one environment takes no connection, pushes to the other wait for nothing."""
    phone, other = apns.device(), apns.device(environment="sandbox")
    async with provider(section(apns)) as one:
        await one.send(push(device(phone.token)))
        await apns.sandbox.listen("mute")
        stuck = begin(one.send(push(device(other.token, environment="sandbox"))))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        results = await asyncio.gather(*(one.send(push(device(phone.token))) for _ in range(20)))
        assert time.monotonic() - began < ApnsTimes().connect_s
        assert {each.outcome for each in results} == {O.ACCEPTED}
        assert (await stuck).outcome is O.UNAVAILABLE


async def test_fault_8_ping(apns: ApnsDouble) -> None:
    """Idle connections are asked whether they live; those that answer stay."""
    times = ApnsTimes(ping_s=0.1, ack_s=1, tick_s=0.02)
    async with provider(section(apns), times=times) as one:
        await warm(one)
        assert await poll_until(lambda: apns.pings >= 6, within_s=5)
        assert apns.connections == len(apns.open_lines) == 2
    assert ApnsTimes().ping_s < 60


async def test_fault_8_dead_connections_are_replaced(apns: ApnsDouble) -> None:
    """Connections whose other side vanished without a word are found idle, and replaced."""
    phone = apns.device()
    times = ApnsTimes(ping_s=0.1, ack_s=0.2, stagger_s=0.02, tick_s=0.02)
    async with provider(section(apns), times=times) as one:
        await warm(one)
        apns.freeze_connections()
        assert await poll_until(lambda: apns.connections >= 4, within_s=5)
        result = await one.send(push(device(phone.token)))
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 1)


async def test_fault_8_dead_connection_found_by_a_push(apns: ApnsDouble) -> None:
    """A push into a dead connection makes sure of it: it and those after it go elsewhere soon."""
    phone = apns.device()
    times = ApnsTimes(silent_s=0.1, silent_ack_s=0.2, suspect_s=0.05, stagger_s=0.02, tick_s=0.02)
    async with provider(section(apns), times=times, request_s=5) as one:
        await warm(one)
        apns.freeze_connections()
        began = time.monotonic()
        results = await asyncio.gather(*(one.send(push(device(phone.token))) for _ in range(4)))
        assert time.monotonic() - began < 3
    assert {each.outcome for each in results} == {O.ACCEPTED}
    assert TIMES.silent_s + TIMES.silent_ack_s < 2.5, "before a push's own time is over"


async def test_fault_8_all_connections_dead(apns: ApnsDouble) -> None:
    """When whatever took one connection took the other too, the first push finds out about both."""
    phone = apns.device()
    times = ApnsTimes(silent_s=0.2, silent_ack_s=0.4, suspect_s=0.1, stagger_s=0.02, tick_s=0.02)
    async with provider(section(apns), times=times, request_s=6) as one:
        await warm(one)
        await asyncio.sleep(0.2)
        apns.freeze_connections()
        result = await one.send(push(device(phone.token)))
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 2)
    assert result.elapsed_s < 5, "its own time was nearly over"
    assert len(phone.received) == 1
