"""Which nodes live, and who may use an id."""

import asyncio
from dataclasses import replace

import pytest
import structlog

from push_proxy.cluster.membership import Membership, MembershipRules
from push_proxy.cluster.node import NodeState
from push_proxy.core.ids import Instant
from push_proxy.core.model import Address
from push_proxy.errors import ConfigurationError, StoreUnavailable
from push_proxy.runtime.clock import SystemClock
from push_proxy.store.memory import MemoryStore

HERE, THERE = Address("10.0.0.1", 5060), Address("10.0.0.2", 5060)
RULES = MembershipRules(lease_s=0.5, heartbeat_s=0.05)
CLOCK = SystemClock()


def node(name: str, sip: Address, store: MemoryStore | None) -> Membership:
    record = Membership.first_record(name, sip, clock=CLOCK)
    return Membership(record, store=store, clock=CLOCK, rules=RULES)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - heartbeats come in their own time
            await asyncio.sleep(0.01)


async def test_alone_nothing_runs() -> None:
    """Without a shared store there is one node, whatever id a record names."""
    alone = node("one", HERE, None)
    await alone.enter()
    await alone.start()
    assert alone.name == ""
    assert alone.is_me("")
    assert alone.is_me("one")
    assert alone.address("two") is None
    assert list(alone.alive()) == ["one"]
    assert len(asyncio.all_tasks()) == 1
    await alone.aclose()


async def test_nodes_learn_of_each_other() -> None:
    """Each knows the others' addresses and states soon, hears of changes, and of an end at once."""
    store = MemoryStore(CLOCK)
    one, two = node("one", HERE, store), node("two", THERE, store)
    heard: list[int] = []
    one.subscribe(lambda: heard.append(len(one.alive())))
    await one.start()
    await two.start()
    await until(lambda: one.address("two") == THERE and two.address("one") == HERE)
    await two.change(NodeState.DRAINING)
    await until(lambda: one.others()[0].state is NodeState.DRAINING)
    await two.aclose()
    await until(lambda: not one.is_alive("two"))
    assert heard == [2, 2, 1]
    await one.aclose()


async def test_clocks_that_differ_are_told_once() -> None:
    """By the node that lags: the other one's record is from its future."""
    store = MemoryStore(CLOCK)
    one = node("one", HERE, store)
    await one.start()
    other = Membership.first_record("two", THERE, clock=CLOCK)
    with structlog.testing.capture_logs() as logs:
        for ahead_s in (0.1, 30.0, 31.0):
            record = replace(other, at=Instant(CLOCK.now() + ahead_s))
            await store.beat(record, lease_s=60)
            await one.look()
            assert one.is_alive("two")
    (told,) = [line for line in logs if line["log_level"] == "error"]
    assert (told["node"], round(told["ahead_s"])) == ("two", 30)
    await one.aclose()


async def test_a_former_life_at_our_address_is_ours() -> None:
    """Where we listen nobody else can: a record that still stands there holds nothing up."""
    store = MemoryStore(CLOCK)
    before = node("one", HERE, store)
    await store.beat(before.me, lease_s=60)
    again = node("one", HERE, store)
    async with asyncio.timeout(0.2):
        await again.enter()
    await again.start()
    assert (await store.nodes())[0].incarnation == again.me.incarnation
    await again.aclose()


async def test_a_former_life_elsewhere_is_waited_for() -> None:
    """A node that comes back at another address starts when its old record has run out."""
    store = MemoryStore(CLOCK)
    await store.beat(node("one", THERE, store).me, lease_s=0.4)
    again = node("one", HERE, store)
    async with asyncio.timeout(2):
        await again.enter()
    assert await store.nodes() == ()


async def test_an_id_in_use_is_refused() -> None:
    """Another node with our id that goes on living is a fault of the configuration."""
    store = MemoryStore(CLOCK)
    other = node("one", THERE, store)
    await other.start()
    with pytest.raises(ConfigurationError, match=r"node.id 'one' is in use .* udp:10.0.0.2:5060"):
        await node("one", HERE, store).enter()
    await other.aclose()


async def test_a_life_that_was_replaced_ends() -> None:
    """Whoever finds another life under its id does not overwrite it, and is told to end."""
    store = MemoryStore(CLOCK)
    old = node("one", HERE, store)
    await old.start()
    new = replace(old.me, incarnation="new", sip=THERE)
    await store.beat(new, lease_s=60, take=True)
    async with asyncio.timeout(2):
        await old.displaced.wait()
    await old.aclose()
    assert [record.incarnation for record in await store.nodes()] == ["new"]


class AwayStore(MemoryStore):
    away = False

    async def beat(self, *args: object, **fields: object) -> object:  # type: ignore[override]
        if self.away:
            raise StoreUnavailable("away")
        return await super().beat(*args, **fields)  # type: ignore[arg-type]


async def test_the_store_away_kills_nobody() -> None:
    """Records that ran out while the store was away are no deaths; one that stays away is."""
    store = AwayStore(CLOCK)
    one, two = node("one", HERE, store), node("two", THERE, store)
    await one.start()
    await two.start()
    await until(lambda: one.is_alive("two"))
    deaths: list[bool] = []
    one.subscribe(lambda: deaths.append(one.is_alive("two")))
    store.away = True
    await asyncio.sleep(RULES.lease_s * 1.5)
    store.away = False
    await asyncio.sleep(RULES.heartbeat_s * 4)
    assert one.is_alive("two")
    assert all(deaths)
    assert two._task is not None
    two._task.cancel()
    await until(lambda: not one.is_alive("two"))
    await one.aclose()
