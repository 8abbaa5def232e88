"""Connections to APNs: warm, shared, within APNs' limits, replaced; tokens as they are renewed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from push_proxy.core.events import PushOutcome as O
from push_proxy.ports import AppState, PushResult
from push_proxy.providers.apns import ApnsProvider
from push_proxy.providers.apns_app import ApnsApp, apns_apps
from push_proxy.providers.apns_credential import KeyCredential
from push_proxy.providers.apns_request import ApnsTimes
from push_proxy.providers.apns_token import ApnsKey, ProviderToken
from push_proxy.store.memory import MemoryStore
from tests.doubles.apns import ApnsDouble, Goaway, drop, error, going_away, held, silence
from tests.lab.process import poll_until

from .apns_bench import (
    CLOCK,
    TIMES,
    begin,
    connections,
    device,
    faultless,
    provider,
    push,
    section,
    warm,
)

MINUTE = 60.0


async def test_warm_before_the_first_push(apns: ApnsDouble) -> None:
    """Two connections are open before anything is pushed, and the first push takes one of them."""
    phone = apns.device()
    async with provider(section(apns)) as one:
        assert await poll_until(lambda: len(apns.open_lines) == 2, within_s=5)
        assert apns.requests == [], "and APNs was asked nothing for it"
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
    assert apns.connections == 2


async def test_pushes_before_the_start(apns: ApnsDouble) -> None:
    """A push does not depend on `start`: what it needs it opens."""
    phone = apns.device()
    async with provider(section(apns), started=False) as one:
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED


async def test_only_the_environments_in_use(apns: ApnsDouble) -> None:
    """The sandbox is connected to when the first device of it is pushed to."""
    phone = apns.device(environment="sandbox")
    async with provider(section(apns)) as one:
        await warm(one)
        assert {line.environment for line in apns.lines} == {"production"}
        await one.send(push(device(phone.token, environment="sandbox")))
        assert {line.environment for line in apns.lines} == {"production", "sandbox"}


async def test_no_file_is_read_beside_calls(apns: ApnsDouble, tmp_path: Path) -> None:
    """Certificates are read when the provider is made, for both environments.

    Those of the system take tens of milliseconds, in which no call would go on.
    """
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(apns.ca_file.read_bytes())
    async with provider(section(apns, ca_file=ca_file), started=False) as one:
        ca_file.unlink()
        one.start(MemoryStore(CLOCK))
        for at in ("production", "sandbox"):
            phone = apns.device(environment=at)
            result = await one.send(push(device(phone.token, environment=at)))
            assert result.outcome is O.ACCEPTED


async def test_apps_of_one_key_share_connections(apns: ApnsDouble, tmp_path: Path) -> None:
    """Apps of one key share token and connections, whatever the key's file is called."""
    first, second = apns.device(), apns.device("com.example.other")
    copy = tmp_path / "copy.p8"
    copy.write_bytes(apns.key_file.read_bytes())
    apps = section(apns), section(apns, app_id="com.example.other", key_file=copy)
    async with provider(*apps) as one:
        for _ in range(5):
            await one.send(push(device(first.token)))
            await one.send(push(device(second.token, app_id="com.example.other")))
        await warm(one)
        assert apns.connections == 2
    assert len(apns.tokens_seen) == 1
    assert {each.topic for each in apns.delivered} == {
        "com.example.phone.voip",
        "com.example.other.voip",
    }


async def test_keys_share_nothing(apns: ApnsDouble) -> None:
    """Keys of two teams have connections and tokens of their own: APNs takes no two on one."""
    key = apns.key("SECONDKEY1", team_id="LABTEAM002")
    apns.app("com.example.other", team_id="LABTEAM002")
    first, second = apns.device(), apns.device("com.example.other")
    apps = (
        section(apns),
        section(
            apns, app_id="com.example.other", key_id=key.key_id, team_id=key.team_id,
            key_file=key.file,
        ),
    )  # fmt: skip
    async with provider(*apps) as one:
        for _ in range(5):
            await one.send(push(device(first.token)))
            await one.send(push(device(second.token, app_id="com.example.other")))
    by_connection: dict[int, set[str]] = {}
    for each in apns.requests:
        by_connection.setdefault(each.connection, set()).add(each.jwt)
    assert all(len(tokens) == 1 for tokens in by_connection.values())
    assert {each.status for each in apns.requests} == {200}
    assert len(apns.tokens_seen) == 2


async def test_one_stream_before_the_first_answer(apns: ApnsDouble) -> None:
    """A burst at the start keeps APNs' rule of one stream, and costs no more than one answer."""
    phones = [apns.device() for _ in range(200)]
    async with provider(section(apns), request_s=5) as one:
        results = await asyncio.gather(*(one.send(push(device(each.token))) for each in phones))
    assert {(each.outcome, each.attempts) for each in results} == {(O.ACCEPTED, 1)}
    assert max(each.elapsed_s for each in results) < 3
    faultless(apns)
    assert not any(line.refused_streams for line in apns.lines)


async def test_one_stream_whatever_is_announced(workdir: Path) -> None:
    """Even where APNs announces many streams, none is opened beside the first before its answer."""
    async with ApnsDouble(workdir / "apns", streams_before_token=1000) as apns:
        phone = apns.device()
        gate = asyncio.Event()
        apns.always = held(gate)
        async with provider(section(apns), request_s=5) as one:
            await warm(one)
            tasks = [begin(one.send(push(device(phone.token)))) for _ in range(20)]
            await apns.wait(2)
            await asyncio.sleep(0.1)
            assert set(Counter(each.connection for each in apns.requests).values()) == {1}
            gate.set()
            results = await asyncio.gather(*tasks)
    assert {each.outcome for each in results} == {O.ACCEPTED}


@pytest.mark.parametrize("streams", [1, 7])
async def test_stream_limit(workdir: Path, streams: int) -> None:
    """APNs' limit of streams is kept; who finds none waits, more connections are opened, few."""
    async with ApnsDouble(workdir / "apns", streams=streams) as apns:
        phones = [apns.device() for _ in range(100)]
        async with provider(section(apns), request_s=10) as one:
            results = await asyncio.gather(
                *(one.send(push(device(each.token), life_s=30)) for each in phones)
            )
        assert {(each.outcome, each.attempts) for each in results} == {(O.ACCEPTED, 1)}
        assert apns.connections <= 8
        faultless(apns)


async def test_more_connections_when_streams_run_out(workdir: Path) -> None:
    """When all streams hang, others are opened for those who wait, up to a limit."""
    async with ApnsDouble(workdir / "apns", streams=2) as apns:
        stuck, phone = apns.device(), apns.device()
        gate = asyncio.Event()
        apns.always_for(stuck.token, held(gate))
        times = ApnsTimes(patience_s=0.05, stagger_s=0.01, tick_s=0.01)
        async with provider(section(apns), request_s=5, times=times) as one:
            await asyncio.gather(*(one.send(push(device(phone.token))) for _ in range(2)))
            hung = [begin(one.send(push(device(stuck.token)))) for _ in range(6)]
            await apns.wait(6)
            assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
            assert 2 < len(apns.open_lines) <= 8
            gate.set()
            await asyncio.gather(*hung)
        faultless(apns)


async def test_hanging_pushes_delay_nobody(apns: ApnsDouble) -> None:
    """With 500 pushes that APNs does not answer, others are answered at once."""
    stuck, phone = apns.device(), apns.device()
    async with provider(section(apns), request_s=8) as one:
        await one.send(push(device(phone.token)))
        apns.always_for(stuck.token, silence())
        hung = [begin(one.send(push(device(stuck.token)))) for _ in range(500)]
        await apns.wait(400, within=10)
        worst = 0.0
        for _ in range(20):
            result = await one.send(push(device(phone.token)))
            assert result.outcome is O.ACCEPTED
            worst = max(worst, result.elapsed_s)
        for task in hung:
            task.cancel()
        await asyncio.gather(*hung, return_exceptions=True)
    assert worst < 1
    faultless(apns)


async def test_a_burst_that_gives_up_at_once(workdir: Path) -> None:
    """Pushes that run out of time together, on streams and in line, leave nothing behind.

    The room that one of them frees is given to nobody who is just going, too.
    """
    async with ApnsDouble(workdir / "apns", streams=2) as apns:
        phone = apns.device()
        async with provider(section(apns)) as one:
            await one.send(push(device(phone.token)))
            apns.always_for(phone.token, silence())
            results = await asyncio.gather(
                *(one.send(push(device(phone.token), life_s=0.4)) for _ in range(60))
            )
            assert {each.reason for each in results} <= {"timeout", "no_connection", "expired"}
            assert all(line.load == 0 for line in connections(one))
            apns.always_for(phone.token, None)
            assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
        faultless(apns)


async def test_large_bodies_and_flow_control(apns: ApnsDouble) -> None:
    """More than a window takes waits for it; answers with bodies use up no window for ever."""
    phone = apns.device()
    long = b'{"reason":"Unregistered","more":"' + b"x" * 3000 + b'"}'
    apns.next(*(error("Unregistered", body=long) for _ in range(150)))
    async with provider(section(apns), request_s=20) as one:
        said = [push(device(phone.token), caller_name="x" * 5000, life_s=60) for _ in range(150)]
        dead = await asyncio.gather(*(one.send(each) for each in said))
        fine = await asyncio.gather(*(one.send(each) for each in said))
    assert {each.reason for each in dead} == {"Unregistered"}
    assert {each.outcome for each in fine} == {O.ACCEPTED}
    assert min(len(each.body) for each in apns.requests) > 5000
    assert max(Counter(each.connection for each in apns.requests).values()) > 50
    faultless(apns)


async def test_no_rapid_reconnecting(apns: ApnsDouble) -> None:
    """A server that refuses is tried less and less often, and pushes do not change that."""
    phone = apns.device()
    await apns.production.listen("rude")
    times = ApnsTimes(backoff_s=0.1, longest_backoff_s=2, demand_s=0.3, tick_s=0.02)
    async with provider(section(apns), times=times) as one:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            await asyncio.gather(*(one.send(push(device(phone.token))) for _ in range(20)))
        assert apns.production.knocks <= 2 / 0.3 + 4
        await apns.production.listen("open")
        assert await poll_until(lambda: len(apns.open_lines) == 2, within_s=10)


async def test_connections_that_end_at_once_are_a_failure(apns: ApnsDouble) -> None:
    """A server that takes connections and drops them is not connected to over and over."""
    async with provider(section(apns), times=ApnsTimes(stagger_s=0.01, tick_s=0.01)):
        end = time.monotonic() + 1
        while time.monotonic() < end:
            apns.drop_connections()
            await asyncio.sleep(0.01)
    assert apns.connections <= 5


async def test_fresh_name_lookup(apns: ApnsDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection asks DNS again; a resolver that hangs is asked once, and blocks nobody."""
    asked: list[str] = []
    answers = asyncio.Event()
    answers.set()
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def lookup(host: str, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        await answers.wait()
        return await real(host, *rest, **more)

    monkeypatch.setattr(loop, "getaddrinfo", lookup)
    times = ApnsTimes(connect_s=0.3, backoff_s=0.02, longest_backoff_s=0.05, tick_s=0.01)
    async with provider(section(apns), times=times) as one:
        await warm(one)
        assert len(asked) >= 2
        answers.clear()
        asked.clear()
        apns.drop_connections()
        await asyncio.sleep(3 * times.connect_s)
        assert len(asked) == 1
        answers.set()
        assert await poll_until(lambda: len(apns.open_lines) == 2, within_s=5)


async def test_close_ends_everything(apns: ApnsDouble) -> None:
    """After closing no task, no connection and no waiting push is left."""
    phone = apns.device()
    before = asyncio.all_tasks()
    async with provider(section(apns), request_s=5) as one:
        await one.send(push(device(phone.token)))
        apns.always = silence()
        waiting = begin(one.send(push(device(phone.token))))
        await apns.wait(2)
        await one.aclose()
        result = await waiting
        assert (result.outcome, result.reason) == (O.UNAVAILABLE, "closing")
        after = await one.send(push(device(phone.token)))
        assert (after.outcome, after.reason) == (O.UNAVAILABLE, "closing")
        assert apns.connections <= 2
    assert await poll_until(lambda: not apns.open_lines, within_s=2)
    assert await poll_until(lambda: len(asyncio.all_tasks() - before) == 0, within_s=2)


async def test_on_the_loop_of_the_service(apns: ApnsDouble) -> None:
    """The service runs on uvloop: pushes, a GOAWAY, a broken connection and the end work there."""
    phone = apns.device()

    async def service() -> list[PushResult]:
        async with provider(section(apns), request_s=3) as one:
            await warm(one)
            results = [await one.send(push(device(phone.token))) for _ in range(3)]
        assert await poll_until(lambda: len(asyncio.all_tasks()) == 1, within_s=2)
        return results

    def on_uvloop() -> list[PushResult]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(service())

    apns.next(going_away(), drop())
    results = await asyncio.to_thread(on_uvloop)
    assert [(each.outcome, each.attempts) for each in results] == [
        (O.ACCEPTED, 1),
        (O.ACCEPTED, 2),
        (O.ACCEPTED, 1),
    ]
    faultless(apns)


# ---- provider tokens over connections -------------------------------------------------------


class Wall:
    """The wall clock in the provider's hand; the double's is set beside it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def with_wall(apns: ApnsDouble, wall: Wall) -> ApnsProvider:
    """A provider whose token lives by this clock."""
    [app] = apns_apps([section(apns)])
    private: Any = load_pem_private_key(apns.key_file.read_bytes(), None)
    key = ApnsKey.of(private, team_id=apns.team_id, key_id=apns.key_id)
    token = ProviderToken(key, wall=wall, tick_s=0.01)
    made = ApnsApp(
        app_id=app.app_id,
        team_id=app.team_id,
        credential=KeyCredential(key, token=token),
        environment=app.environment,
        servers=app.servers,
        ca_file=app.ca_file,
    )
    return ApnsProvider([made], CLOCK, times=TIMES, request_s=5)


async def test_renewed_token_gets_new_connections(apns: ApnsDouble) -> None:
    """A token is renewed without any push noticing; no connection ever shows two."""
    wall, phone = Wall(), apns.device()
    one = with_wall(apns, wall)
    try:
        one.start(MemoryStore(CLOCK))
        await warm(one)
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
        results = []
        for _ in range(4):
            wall.ahead_s += 36 * MINUTE
            apns.ahead_s = wall.ahead_s
            for _ in range(10):
                results.append(await one.send(push(device(phone.token))))
                await asyncio.sleep(0.02)
        assert await poll_until(lambda: len(apns.open_lines) == 2, within_s=5)
    finally:
        await one.aclose()
    assert Counter((each.outcome, each.attempts) for each in results) == {(O.ACCEPTED, 1): 40}
    shown: dict[int, set[str]] = {}
    for each in apns.requests:
        shown.setdefault(each.connection, set()).add(each.jwt)
    assert all(len(tokens) == 1 for tokens in shown.values())
    assert len(apns.tokens_seen) == 5
    faultless(apns)


async def test_expired_token_is_renewed_and_sent_again(apns: ApnsDouble) -> None:
    """A token that is too old by Apple's clock alone is renewed, once, and the push arrives."""
    wall, phone = Wall(), apns.device()
    wall.ahead_s = -40 * MINUTE
    apns.ahead_s = wall.ahead_s
    one = with_wall(apns, wall)
    try:
        one.start(MemoryStore(CLOCK))
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED
        wall.ahead_s += 30 * MINUTE
        apns.ahead_s = wall.ahead_s
        apns.next(error("ExpiredProviderToken"))
        result = await one.send(push(device(phone.token)))
        [health] = one.health()
    finally:
        await one.aclose()
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 2)
    assert health.state is AppState.OK
    assert len(apns.tokens_seen) == 2
    assert apns.requests[-1].connection != apns.requests[-2].connection


async def test_token_that_expires_at_the_second_try_blocks_nobody(apns: ApnsDouble) -> None:
    """A push that had its second try already is lost; the next one has a renewed token."""
    wall, phone = Wall(), apns.device()
    wall.ahead_s = -40 * MINUTE
    apns.ahead_s = wall.ahead_s
    one = with_wall(apns, wall)
    try:
        one.start(MemoryStore(CLOCK))
        await one.send(push(device(phone.token)))
        wall.ahead_s += 30 * MINUTE
        apns.ahead_s = wall.ahead_s
        apns.next(error("InternalServerError"), error("ExpiredProviderToken"))
        lost = await one.send(push(device(phone.token)))
        after = await one.send(push(device(phone.token)))
    finally:
        await one.aclose()
    assert (lost.outcome, lost.reason) == (O.UNAVAILABLE, "ExpiredProviderToken")
    assert after.outcome is O.ACCEPTED
    assert len(apns.tokens_seen) == 2


async def test_too_many_tokens_goes_back_to_the_old_one(apns: ApnsDouble) -> None:
    """A renewed token that APNs finds too soon is dropped: the old one goes on elsewhere."""
    wall, phone = Wall(), apns.device()
    one = with_wall(apns, wall)
    try:
        one.start(MemoryStore(CLOCK))
        await warm(one)
        await one.send(push(device(phone.token)))
        [old] = apns.tokens_seen
        apns.keys[apns.key_id].newest_at = time.time() + 30 * MINUTE  # another program's, say
        wall.ahead_s = apns.ahead_s = 36 * MINUTE
        assert await poll_until(
            lambda: len(connections(one)) == 2 and all(e.bearer != old for e in connections(one)),
            within_s=5,
        )
        result = await one.send(push(device(phone.token)))
        again = await one.send(push(device(phone.token)))
    finally:
        await one.aclose()
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 2)
    assert (again.outcome, again.attempts) == (O.ACCEPTED, 1)
    assert apns.requests[-1].jwt == apns.requests[-2].jwt == old
    assert len(apns.tokens_seen) == 2


async def test_two_nodes_one_token(apns: ApnsDouble) -> None:
    """Two nodes with one store show APNs one token; without it they would be refused."""
    phone = apns.device()
    store = MemoryStore(CLOCK)
    async with (
        provider(section(apns), shared=store) as first,
        provider(section(apns), shared=store) as second,
    ):
        results = await asyncio.gather(
            *(each.send(push(device(phone.token))) for each in (first, second) * 10)
        )
    assert {(each.outcome, each.attempts) for each in results} == {(O.ACCEPTED, 1)}
    assert len(apns.tokens_seen) == 1
    assert {each.status for each in apns.requests} == {200}


async def test_a_thousand_in_flight_and_a_goaway(apns: ApnsDouble) -> None:
    """1,000 pushes in flight, GOAWAY in the middle: each arrives exactly once; one JWT."""
    phones = [apns.device() for _ in range(1000)]
    gate = asyncio.Event()
    async with provider(section(apns), request_s=30) as one:
        await warm(one)
        await asyncio.gather(*(one.send(push(device(phones[0].token))) for _ in range(2)))
        apns.delivered.clear()
        phones[0].received.clear()
        apns.always = held(gate)
        for middle in (400, 401, 700):
            # What is on its way behind these is beyond the last stream that APNs names.
            apns.for_token(phones[middle].token, held(gate, goaway=Goaway()))
        sent = [push(device(each.token), life_s=60) for each in phones]
        tasks = [begin(one.send(each)) for each in sent]
        assert await poll_until(lambda: sum(e.load for e in connections(one)) == 1000, within_s=20)
        await apns.wait_delivered(1000, within=20)
        gate.set()
        results = await asyncio.gather(*tasks)
    assert Counter((each.outcome, each.attempts) for each in results) == {(O.ACCEPTED, 1): 1000}
    assert Counter(len(each.received) for each in phones)[1] == 1000
    assert len(apns.tokens_seen) == 1
    faultless(apns)
