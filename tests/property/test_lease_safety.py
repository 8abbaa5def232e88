"""Nodes that pause, clocks that are wrong, a store that is slow: nobody is owner beside another.

The store keeps leases by its own clock. Each node has a clock of its own that began anywhere and
runs a little fast or slow; requests and replies take any time, or are lost; a node may sleep
through anything, and wake up in the middle of it.
"""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.leasing import Leasing, Orders, Replies, let_go, settle
from push_proxy.core.model import RegistrationRecord
from push_proxy.core.shards import shard_of
from push_proxy.lease_ports import Owner
from push_proxy.store.memory_leases import LeasesInMemory

LEASE_S = 6.0
ACCOUNT = AccountKey("acme/101")
SHARD = shard_of(ACCOUNT)
SHARDS = frozenset({SHARD, (SHARD + 1) % 256})
NODES = st.integers(0, 2)
TELLING = (0.5, LEASE_S * 0.5, LEASE_S * 0.95, LEASE_S + 0.01)
"""Around the end of a lease."""
DELAYS = (0.0, 0.0, 0.1, 3.0)
_T = TypeVar("_T")


class StoreClock:
    """The store's own."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> Instant:
        return Instant(self.at)


@dataclass
class Request:
    """On its way to the store, or its reply on the way back."""

    orders: Orders
    asked_at: float
    replies: Replies | None = None


@dataclass
class Node:
    owner: Owner
    began: float
    speed: float
    state: Leasing = field(default_factory=lambda: Leasing(lease_s=LEASE_S))
    under_way: list[Request] = field(default_factory=list)
    late: list[RegistrationRecord] = field(default_factory=list)
    """Writes that have left and not arrived."""

    def now(self, store_s: float) -> float:
        return self.began + store_s * self.speed


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """What it returns: memory never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        value: _T = end.value
        return value
    raise AssertionError("memory waited")


class Leases(RuleBasedStateMachine):
    """Three nodes and one store."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = StoreClock()
        self.store = LeasesInMemory(self.clock)
        self.lives = 0
        # Wall clocks hours apart, and crystals off by up to two percent.
        self.nodes = [self.born(f"n{n}", 7200.0 * n, 1.0 + 0.02 * (n - 1)) for n in range(3)]
        self.highest = 0
        """The highest fence that a write of the account had when it was taken."""

    def born(self, name: str, began: float, speed: float) -> Node:
        self.lives += 1
        return Node(Owner(name, f"life {self.lives}"), began, speed)

    @rule(seconds=st.one_of(st.floats(0.01, 8.0), st.sampled_from(TELLING)))
    def time_passes(self, seconds: float) -> None:
        self.clock.at += seconds

    @rule(which=NODES, there_s=st.sampled_from(DELAYS), back_s=st.sampled_from(DELAYS))
    def a_round(self, which: int, there_s: float, back_s: float) -> None:
        """Request, work of the store, reply, without anything between them but time."""
        self.asks(which, set(SHARDS))
        node = self.nodes[which]
        request = node.under_way.pop()
        self.clock.at += there_s
        leased = run(self.store.lease(node.owner, request.orders, lease_s=LEASE_S))
        self.clock.at += back_s
        node.state = settle(
            node.state, request.orders, leased.replies, asked_at=request.asked_at
        ).state

    @rule(which=NODES, wants=st.sets(st.sampled_from(sorted(SHARDS))))
    def asks(self, which: int, wants: set[int]) -> None:
        node = self.nodes[which]
        now = node.now(self.clock.at)
        node.under_way.append(Request(node.state.orders(frozenset(wants), now), now))

    @rule(which=NODES, place=st.integers(0, 5))
    def request_arrives(self, which: int, place: int) -> None:
        node = self.nodes[which]
        if waiting := [request for request in node.under_way if request.replies is None]:
            request = waiting[place % len(waiting)]
            leased = run(self.store.lease(node.owner, request.orders, lease_s=LEASE_S))
            request.replies = leased.replies

    @rule(which=NODES, place=st.integers(0, 5))
    def reply_arrives(self, which: int, place: int) -> None:
        node = self.nodes[which]
        if waiting := [request for request in node.under_way if request.replies is not None]:
            request = waiting[place % len(waiting)]
            node.under_way.remove(request)
            assert request.replies is not None
            settled = settle(node.state, request.orders, request.replies, asked_at=request.asked_at)
            node.state = settled.state

    @rule(which=NODES, place=st.integers(0, 5))
    def message_is_lost(self, which: int, place: int) -> None:
        under_way = self.nodes[which].under_way
        if under_way:
            del under_way[place % len(under_way)]

    @rule(which=NODES)
    def releases(self, which: int) -> None:
        node = self.nodes[which]
        fences = {shard: held.fence for shard, held in node.state.held.items()}
        node.state = let_go(node.state, frozenset(fences))
        run(self.store.release_leases(node.owner, fences))

    @rule(which=NODES)
    def dies_and_starts_again(self, which: int) -> None:
        node = self.nodes[which]
        # Its requests may arrive all the same, in the name of the former life.
        self.nodes[which] = self.born(node.owner.node, node.began + 1.0, node.speed)

    @rule(which=NODES)
    def claims(self, which: int) -> None:
        if fence := self.nodes[which].state.fence(SHARD):
            claimed = run(self.store.claim_registrations({ACCOUNT: fence}))
            assert (ACCOUNT in claimed) == (fence >= self.highest)
            self.highest = max(self.highest, fence)

    @rule(which=NODES)
    def begins_to_write(self, which: int) -> None:
        node = self.nodes[which]
        if fence := node.state.fence(SHARD):
            node.late.append(
                RegistrationRecord(
                    account=ACCOUNT,
                    call_id="c",
                    cseq=len(node.late),
                    contact=f"sip:101@{node.owner}",
                    expires_at=Instant(9e9),
                    fence=fence,
                )
            )

    @rule(which=NODES, place=st.integers(0, 5))
    def write_arrives(self, which: int, place: int) -> None:
        late = self.nodes[which].late
        if late:
            record = late.pop(place % len(late))
            assert run(self.store.put_registration(record)) == (record.fence >= self.highest)
            self.highest = max(self.highest, record.fence)

    @invariant()
    def nobody_owns_beside_another(self) -> None:
        for shard in SHARDS:
            owners = [
                node for node in self.nodes if node.state.owns(shard, node.now(self.clock.at))
            ]
            assert len(owners) <= 1, owners

    @invariant()
    def no_two_have_the_same_fence(self) -> None:
        for shard in SHARDS:
            fences = [node.state.fence(shard) for node in self.nodes]
            known = [fence for fence in fences if fence]
            assert len(known) == len(set(known))


Leases.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestLeases = Leases.TestCase
