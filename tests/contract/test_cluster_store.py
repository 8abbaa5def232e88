"""Membership, feed and orders: memory, Valkey and Redis alike."""

import asyncio
from dataclasses import replace

import pytest

from push_proxy.cluster.node import NodeRecord, NodeState
from push_proxy.cluster_ports import FeedEntry, FeedKind
from push_proxy.core.ids import CallId, Instant
from push_proxy.core.model import Address
from push_proxy.ports import AccountState, Store
from push_proxy.store.memory import MemoryStore
from push_proxy.store.redis import RedisStore

from .conftest import HandClock
from .samples import ALICE, BOB, PHONE, account, binding, device, held

ONE = NodeRecord(
    id="one",
    incarnation="a1",
    sip=Address("10.0.0.1", 5060, "tls"),
    state=NodeState.DRAINING,
    started_at=Instant(17.5),
    waiting=3,
    at=Instant(18.25),
    version="1.2",
)
TWO = NodeRecord(id="two", incarnation="b1", sip=Address("10.0.0.2", 5060))


def entry(node: str = "one", kind: FeedKind = FeedKind.BINDING) -> FeedEntry:
    return FeedEntry(node=node, kind=kind, account=ALICE, device=PHONE, at=Instant(12.5))


async def test_nodes_that_beat_are_listed(store: Store) -> None:
    """Every field of a record that was kept comes back, by id, until the node leaves."""
    assert await store.beat(TWO, lease_s=60) is None
    assert await store.beat(ONE, lease_s=60) is None
    assert await store.nodes() == (ONE, TWO)
    await store.leave(ONE)
    assert await store.nodes() == (TWO,)


async def test_a_node_that_stops_beating_is_gone(store: Store) -> None:
    """A record that is not renewed runs out."""
    await store.beat(ONE, lease_s=0.05)
    if isinstance(store, MemoryStore):
        store._cluster_clock.at += 0.1  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        while await store.nodes():  # noqa: ASYNC110 - by the server's own clock
            await asyncio.sleep(0.01)


async def test_a_node_is_forgotten_when_nothing_is_left_of_it(
    store: Store, clock: HandClock
) -> None:
    """Its id outlives its record, until it neither lives nor holds an INVITE; then it comes back
    with the node's next heartbeat alone.
    """
    await store.beat(ONE, lease_s=60)
    await store.beat(TWO, lease_s=60)
    await store.hold_invite(held(clock.at, node="one"))
    assert not await store.forget_node("one")
    await store.leave(ONE)
    assert await store.node_names() == ("one", "two")
    assert not await store.forget_node("one")
    await store.release_invite(ALICE, CallId("call-1"), node="one")
    assert await store.forget_node("one")
    assert await store.node_names() == ("two",)
    assert not await store.forget_node("two")
    assert await store.forget_node("one"), "another node has forgotten it"
    await store.beat(ONE, lease_s=60)
    assert await store.nodes() == (ONE, TWO)


async def test_one_life_does_not_overwrite_another(store: Store) -> None:
    """Another incarnation's record stays and is returned, unless it is to give way."""
    newer = replace(ONE, incarnation="a2")
    await store.beat(ONE, lease_s=60)
    assert await store.beat(newer, lease_s=60) == ONE
    assert await store.nodes() == (ONE,)
    assert await store.beat(newer, lease_s=60, take=True) is None
    assert await store.nodes() == (newer,)
    await store.leave(ONE)
    assert await store.nodes() == (newer,), "a former life takes its successor's record with it"


async def test_the_feed_is_read_in_order_from_any_position(store: Store) -> None:
    """What was told after a position comes back as it was, in pages, once for each reader."""
    start = await store.feed_append([entry(kind=FeedKind.HELLO)])
    told = [entry(), entry("two", FeedKind.ACCOUNT), replace(entry(), account=BOB)]
    end = await store.feed_append(told)
    first = await store.feed_read(start, wait_s=1, limit=2)
    assert first.entries == tuple(told[:2])
    assert first.full
    rest = await store.feed_read(first.position, wait_s=1, limit=2)
    assert (rest.entries, rest.position, rest.full) == (tuple(told[2:]), end, False)


async def test_a_reader_waits_for_news(store: Store) -> None:
    """A read returns as soon as something is told, and empty when nothing is in time."""
    start = await store.feed_append([entry()])
    nothing = await store.feed_read(start, wait_s=0.05)
    assert (nothing.entries, nothing.position) == ((), start)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(store.feed_read(start, wait_s=30))
        await asyncio.sleep(0)
        await store.feed_append([entry("two")])
    assert reading.result().entries == (entry("two"),)


async def test_positions_that_nothing_is_lost_after(store: Store) -> None:
    """The newest position is good; one that was never told here, or is forgotten, is not."""
    start = await store.feed_append([entry()])
    end = await store.feed_append([entry()])
    assert await store.feed_reaches(start)
    assert await store.feed_reaches(end)
    beyond = f"{int(end.partition('-')[0]) + 10}" + ("-0" if "-" in end else "")
    assert not await store.feed_reaches(beyond)


async def test_what_was_forgotten_is_noticed(store: Store) -> None:
    """The feed is capped, and a position behind its oldest entry is not good any more."""
    if isinstance(store, RedisStore):
        store._feed_length = 100
    else:
        assert isinstance(store, MemoryStore)
        store._feed = type(store._feed)(maxlen=100)
    start = await store.feed_append([entry()])
    for _ in range(5):
        await store.feed_append([entry()] * 100)
    assert not await store.feed_reaches(start)


async def test_orders_are_taken_once_in_order(store: Store) -> None:
    """A node's inbox gives each message to one taker; another node's is not touched."""
    await store.put_order("one", b"first \x00\xff", ttl_s=10)
    await store.put_order("one", b"second", ttl_s=10)
    assert await store.take_order("two", wait_s=0.05) is None
    assert await store.take_order("one", wait_s=1) == b"first \x00\xff"
    assert await store.take_order("one", wait_s=1) == b"second"
    assert await store.take_order("one", wait_s=0.05) is None


async def test_a_taker_waits_for_an_order(store: Store) -> None:
    """An order comes as soon as it is put."""
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(store.take_order("one", wait_s=30))
        await asyncio.sleep(0.02)
        await store.put_order("one", b"go", ttl_s=10)
    assert taking.result() == b"go"


async def test_orders_that_nobody_takes_are_forgotten(store: Store) -> None:
    """An inbox ends with its time: a node that comes back later finds no old orders."""
    await store.put_order("one", b"late", ttl_s=0.02)
    if isinstance(store, MemoryStore):
        store._cluster_clock.at += 0.1  # type: ignore[attr-defined]
    await asyncio.sleep(0.05)
    assert await store.take_order("one", wait_s=0.05) is None


@pytest.mark.parametrize("kind", FeedKind)
async def test_every_kind_of_news_is_understood(store: Store, kind: FeedKind) -> None:
    """Each kind comes back as it was told."""
    start = await store.feed_append([entry()])
    await store.feed_append([FeedEntry(node="two", kind=kind)])
    assert (await store.feed_read(start, wait_s=1)).entries == (FeedEntry(node="two", kind=kind),)


async def test_a_newer_binding_of_another_node_stays(store: Store, clock: HandClock) -> None:
    """A binding that waited for the store does not replace what another node took since, nor
    does its end; the same node's own are replaced whenever they were heard.
    """
    await store.put_account(account(), expected_version=None)
    old = binding(clock.at, node="one", heard_at=Instant(clock.at - 5))
    new = binding(clock.at, node="two", heard_at=Instant(clock.at))
    assert await store.put_binding(new)
    assert not await store.put_binding(old)
    assert await store.bindings(ALICE) == (new,)
    await store.delete_binding(ALICE, PHONE, node="one")
    assert await store.bindings(ALICE) == (new,)
    again = replace(new, heard_at=Instant(clock.at - 9))
    assert await store.put_binding(again)
    await store.delete_binding(ALICE, PHONE, node="two")
    assert await store.bindings(ALICE) == ()


async def test_bindings_from_before_there_were_nodes_give_way(
    store: Store, clock: HandClock
) -> None:
    """A record without a node is replaced and removed by any."""
    await store.put_account(account(), expected_version=None)
    await store.put_binding(binding(clock.at))
    await store.delete_binding(ALICE, PHONE, node="two")
    assert await store.bindings(ALICE) == ()


async def test_accounts_and_bindings_are_read_by_name(store: Store, clock: HandClock) -> None:
    """What other nodes wrote is read at once: accounts with devices and bindings, and bindings
    alone, each as it stands, or None.
    """
    await store.put_account(account(), expected_version=None)
    await store.put_device(device(), expected_version=None)
    put = binding(clock.at, node="one")
    await store.put_binding(put)
    states = await store.account_states([BOB, ALICE])
    assert states == {ALICE: AccountState(account(), (device(),), (put,)), BOB: None}
    places = [(ALICE, PHONE), (BOB, PHONE)]
    assert await store.place_bindings(places) == {(ALICE, PHONE): put, (BOB, PHONE): None}
    clock.at += 61
    assert await store.place_bindings(places) == dict.fromkeys(places)
    assert await store.account_states([]) == {}
    assert await store.place_bindings([]) == {}
