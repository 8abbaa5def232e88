"""Memory as the model of Redis: after any history of operations both say the same."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, TenantId
from push_proxy.core.model import CallState
from push_proxy.core.wake_health import WakeEnd
from push_proxy.errors import PushProxyError
from push_proxy.ports import ApiKey, CallQuery, Store
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.memory import MemoryStore
from push_proxy.store.redis import RedisStore
from push_proxy.store.search import HistoryLimits
from tests.lab.redis_cluster import ClusterGroup

from .conftest import RING, HandClock
from .samples import account, app_log, binding, call, device, enrolment, held, missed, wake

HISTORY = HistoryLimits(
    calls_per_account=3,
    keep_s=100.0,
    missed_per_account=3,
    missed_keep_s=50.0,
    app_logs_per_device=2,
    app_logs_keep_s=30.0,
)
TENANTS = ("acme", "globex")
Operation = Callable[[Store, HandClock], Awaitable[Any]]

tenants = st.sampled_from(("acme", "acme", "acme", "globex"))
names = st.sampled_from(("alice", "alice", "alice", "bob"))
keys = st.builds(lambda tenant, name: AccountKey(f"{tenant}/{name}"), tenants, names)
devices = st.sampled_from((DeviceId("d1"), DeviceId("d2")))
versions = st.sampled_from((1, 2))
expected = st.sampled_from((None, None, 0, 1, 2))
calls = st.sampled_from([f"c{number}" for number in range(6)])


def operation(make: Callable[..., Operation], *drawn: st.SearchStrategy[Any]) -> Any:
    """A strategy of operations that print as their name and arguments."""

    def named(*values: Any) -> Operation:
        made = make(*values)
        made.__qualname__ = made.__name__ = f"{make.__name__}{values}"
        return made

    return st.builds(named, *drawn)


def put_account(tenant: str, name: str, aor: str, token: str, version: int, want: Any) -> Operation:
    value = account(name, tenant, aor=f"sip:{aor}", contact_token=token, version=version)
    return lambda store, _: store.put_account(value, expected_version=want)


def delete_account(key: AccountKey) -> Operation:
    return lambda store, _: store.delete_account(key)


def put_device(
    key: AccountKey, name: DeviceId, token: str, exclusive: bool, version: int, want: Any
) -> Operation:
    value = device(key, name, token, exclusive=exclusive, version=version)
    return lambda store, _: store.put_device(value, expected_version=want)


def delete_device(key: AccountKey, name: DeviceId) -> Operation:
    return lambda store, _: store.delete_device(key, name)


def put_binding(key: AccountKey, name: DeviceId, lasts_s: float) -> Operation:
    return lambda store, clock: store.put_binding(
        binding(clock.at, key, name, expires_at=Instant(clock.at + lasts_s))
    )


def delete_binding(key: AccountKey, name: DeviceId) -> Operation:
    return lambda store, _: store.delete_binding(key, name)


def put_call(key: AccountKey, name: str, state: CallState) -> Operation:
    # As its UUID, a call's account, start and numbers are its own for ever.
    number = int(name[1:])
    ago_s, caller = (0.0, 0.0, 1.0, 30.0, 50.0, 200.0)[number], str(number % 2)
    name = f"{name}-{key.replace('/', '-')}"
    return lambda store, clock: store.put_call(
        call(clock.start - ago_s, name, key, caller=caller, sip_call_id=f"s{caller}", state=state)
    )


def hold(key: AccountKey, name: str, lasts_s: float) -> Operation:
    return lambda store, clock: store.hold_invite(
        held(clock.at, name, account=key, deadline=Instant(clock.at + lasts_s))
    )


def release(key: AccountKey, name: str) -> Operation:
    return lambda store, _: store.release_invite(key, CallId(name))


def miss(key: AccountKey, name: str) -> Operation:
    return lambda store, clock: store.put_missed_call(missed(clock.at, name, key))


def see(key: AccountKey, names: list[str], up_to: str | None) -> Operation:
    async def sorted_seen(store: Store, _: HandClock) -> list[CallId]:
        found = [CallId(name) for name in names]
        last = None if up_to is None else CallId(up_to)
        return sorted(await store.see_missed_calls(key, found, up_to=last))

    return sorted_seen


def wakes(key: AccountKey, name: DeviceId, woken: list[tuple[str, WakeEnd]]) -> Operation:
    return lambda store, clock: store.put_wakes(
        key, name, [wake(clock.at, call_name, end) for call_name, end in woken], after=CallId("c1")
    )


def log(key: AccountKey, name: DeviceId, number: int, content: bytes) -> Operation:
    # As its UUID, a log's id never comes twice.
    return lambda store, clock: store.put_app_log(
        key, name, app_log(clock.at, f"l{number}"), content
    )


def enrol(code: str) -> Operation:
    return lambda store, clock: store.put_enrolment(enrolment(clock.at, code))


def redeem(code: str, later_s: float) -> Operation:
    return lambda store, clock: store.take_enrolment(code, now=Instant(clock.at + later_s))


def respond(tenant: str, response: bytes | None) -> Operation:
    return lambda store, _: store.idempotent(TenantId(tenant), "key", response, ttl_s=3600)


def api_key(tenant: str, scopes: frozenset[str]) -> Operation:
    value = ApiKey(name="k", tenant=TenantId(tenant), key_sha256="0" * 64, scopes=scopes)
    return lambda store, _: store.put_api_key(value)


def wait(seconds: float) -> Operation:
    async def move(_: Store, clock: HandClock) -> None:
        clock.at += seconds

    return move


times = st.sampled_from((-5.0, 5.0, 30.0, 90.0))
recreate = operation(put_account, tenants, names, st.just("z"), st.just(""), st.just(1), st.none())
accounts = [
    operation(put_account, tenants, names, st.sampled_from("xy"), st.sampled_from(("", "s", "t")),
              versions, expected),
    operation(delete_account, keys),
]  # fmt: skip
with_devices = [
    operation(put_device, keys, devices, st.sampled_from("pq"), st.booleans(), versions, expected),
    operation(delete_device, keys, devices),
    operation(put_binding, keys, devices, times),
    operation(delete_binding, keys, devices),
]
with_calls = [
    operation(put_call, keys, calls, st.sampled_from(CallState)),
    operation(hold, keys, calls, times),
    operation(release, keys, calls),
]  # fmt: skip
with_missed = [
    operation(miss, keys, calls),
    operation(miss, keys, calls),
    operation(see, keys, st.lists(calls, max_size=3), st.none() | calls),
]
with_health = [
    operation(wakes, keys, devices, st.lists(st.tuples(calls, st.sampled_from(WakeEnd)))),
    operation(log, keys, devices, st.integers(0, 10**9), st.binary(max_size=9)),
]
others = [
    operation(enrol, st.sampled_from("ef")),
    operation(redeem, st.sampled_from("ef"), st.sampled_from((0.0, 1000.0))),
    operation(respond, tenants, st.sampled_from((None, b"1", b"2"))),
    operation(api_key, tenants, st.sampled_from((frozenset(), frozenset({"calls"})))),
    operation(wait, st.sampled_from((1.0, 5.0, 20.0))),
]
# Few kinds of operations at a time meet more often than all of them together.
mixtures = [
    accounts,
    [*with_devices, accounts[1], recreate],
    [with_calls[0], others[-1]],
    [*with_calls, accounts[1], recreate],
    [*with_missed, others[-1]],
    [*with_missed, accounts[1], recreate],
    [*with_health, *with_devices[:2], accounts[1], recreate, others[-1]],
    [*accounts, *with_devices, *with_calls, *with_missed, *with_health, *others],
]
# Histories that begin with something to act upon.
histories = st.sampled_from(mixtures).flatmap(
    lambda mixture: st.lists(st.one_of(mixture), min_size=15, max_size=40)
)
BEGINNING = [put_account(t, n, f"{t}{n}", "", 1, 0) for t in TENANTS for n in ("alice", "bob")]


async def answer(act: Operation, store: Store, clock: HandClock) -> Any:
    try:
        return await act(store, clock)
    except PushProxyError as error:
        return type(error), str(error)


async def search(store: Store, query: dict[str, Any]) -> list[str]:
    found: list[str] = []
    cursor = None
    for _ in range(50):
        page = await store.find_calls(CallQuery(cursor=cursor, limit=2, **query))
        found += [record.id for record in page.calls]
        if (cursor := page.next_cursor) is None:
            return found
    raise AssertionError("the search does not end")


async def contents(store: Store) -> dict[str, Any]:
    """All that can be read."""
    seen: dict[str, Any] = {"keys": await store.api_keys()}
    states = [state async for state in store.everything()]
    seen["all"] = sorted(states, key=lambda state: state.account.key)
    for tenant in TENANTS:
        seen[tenant] = await store.list_accounts(TenantId(tenant), limit=1, cursor=None)
        seen[tenant, "calls"] = await search(store, {"tenant": TenantId(tenant)})
        seen[tenant, "sip"] = await search(store, {"tenant": TenantId(tenant), "sip_call_id": "s1"})
        for name in ("alice", "bob"):
            key = AccountKey(f"{tenant}/{name}")
            seen[key] = await store.get_account(key)
            seen[key, "devices"] = await store.devices(key)
            seen[key, "bindings"] = await store.bindings(key)
            seen[key, "held"] = await store.held_invites(key)
            seen[key, "missed"] = await store.missed_calls(key, limit=9, cursor=None)
            seen[key, "number missed"] = await store.count_missed_calls(key)
            seen[key, "calls"] = await search(store, {"tenant": TenantId(tenant), "account": key})
            seen[key, "wakes"] = await store.wakes_of_account(key)
            for phone in (DeviceId("d1"), DeviceId("d2")):
                logs = await store.app_logs(key, phone)
                seen[key, phone, "logs"] = [
                    (log, await store.app_log(key, phone, log.id)) for log in logs
                ]
                seen[key, phone, "wakes"] = await store.wakes(key, phone)
            for number in range(6):
                call_id = CallId(f"c{number}-{tenant}-{name}")
                seen[call_id] = await store.get_call(call_id)
    return seen


async def same_contents(memory: Store, real: Store) -> None:
    got = await contents(real)
    for name, value in (await contents(memory)).items():
        assert got[name] == value, name


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[asyncio.Runner, str]]:
    folder = Path(tempfile.mkdtemp(prefix="pp-"))
    with asyncio.Runner() as runner:
        valkey = EmbeddedValkey(folder)
        runner.run(valkey.start())
        yield runner, valkey.url
        runner.run(valkey.stop())
    shutil.rmtree(folder)


async def compare(url: str, flush: Callable[[], Awaitable[None]], history: list[Operation]) -> None:
    clocks = HandClock(), HandClock()
    clocks[1].at = clocks[1].start = clocks[0].at
    memory = MemoryStore(clocks[0], history=HISTORY)
    real = RedisStore(url, ring=RING, clock=clocks[1], history=HISTORY)
    await flush()
    await real.open()
    try:
        for number, act in enumerate([*BEGINNING, *history]):
            wanted = await answer(act, memory, clocks[0])
            assert await answer(act, real, clocks[1]) == wanted, (number, act.__qualname__)
            if number % 12 == 0:
                await same_contents(memory, real)
        await same_contents(memory, real)
    finally:
        await real.aclose()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=histories)
def test_redis_equals_memory(server: tuple[asyncio.Runner, str], history: list[Operation]) -> None:
    """Every operation returns or raises the same on both, and both end up holding the same."""
    runner, url = server

    async def flush() -> None:
        async with Redis.from_url(url) as other:
            await other.flushall()

    runner.run(compare(url, flush, history))


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=histories)
def test_redis_cluster_equals_memory(cluster_group: ClusterGroup, history: list[Operation]) -> None:
    """The same on three masters, of which each has a part."""
    with asyncio.Runner() as runner:
        runner.run(compare(cluster_group.url, cluster_group.flush, history))
