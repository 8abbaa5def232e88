"""Which shards a node holds, as a pure machine: what it may rely on, and what it asks the store.

A node owns a shard until a moment on its own monotonic clock that lies before the one at which
the store would give the shard to another node: the lease is counted from before the request was
sent, and a margin is taken off. No node's wall clock has a part in it. Each owner has a fence, a
number higher than that of all owners before it, which the store checks at every write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MARGIN = 0.1
"""Part of a lease that is not relied on: clocks may run at slightly different speeds."""


@dataclass(frozen=True, slots=True)
class Held:
    """A shard that the store gave to us."""

    fence: int
    until: float
    """On our own clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to ask the store, in one round trip."""

    renew: Mapping[int, int] = field(default_factory=dict)
    """Shards that we hold, with our fences."""
    acquire: tuple[int, ...] = ()
    """Shards that are to be ours."""
    sure: frozenset[int] = frozenset()
    """Those of ``renew`` that nobody else can have: a store that has lost all it knew of them gets
    it back from us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """What the store answered to `Orders`."""

    renewed: frozenset[int] = frozenset()
    """Those of ``Orders.renew`` that are still ours; the others are somebody else's."""
    restored: frozenset[int] = frozenset()
    """Those of ``renewed`` of which the store knew nothing any more."""
    acquired: Mapping[int, int] = field(default_factory=dict)
    """Those of ``Orders.acquire`` that are ours now, with our fences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leasing:
    """State of one node."""

    lease_s: float
    """What the store keeps for us at each renewal."""
    held: Mapping[int, Held] = field(default_factory=dict)

    def owns(self, shard: int, now: float) -> bool:
        """Whether nobody else can own it now."""
        held = self.held.get(shard)
        return held is not None and now < held.until

    def fence(self, shard: int) -> int:
        """Ours; 0 when we do not hold it."""
        held = self.held.get(shard)
        return 0 if held is None else held.fence

    def orders(self, target: frozenset[int], now: float) -> Orders:
        """What to ask now: keep what we hold, take what is to be ours.

        What is not to be ours any more is kept too, until it is released.
        """
        return Orders(
            renew={shard: held.fence for shard, held in self.held.items()},
            acquire=tuple(sorted(target - self.held.keys())),
            sure=frozenset(shard for shard, held in self.held.items() if now < held.until),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of a round trip."""

    state: Leasing
    gained: frozenset[int]
    lost: frozenset[int]


def settle(state: Leasing, orders: Orders, replies: Replies, *, asked_at: float) -> Settled:
    """Take what the store answered to ``orders``, which left at ``asked_at`` on our clock.

    What was released meanwhile stays released.
    """
    until = asked_at + state.lease_s * (1 - MARGIN)
    held = dict(state.held)
    lost: set[int] = set()
    for shard, fence in orders.renew.items():
        if shard not in held or held[shard].fence != fence:
            continue
        if shard in replies.renewed:
            held[shard] = Held(fence, max(until, held[shard].until))
        else:
            del held[shard]
            lost.add(shard)
    gained = frozenset(replies.acquired) - held.keys()
    for shard in gained:
        held[shard] = Held(replies.acquired[shard], until)
    return Settled(state=replace(state, held=held), gained=gained, lost=frozenset(lost))


def let_go(state: Leasing, shards: frozenset[int]) -> Leasing:
    """Own these no more; the store is told afterwards."""
    return replace(state, held={s: held for s, held in state.held.items() if s not in shards})
