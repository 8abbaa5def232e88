"""The shards that are ours: taken, renewed and given back, by the list of living nodes.

Every half heartbeat all that we hold is renewed, and what is to be ours is asked for, in one
round trip. What belongs elsewhere since a node came is given back a few shards at a time, so that
the new node's REGISTERs fit into the PBXs' pace; until then it goes on being ours.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

import structlog

from ..core.ids import AccountKey
from ..core.leasing import Leasing, let_go, settle
from ..core.shards import SHARDS, shard_of, share_of
from ..errors import StoreUnavailable
from ..lease_ports import LeaseStore, Owner, RegistrationStore
from ..tasks import spawn
from .membership import MembershipRules
from .node import NodeRecord, NodeState
from .ownership import ShardWork

_log = structlog.get_logger(__name__)
_MOST_AT_ONCE = 32
"""Shards given back in one round, however few accounts they have."""
_LOOK_S = 0.1
_READ_AT_ONCE = 200


class Members(Protocol):
    """Who knows which nodes live (`cluster.membership.Membership`)."""

    @property
    def me(self) -> NodeRecord:
        """This node."""

    @property
    def rules(self) -> MembershipRules:
        """How fast a death is noticed."""

    def alive(self) -> Mapping[str, NodeRecord]:
        """All living nodes, this one among them."""

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call after each change."""

    async def look(self) -> None:
        """Learn now who lives."""

    async def change(self, state: NodeState) -> None:
        """Tell the others our new state."""


class LeaseMeters(Protocol):
    """Who counts (`observability.metrics.Metrics`)."""

    def set_shards(self, counts: Mapping[str, int]) -> None:
        """How many shards are in each state.

        ``owned``; ``awaited``: to be ours, but another node has them; ``leaving``: the reverse.
        """

    def shards_taken_over(self, count: int) -> None:
        """So many were taken from a node that died or was cut off."""


class LeasedStore(LeaseStore, RegistrationStore, Protocol):
    """Leases, and the registrations by which is told that others went on."""


def boottime() -> float:
    """Seconds, also counted while the host is suspended, and by no wall clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leases:
    """See the module's text. `cluster.ownership.Ownership` of a node in a cluster.

    All methods belong to the asyncio thread.
    """

    def __init__(
        self,
        *,
        store: LeasedStore,
        members: Members,
        meters: LeaseMeters,
        now: Callable[[], float] = boottime,
    ) -> None:
        self._store = store
        self._members = members
        self._meters = meters
        self._now = now
        self._owner = Owner(members.me.id, members.me.incarnation)
        self._round_s = members.rules.heartbeat_s / 2
        self._state = Leasing(lease_s=members.rules.lease_s)
        self._work: list[ShardWork] = []
        self._leaving: frozenset[int] = frozenset()
        self._ending = False
        self._share = 0.0
        self._wake = asyncio.Event()
        self._round_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._away_since: float | None = None
        self._calm_at = 0.0

    # what others ask

    @property
    def node(self) -> str:
        """Our name."""
        return self._owner.node

    def owns(self, account: AccountKey) -> bool:
        """See `cluster.ownership.Ownership.owns`."""
        return self._state.owns(shard_of(account), self._now())

    def fence(self, account: AccountKey) -> int:
        """See `cluster.ownership.Ownership.fence`."""
        return self._state.fence(shard_of(account))

    def fence_of(self, shard: int) -> int:
        """See `cluster.ownership.Ownership.fence_of`."""
        return self._state.fence(shard)

    def held(self) -> frozenset[int]:
        """See `cluster.ownership.Ownership.held`."""
        return frozenset(self._state.held)

    def subscribe(self, work: ShardWork) -> None:
        """Tell of shards gained and lost from now on."""
        self._work.append(work)
        work.set_share(self._share or 1.0)

    # life

    def start(self) -> None:
        """Take what is free and to be ours, at once and from now on, in the background."""
        self._members.subscribe(self._wake.set)
        self._wake.set()
        self._loop = spawn(self._run(), name="leases")

    async def aclose(self) -> None:
        """Give back what is held: others take it at once. Nothing is unregistered."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait((self._loop,))
        for task in tuple(self._tasks):
            task.cancel()
        fences = {shard: held.fence for shard, held in self._state.held.items()}
        self._state = let_go(self._state, frozenset(fences))
        if fences:
            try:
                await self._store.release_leases(self._owner, fences)
            except StoreUnavailable as error:
                _log.info("shards not given back: they run out by themselves", error=str(error))

    async def hand_over(self, *, within_s: float) -> bool:
        """Let the other nodes take all that is ours, and wait until they have registered it.

        Returns whether they have; False also when the time is over, or there is nobody else.
        We are `draining` from now on.
        """
        self._ending = True
        if self._members.me.state is not NodeState.DRAINING:
            await self._members.change(NodeState.DRAINING)
        if not self._ready():
            return False
        try:
            async with asyncio.timeout(within_s):
                registered: set[AccountKey] = set()
                for found in await asyncio.gather(
                    *(work.leave(self.held()) for work in self._work)
                ):
                    registered.update(found)
                await self._release(self.held())
                await self._others_have(registered)
        except (TimeoutError, StoreUnavailable) as error:
            _log.warning(
                "not all accounts were taken over in time; the others take the rest soon",
                within_s=within_s,
                error=str(error),
            )
            return False
        return True

    # rounds

    async def _run(self) -> None:
        if self._members.me.state is NodeState.STARTING:
            await self._members.change(NodeState.READY)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._round_s):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if self._calm():
                    await self._members.look()
                await self._round()
            except StoreUnavailable as error:
                self._note_away(error)
            except Exception:  # noqa: BLE001 - logged; without renewals others take our accounts
                _log.exception("a round of leases failed")

    async def _round(self) -> None:
        async with self._round_lock:
            target = self._target()
            asked_at = self._now()
            orders = self._state.orders(target, asked_at)
            leased = await self._store.lease(self._owner, orders, lease_s=self._state.lease_s)
            settled = settle(self._state, orders, leased.replies, asked_at=asked_at)
            self._state = settled.state
        self._note_back()
        if settled.lost:
            _log.warning("shards lost to other nodes", count=len(settled.lost))
            self._tell_lost(settled.lost)
        if restored := leased.replies.restored & self._state.held.keys():
            _log.warning("the store had lost our leases: it has them back", count=len(restored))
            for work in self._work:
                work.forgotten(restored)
        if settled.gained:
            _log.info(
                "shards gained",
                count=len(settled.gained),
                from_dead_nodes=len(leased.taken_over),
                held=len(self._state.held),
            )
            self._meters.shards_taken_over(len(leased.taken_over))
            for work in self._work:
                work.gained(settled.gained)
        self._set_share()
        self._begin_leaving(self._state.held.keys() - target - self._leaving)
        self._count(target)

    def _target(self) -> frozenset[int]:
        """What is to be ours. Somebody has to be it: a draining node that is alone goes on."""
        ready = self._ready()
        if not ready:
            return self.held() if self._ending else frozenset(range(SHARDS))
        return share_of(self._owner.node, ready)

    def _ready(self) -> frozenset[str]:
        alive = self._members.alive()
        ready = {name for name, node in alive.items() if node.state is NodeState.READY}
        return frozenset(ready - {self._owner.node} if self._ending else ready)

    def _set_share(self) -> None:
        share = 1.0 / max(1, len(self._ready()))
        if share != self._share:
            self._share = share
            for work in self._work:
                work.set_share(share)

    def _begin_leaving(self, shards: Iterable[int]) -> None:
        """As many as a PBX can register in the time until the next round."""
        some: set[int] = set()
        cost_s = 0.0
        for shard in sorted(shards):
            cost_s += max((work.cost_s(shard) for work in self._work), default=0.0)
            if some and (cost_s > self._round_s or len(some) == _MOST_AT_ONCE):
                break
            some.add(shard)
        if some:
            chosen = frozenset(some)
            self._leaving |= chosen
            task = spawn(self._leave(chosen), name="shards to another node")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _leave(self, shards: frozenset[int]) -> None:
        try:
            await asyncio.gather(*(work.leave(shards) for work in self._work))
            await self._release(shards)
        except StoreUnavailable as error:
            _log.info("shards are left to run out", count=len(shards), error=str(error))
        finally:
            self._leaving -= shards

    async def _release(self, shards: frozenset[int]) -> None:
        fences = {s: held.fence for s, held in self._state.held.items() if s in shards}
        # Ours no more before the store says so to anybody else.
        self._state = let_go(self._state, frozenset(fences))
        self._tell_lost(frozenset(fences))
        await self._store.release_leases(self._owner, fences)

    def _tell_lost(self, shards: frozenset[int]) -> None:
        for work in self._work:
            work.lost(shards)

    def _count(self, target: frozenset[int]) -> None:
        held, now = self._state.held, self._now()
        self._meters.set_shards(
            {
                "owned": sum(self._state.owns(shard, now) for shard in held),
                "awaited": len(target - held.keys()),
                "leaving": len(held.keys() - target),
            }
        )

    # the store away

    def _calm(self) -> bool:
        """Whether the store has answered for long enough that others' records are fresh."""
        return self._away_since is None and self._now() >= self._calm_at

    def _note_away(self, error: StoreUnavailable) -> None:
        if self._away_since is None:
            self._away_since = self._now()
            _log.warning(
                "leases cannot be renewed: registrations at PBXs wait once they have run out",
                error=str(error),
                lease_s=self._state.lease_s,
            )

    def _note_back(self) -> None:
        if self._away_since is not None:
            _log.info("leases are renewed again", after_s=round(self._now() - self._away_since, 1))
            self._away_since = None
            self._calm_at = self._now() + 2 * self._members.rules.heartbeat_s

    # the end

    async def _others_have(self, accounts: set[AccountKey]) -> None:
        """Return when each of these has been registered by another node, or is so no more."""
        while accounts:
            left: set[AccountKey] = set()
            waiting = sorted(accounts)
            for start in range(0, len(waiting), _READ_AT_ONCE):
                some = waiting[start : start + _READ_AT_ONCE]
                for key, record in zip(
                    some, await self._store.get_registrations(some), strict=True
                ):
                    if record is not None and (
                        record.node == self._owner.node or record.granted_s is None
                    ):
                        left.add(key)
            accounts = left
            if accounts:
                await asyncio.sleep(_LOOK_S)
