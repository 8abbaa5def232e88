"""What one node writes the other has in memory soon, and tells it as another's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import Mock, call

import pytest

from push_proxy.cluster.feed import Feed
from push_proxy.cluster_ports import FeedKind
from push_proxy.core.ids import AccountId, AccountKey, DeviceId, Instant, TenantId
from push_proxy.core.model import Account, Address, Binding, Device
from push_proxy.errors import StoreUnavailable
from push_proxy.ports import AccountState
from push_proxy.runtime.changes import (
    AccountChanged,
    BindingChanged,
    Change,
    DeviceChanged,
    DeviceMoved,
)
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.registrar import Registrar
from push_proxy.store.memory import MemoryStore

ALICE, BOB = AccountKey("acme/alice"), AccountKey("acme/bob")
PHONE = DeviceId("phone")
CLOCK = SystemClock()
SIP = {"one": Address("10.0.0.1", 5060), "two": Address("10.0.0.2", 5060)}


class Names:
    """Two nodes that live for ever."""

    def __init__(self, name: str) -> None:
        self.name = name

    def is_me(self, node: str) -> bool:
        return node in {"", self.name}

    def address(self, node: str) -> Address | None:
        return None if self.is_me(node) else SIP.get(node)


class Meters:
    def __init__(self) -> None:
        self.lags: list[float] = []
        self.reloads = 0

    def feed_applied(self, lag_s: float) -> None:
        self.lags.append(lag_s)

    def reloaded(self) -> None:
        self.reloads += 1


class SlowStore(MemoryStore):
    """Reads can be held back after they were done, and the whole store cut off."""

    def __init__(self) -> None:
        super().__init__(CLOCK)
        self.away = False
        self.hold: asyncio.Event | None = None
        self.reading = asyncio.Event()

    async def account_states(self, keys: Any) -> Any:
        found = await super().account_states(keys)
        await self._held_back()
        return found

    async def place_bindings(self, places: Any) -> Any:
        found = await super().place_bindings(places)
        await self._held_back()
        return found

    async def _held_back(self) -> None:
        if (hold := self.hold) is not None:
            self.hold = None
            self.reading.set()
            await hold.wait()

    async def feed_append(self, entries: Any) -> str:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().feed_append(entries)

    async def feed_read(self, after: str, *, wait_s: float, limit: int = 1000) -> Any:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().feed_read(after, wait_s=min(wait_s, 0.1), limit=limit)


@dataclass
class Node:
    directory: Directory
    feed: Feed
    meters: Meters
    changes: list[Change] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - the feed comes in its own time
                await asyncio.sleep(0.001)

    def has(self, name: str = "alice") -> Account | None:
        return self.directory.account(AccountKey(f"acme/{name}"))

    def bound(self) -> Binding | None:
        return self.directory.binding(ALICE, PHONE)

    def token(self) -> str | None:
        known = self.directory.device(ALICE, PHONE)
        return None if known is None else known.token


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
async def nodes(store: SlowStore) -> AsyncIterator[tuple[Node, Node]]:
    made = [await start(name, store) for name in ("one", "two")]
    yield made[0], made[1]
    store.away = False
    for node in made:
        await node.directory.aclose()
        await node.feed.aclose()


async def start(name: str, store: SlowStore) -> Node:
    meters = Meters()
    feed = Feed(name, store=store, clock=CLOCK, meters=meters)
    directory = Directory(store, CLOCK, nodes=Names(name), news=feed)
    await feed.begin()
    await directory.load()
    node = Node(directory, feed, meters)
    directory.subscribe(node.changes.append)
    feed.start(directory)
    return node


def account(name: str = "alice", **fields: object) -> Account:
    base = Account(
        tenant=TenantId("acme"),
        account=AccountId(name),
        aor=f"sip:{name}@pbx.example.com",
        contact_token=f"token-{name}",
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def device(key: AccountKey = ALICE, token: str = "t1", **fields: object) -> Device:
    base = Device(account=key, device=PHONE, provider="webhook", app_id="com.example", token=token)
    return replace(base, **fields)  # type: ignore[arg-type]


def binding(port: int = 40000, *, cseq: int = 1, expires_s: float = 60) -> Binding:
    return Binding(
        account=ALICE,
        device=PHONE,
        contact=f"sip:alice@192.0.2.7:{port}",
        source=Address("192.0.2.7", port),
        local=Address("10.0.0.1", 5060),
        call_id="c1",
        cseq=cseq,
        expires_at=Instant(CLOCK.now() + expires_s),
        route_key="00112233aabbccdd",
        heard_at=CLOCK.now(),
    )


async def test_all_that_hangs_on_an_account_follows(nodes: tuple[Node, Node]) -> None:
    """Account, device and binding are known at the other node with their first message, told as
    remote, and go as they came.
    """
    one, two = nodes
    await one.directory.put_account(account())
    await one.directory.put_device(device())
    put = one.directory.put_binding(binding())
    await two.until(lambda: two.bound() is not None)
    assert two.bound() == put
    assert put.node == "one"
    assert two.has() == account()
    assert two.directory.by_route_key(put.route_key) == put
    assert two.directory.way(put).through == SIP["one"]
    assert one.directory.way(put).through is None
    await one.directory.delete_account(ALICE)
    await two.until(lambda: two.has() is None)
    assert two.bound() is None
    assert two.directory.device(ALICE, PHONE) is None
    told = [(type(change), change.remote) for change in two.changes]  # type: ignore[union-attr]
    expected = [AccountChanged, DeviceChanged, BindingChanged]
    expected += reversed(expected)
    assert told == [(kind, True) for kind in expected]
    assert not any(getattr(change, "remote", False) for change in one.changes)


async def test_a_phone_moves_from_node_to_node(nodes: tuple[Node, Node], store: SlowStore) -> None:
    """The binding is the node's where the phone registered last, at both nodes and in the store."""
    one, two = nodes
    await one.directory.put_account(account())
    one.directory.put_binding(binding())
    await two.until(lambda: two.bound() is not None)
    moved = two.directory.put_binding(binding(41000, cseq=2))
    await one.until(lambda: one.bound() == moved)
    assert (await store.bindings(ALICE)) == (moved,)
    assert one.directory.way(moved).through == SIP["two"]
    back = one.directory.put_binding(binding(42000, cseq=3))
    await two.until(lambda: two.bound() == back)


async def test_an_old_nodes_expiry_does_not_take_the_new_binding(
    nodes: tuple[Node, Node], store: SlowStore
) -> None:
    """A node that has not heard of the phone's move and sees its own binding end leaves the newer
    one in the store.
    """
    one, two = nodes
    await one.directory.put_account(account())
    old = one.directory.put_binding(binding(expires_s=0.2))
    await two.until(lambda: two.bound() is not None)
    store.hold = asyncio.Event()
    hold = store.hold
    moved = two.directory.put_binding(binding(41000, cseq=2))
    await asyncio.wait_for(store.reading.wait(), 5)  # node one has read it, and does not go on
    await asyncio.sleep(max(0.0, old.expires_at - CLOCK.now()) + 0.01)
    one.directory.expire()
    await asyncio.sleep(0.01)
    assert await store.bindings(ALICE) == (moved,)
    hold.set()
    await one.until(lambda: one.bound() == moved)


async def test_what_was_read_before_our_own_change_is_not_taken(
    nodes: tuple[Node, Node], store: SlowStore
) -> None:
    """A read that was done before this node changed the account, and comes back after, is done
    again: the newer change stands.
    """
    one, two = nodes
    await one.directory.put_account(account())
    await two.until(lambda: two.has() is not None)
    store.hold = asyncio.Event()
    hold = store.hold
    await one.directory.put_account(account(version=2, language="fr"))
    await asyncio.wait_for(store.reading.wait(), 5)
    await two.directory.put_account(account(version=3, language="de"))
    hold.set()
    await one.until(lambda: one.has() == account(version=3, language="de"))
    await asyncio.sleep(0.05)
    assert two.has() == one.has()


async def test_a_deleted_account_does_not_come_back_by_an_old_read(
    nodes: tuple[Node, Node], store: SlowStore
) -> None:
    """An account deleted here while another node's news of it are being read stays deleted."""
    one, two = nodes
    await one.directory.put_account(account())
    await two.until(lambda: two.has() is not None)
    store.hold = asyncio.Event()
    hold = store.hold
    await one.directory.put_account(account(version=2))
    await asyncio.wait_for(store.reading.wait(), 5)
    await two.directory.delete_account(ALICE)
    hold.set()
    await one.until(lambda: one.has() is None)
    await asyncio.sleep(0.05)
    assert two.has() is None


async def test_a_token_that_moves_is_told_once(nodes: tuple[Node, Node]) -> None:
    """An exclusive token leaves another account's device: the node that took it tells so, the
    other one only that the device is gone.
    """
    one, two = nodes
    await one.directory.put_account(account())
    await one.directory.put_account(account("bob"))
    await one.directory.put_device(device())
    await two.until(lambda: two.directory.device(ALICE, PHONE) is not None)
    await two.until(lambda: two.has("bob") is not None)
    await two.directory.put_device(device(BOB))
    await one.until(lambda: one.directory.device(ALICE, PHONE) is None)
    await one.until(lambda: one.directory.device(BOB, PHONE) is not None)
    assert [type(c) for c in two.changes].count(DeviceMoved) == 1
    assert not any(isinstance(change, DeviceMoved) for change in one.changes)


async def test_signs_of_life_are_no_changes(nodes: tuple[Node, Node]) -> None:
    """A device that was only heard is in step at the other node, which tells nobody."""
    one, two = nodes
    await one.directory.put_account(account())
    await one.directory.put_device(device())
    await two.until(lambda: two.directory.device(ALICE, PHONE) is not None)
    told = len(two.changes)
    one.directory.touch_device(ALICE, PHONE, token=True)
    known = one.directory.device(ALICE, PHONE)
    await two.until(lambda: two.directory.device(ALICE, PHONE) == known)
    assert len(two.changes) == told


async def test_a_sign_of_life_undoes_no_change_of_another_node(
    nodes: tuple[Node, Node], store: SlowStore
) -> None:
    """An app that gave its new token to one node registers at the other, which has not heard of
    that yet: the new token stays.
    """
    one, two = nodes
    await one.directory.put_account(account())
    await one.directory.put_device(device())
    await two.until(lambda: two.directory.device(ALICE, PHONE) is not None)
    await store.put_device(device(token="t2", version=2), expected_version=None)
    two.directory.touch_device(ALICE, PHONE, token=True)
    await two.until(lambda: two.token() == "t2")
    stored = await store.get_device(ALICE, PHONE)
    assert stored is not None
    assert (stored.token, stored.version) == ("t2", 2)


async def test_a_sign_of_life_brings_no_deleted_device_back(
    nodes: tuple[Node, Node], store: SlowStore
) -> None:
    """Logged out at one node, and heard once more at the other: the device stays deleted."""
    one, two = nodes
    await one.directory.put_account(account())
    await one.directory.put_device(device())
    await two.until(lambda: two.directory.device(ALICE, PHONE) is not None)
    await store.delete_device(ALICE, PHONE)
    two.directory.touch_device(ALICE, PHONE, token=True)
    await two.until(lambda: two.directory.device(ALICE, PHONE) is None)
    assert await store.get_device(ALICE, PHONE) is None


async def test_a_phone_of_another_node_that_is_heard_here_has_not_registered(
    nodes: tuple[Node, Node],
) -> None:
    """SIP over UDP from the phone to this node, too, leaves its binding as the other node says."""
    one, two = nodes
    await one.directory.put_account(account())
    put = one.directory.put_binding(binding())
    await two.until(lambda: two.bound() == put)
    told = len(two.changes)
    two.directory.heard(put.route_key, put.source, Instant(CLOCK.now() + 1))
    await two.directory.look_for([ALICE])
    assert two.bound() == put
    assert len(two.changes) == told


async def test_an_answer_waits_for_its_own_news_alone(
    nodes: tuple[Node, Node], store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change by HTTP is answered although phones register all the time."""
    monkeypatch.setattr("push_proxy.cluster.feed._SENT_WITHIN_S", 60.0)
    one, _ = nodes
    append = store.feed_append

    async def append_and_hear_of_more(entries: Any) -> str:
        one.feed.tell(FeedKind.BINDING, ALICE, PHONE)
        await asyncio.sleep(0.001)
        return await append(entries)

    store.feed_append = append_and_hear_of_more  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        await one.directory.put_account(account())
    store.feed_append = append  # type: ignore[method-assign]


async def test_requests_in_dialogs_follow_a_node_that_moves(nodes: tuple[Node, Node]) -> None:
    """However many phones it has: some hundred at a time."""
    one, two = nodes
    await one.directory.put_account(account())
    put = one.directory.put_binding(binding())
    await two.until(lambda: two.bound() == put)
    stack = Mock()
    registrar = Registrar(
        signaling=stack, directory=two.directory, wakes=Mock(), clock=CLOCK,
        challenger=Mock(), own=Mock(),
    )  # fmt: skip
    for _ in range(3):
        registrar.rebind(["one", "three"])
    await two.until(lambda: stack.bind_through.called)
    assert stack.bind_through.call_args_list == [call(put.route_key, SIP["one"])]
    registrar.rebind(["three"])
    registrar.rebind(["one"])
    await two.until(lambda: stack.bind_through.call_count == 2)


async def test_what_is_told_while_the_store_is_away_comes_later(
    nodes: tuple[Node, Node], store: SlowStore
) -> None:
    """Neither telling nor following is lost with the store for a while."""
    one, two = nodes
    await one.directory.put_account(account())
    await two.until(lambda: two.has() is not None)
    store.away = True
    one.directory.put_binding(binding())
    await asyncio.sleep(0.3)
    assert two.bound() is None
    store.away = False
    await two.until(lambda: two.bound() is not None)
    assert two.meters.reloads == 0


async def test_who_falls_behind_the_feed_reads_everything(store: SlowStore) -> None:
    """A node to which news were lost takes the differences: new, changed and gone."""
    one, two = await start("one", store), await start("two", store)
    await one.directory.put_account(account())
    await one.directory.put_account(account("bob"))
    await one.directory.put_device(device())
    await two.until(lambda: two.directory.device(ALICE, PHONE) is not None)
    await two.until(lambda: two.has("bob") is not None)
    mine = two.directory.put_binding(binding())
    two.changes.clear()
    store.away = True
    await asyncio.sleep(0.2)
    await store.delete_account(BOB)
    await store.put_account(account(version=2), expected_version=1)
    await store.put_account(account("carol"), expected_version=0)
    store._feed.clear()
    store._told += 1000
    store.away = False
    await two.until(lambda: two.meters.reloads == 1 and two.has("carol") is not None)
    await two.until(lambda: two.has("bob") is None)
    assert two.has() == account(version=2)
    assert two.bound() == mine
    kinds = [type(change) for change in two.changes]
    assert kinds.count(AccountChanged) == 3
    assert kinds.count(DeviceChanged) == 0
    for node in (one, two):
        await node.directory.aclose()
        await node.feed.aclose()


async def test_an_emptied_store_empties_no_memory(store: SlowStore) -> None:
    """A store that has lost everything takes nothing from a node that knows better."""
    one = await start("one", store)
    await one.directory.put_account(account())
    store._accounts.clear()
    await one.directory.reload()
    assert one.has() == account()
    await one.directory.aclose()
    await one.feed.aclose()


async def test_a_loss_of_a_binding_of_ours_is_mended(store: SlowStore) -> None:
    """A store that has forgotten a phone's binding here gets it back when everything is read."""
    one = await start("one", store)
    await one.directory.put_account(account())
    await one.directory.put_device(device())
    put = one.directory.put_binding(binding())
    await one.until(lambda: not one.directory._writes.waiting)
    store._bindings.clear()
    await one.directory.reload()
    assert one.bound() == put
    await one.until(lambda: bool(store._bindings))
    await one.directory.aclose()
    await one.feed.aclose()


async def test_catching_up_waits_for_what_was_told(nodes: tuple[Node, Node]) -> None:
    """Whoever misses something that another node has just made finds it after catching up."""
    one, two = nodes
    for number in range(20):
        await one.directory.put_account(account(f"a{number}"))
        await two.feed.catch_up()
        assert two.has(f"a{number}") is not None


async def test_states_of_one_account(store: SlowStore) -> None:
    """`account_states` says None for an account that is not there."""
    await store.put_account(account(), expected_version=0)
    found = await store.account_states([ALICE, BOB])
    assert found == {ALICE: AccountState(account(), (), ()), BOB: None}
