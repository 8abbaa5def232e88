"""Which shards a node has: nodes that come, go, stop answering, or cannot reach the store."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from push_proxy.cluster.leases import Leases
from push_proxy.cluster.membership import MembershipRules
from push_proxy.cluster.node import NodeRecord, NodeState
from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.leasing import Orders
from push_proxy.core.model import Address, RegistrationRecord
from push_proxy.core.shards import SHARDS, shard_of, share_of
from push_proxy.errors import StoreUnavailable
from push_proxy.lease_ports import Leased, Owner
from push_proxy.store.memory import MemoryStore
from push_proxy.store.memory_leases import LeasesInMemory
from push_proxy.tasks import spawn

ALICE = AccountKey("acme/alice")
ALL = frozenset(range(SHARDS))
LEASE_S = 30.0
RULES = MembershipRules(lease_s=LEASE_S, heartbeat_s=0.04)


class Clock:
    """Real time, with leaps when a test wants them."""

    def __init__(self) -> None:
        self.leapt_s = 0.0

    def now(self) -> Instant:
        return Instant(time.monotonic() + self.leapt_s)


class Store(MemoryStore):
    """Can be away."""

    away = False

    async def lease(self, owner: Owner, orders: Orders, *, lease_s: float) -> Leased:
        if self.away:
            raise StoreUnavailable("away")
        return await super().lease(owner, orders, lease_s=lease_s)


class Members:
    """One list of nodes for all, as the test wants it."""

    rules = RULES

    def __init__(self, name: str, alive: dict[str, NodeRecord]) -> None:
        self.name = name
        self._alive = alive
        alive[name] = NodeRecord(
            id=name,
            incarnation=f"{name}-1",
            sip=Address("10.0.0.1", 5060),
            state=NodeState.STARTING,
        )

    @property
    def me(self) -> NodeRecord:
        return self._alive[self.name]

    def alive(self) -> Mapping[str, NodeRecord]:
        return self._alive

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Rounds are frequent enough."""

    async def look(self) -> None:
        """It is always known."""

    async def change(self, state: NodeState) -> None:
        self._alive[self.name] = replace(self.me, state=state)


class Work:
    """Whoever works by shards."""

    def __init__(self) -> None:
        self.ours: set[int] = set()
        self.left: list[frozenset[int]] = []
        self.restored: set[int] = set()
        self.cost = 0.0
        self.share = 0.0
        self.registered: set[AccountKey] = set()

    def gained(self, shards: frozenset[int]) -> None:
        assert not self.ours & shards
        self.ours |= shards

    async def leave(self, shards: frozenset[int]) -> Iterable[AccountKey]:
        self.left.append(shards)
        await asyncio.sleep(0)
        return self.registered

    def lost(self, shards: frozenset[int]) -> None:
        assert shards <= self.ours
        self.ours -= shards

    def forgotten(self, shards: frozenset[int]) -> None:
        assert shards <= self.ours
        self.restored |= shards

    def cost_s(self, shard: int) -> float:
        assert shard in self.ours
        return self.cost

    def set_share(self, share: float) -> None:
        self.share = share


class Meters:
    """What was counted."""

    def __init__(self) -> None:
        self.shards: Mapping[str, int] = {}
        self.taken_over = 0

    def set_shards(self, counts: Mapping[str, int]) -> None:
        self.shards = counts

    def shards_taken_over(self, count: int) -> None:
        self.taken_over += count


class Scene:
    """Nodes that share a store."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Store(self.clock)
        self.alive: dict[str, NodeRecord] = {}
        self.nodes: dict[str, Node] = {}

    def start(self, name: str) -> "Node":
        node = self.nodes[name] = Node(self, name)
        node.leases.start()
        return node

    async def spread(self) -> None:
        """Until each node has its share of the shards."""
        await until(lambda: all(node.work.ours == node.share() for node in self.nodes.values()))

    async def end(self) -> None:
        for node in self.nodes.values():
            await node.leases.aclose()


class Node:
    """One of them, with a clock of its own."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene = scene
        self.name = name
        self.clock = Clock()
        self.clock.leapt_s = 1e6 * len(scene.nodes)  # nobody's clock is anybody else's
        self.work = Work()
        self.meters = Meters()
        self.members = Members(name, scene.alive)
        self.leases = Leases(
            store=scene.store, members=self.members, meters=self.meters, now=self.clock.now
        )
        self.leases.subscribe(self.work)

    def share(self) -> frozenset[int]:
        return share_of(self.name, self.scene.nodes)

    async def die(self) -> None:
        """Without a word: its leases run out, and the others notice."""
        assert self.leases._loop is not None
        self.leases._loop.cancel()
        del self.scene.nodes[self.name], self.scene.alive[self.name]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - rounds come in their own time
            await asyncio.sleep(0.01)


async def test_the_first_node_has_all_and_gives_others_their_share() -> None:
    """Who comes gets its share without anybody having a shard beside another; paces are shared."""
    scene = Scene()
    one = scene.start("one")
    await until(lambda: one.work.ours == ALL)
    assert one.members.me.state is NodeState.READY
    assert one.leases.owns(ALICE)
    assert one.leases.fence(ALICE) > 0
    assert one.work.share == 1.0
    two, three = scene.start("two"), scene.start("three")
    await scene.spread()
    assert sum(node.leases.owns(ALICE) for node in (one, two, three)) == 1
    assert {node.work.share for node in (one, two, three)} == {1 / 3}
    await until(
        lambda: (
            one.meters.shards == {"owned": 86, "awaited": 0, "leaving": 0}
            or (one.meters.shards.get("owned") in {84, 85, 86} and not one.meters.shards["leaving"])
        )
    )
    assert one.meters.taken_over == two.meters.taken_over == 0
    await scene.end()
    assert not one.leases.owns(ALICE)


async def test_a_dead_nodes_shards_are_taken_when_its_leases_run_out() -> None:
    """Not before; and that is counted."""
    scene = Scene()
    one, two = scene.start("one"), scene.start("two")
    await scene.spread()
    theirs = two.share()
    await two.die()
    await asyncio.sleep(0.2)
    assert not one.work.ours & theirs
    scene.clock.leapt_s += LEASE_S
    await until(lambda: one.work.ours == ALL)
    assert one.meters.taken_over == len(theirs)
    await scene.end()


async def test_a_paused_node_owns_nothing_before_it_has_asked_the_store() -> None:
    """After a pause longer than the lease it says no at once, loses what others have taken, with a
    higher fence, and goes on with what nobody wanted.
    """
    scene = Scene()
    one, two = scene.start("one"), scene.start("two")
    await scene.spread()
    here = one if one.leases.owns(ALICE) else two
    fence = here.leases.fence(ALICE)
    there = two if here is one else one
    loop = here.leases._loop
    assert loop is not None
    here.leases._loop = None
    loop.cancel()
    del scene.alive[here.name]
    scene.clock.leapt_s += LEASE_S
    here.clock.leapt_s += LEASE_S
    await until(lambda: there.leases.owns(ALICE))
    assert there.leases.fence(ALICE) > fence
    # It goes on where it was stopped, and knows by its clock alone.
    assert not here.leases.owns(ALICE)
    assert shard_of(ALICE) in here.work.ours
    scene.alive[here.name] = replace(scene.alive[there.name], id=here.name)
    here.leases.start()
    await until(lambda: here.leases.fence(ALICE) != fence)
    await scene.spread()
    await scene.end()


async def test_while_the_store_is_away_leases_run_out_and_come_back() -> None:
    """Nobody is told of a loss that may be none: the same fence goes on when the store is back."""
    scene = Scene()
    one = scene.start("one")
    await until(lambda: one.leases.owns(ALICE))
    fence = one.leases.fence(ALICE)
    scene.store.away = True
    await asyncio.sleep(0.1)
    assert one.leases.owns(ALICE)
    one.clock.leapt_s += LEASE_S
    scene.clock.leapt_s += LEASE_S
    assert not one.leases.owns(ALICE)
    assert one.work.ours == ALL
    scene.store.away = False
    await until(lambda: one.leases.owns(ALICE))
    assert one.leases.fence(ALICE) == fence
    await scene.end()


async def test_a_store_that_comes_back_empty_gets_the_leases_back() -> None:
    """Nobody loses anything: fences stay, and what the store had of the accounts is asked for."""
    scene = Scene()
    one, two = scene.start("one"), scene.start("two")
    await scene.spread()
    fences = {shard: one.leases.fence_of(shard) for shard in one.leases.held()}
    LeasesInMemory.__init__(scene.store, scene.clock)
    await until(lambda: one.work.restored == one.share() and two.work.restored == two.share())
    assert {shard: one.leases.fence_of(shard) for shard in one.leases.held()} == fences
    await scene.end()


async def test_shards_leave_at_the_pace_of_the_pbx() -> None:
    """Each round gives away what a PBX can register until the next, and at least one shard."""
    scene = Scene()
    one = scene.start("one")
    await until(lambda: one.work.ours == ALL)
    one.work.cost = 0.011  # a round takes 0.02: one fits
    scene.start("two")
    await until(lambda: len(one.work.left) >= 3)
    assert {len(shards) for shards in one.work.left[:3]} == {1}
    one.work.cost = 0.0
    await scene.spread()
    assert max(len(shards) for shards in one.work.left) == 32
    await scene.end()


async def test_hand_over_waits_until_others_have_registered() -> None:
    """All shards are given away at once; it ends when each registration bears another's name."""
    scene = Scene()
    one = scene.start("one")
    await until(lambda: one.work.ours == ALL)
    one.work.registered = {ALICE}
    await scene.store.put_registration(record("one", fence=one.leases.fence(ALICE)))
    two = scene.start("two")
    await until(lambda: two.work.ours)
    leaving = spawn(one.leases.hand_over(within_s=20), name="hand over")
    await until(lambda: two.work.ours == ALL)
    assert one.members.me.state is NodeState.DRAINING
    assert not one.work.ours
    intended = replace(record("two", fence=two.leases.fence(ALICE)), granted_s=None)
    await scene.store.put_registration(intended)
    await asyncio.sleep(0.3)
    assert not leaving.done()
    await scene.store.put_registration(replace(intended, granted_s=60))
    assert await leaving
    await scene.end()


async def test_hand_over_to_nobody() -> None:
    """A node that is alone keeps what it has: there is nothing to wait for."""
    scene = Scene()
    one = scene.start("one")
    await until(lambda: one.work.ours == ALL)
    assert not await one.leases.hand_over(within_s=20)
    await asyncio.sleep(0.1)
    assert one.work.ours == ALL
    assert one.leases.owns(ALICE)
    await scene.end()


async def test_hand_over_ends_in_time() -> None:
    """Accounts that nobody registers do not hold the node for longer than it was told."""
    scene = Scene()
    one, two = scene.start("one"), scene.start("two")
    await scene.spread()
    one.work.registered = {ALICE}
    await scene.store.put_registration(record("one", fence=9 * 10**15))
    assert not await one.leases.hand_over(within_s=0.3)
    await until(lambda: two.work.ours == ALL)
    await scene.end()


def record(node: str, *, fence: int) -> RegistrationRecord:
    return RegistrationRecord(
        account=ALICE,
        call_id="c",
        cseq=1,
        contact=f"sip:alice@{node}",
        expires_at=Instant(9e9),
        granted_s=60,
        node=node,
        fence=fence,
    )
