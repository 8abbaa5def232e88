"""Which nodes live: each says so in the store, and looks there for the others.

While the store is away nobody is taken for dead: what was known last goes on to count, and so
it does for one lease more when the store is back, because the others' records ran out meanwhile.
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

import structlog

from ..cluster_ports import ClusterStore
from ..core.model import Address
from ..errors import ConfigurationError, StoreUnavailable
from ..ports import Clock
from ..tasks import spawn
from .node import NodeRecord, NodeState

_log = structlog.get_logger(__name__)
_LOOK_AGAIN_S = 0.2
_LEAVE_S = 1.0
_CLOCKS_S = 1.0
"""Beyond that orders come too late, and phones count as heard at the wrong time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipRules:
    """``cluster`` of the configuration, as far as membership goes."""

    lease_s: float = 6.0
    """A node that was not heard of for so long is dead."""
    heartbeat_s: float = 2.0


class Membership:
    """This node among the others. Without a store it is alone, and nothing runs.

    All methods belong to the asyncio thread.
    """

    def __init__(
        self,
        record: NodeRecord,
        *,
        store: ClusterStore | None,
        clock: Clock,
        rules: MembershipRules | None = None,
    ) -> None:
        """``store`` None: there is no cluster."""
        self._me = record
        self._store = store
        self._clock = clock
        self._rules = rules or MembershipRules()
        self._others: dict[str, NodeRecord] = {}
        self._listeners: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._beating = asyncio.Lock()
        self._away = False
        self._patient_until = 0.0
        self._looked_at = time.monotonic()
        self._ahead: set[str] = set()
        """Lives of other nodes whose clocks were seen to differ."""
        self.waiting: Callable[[], int] = lambda: 0
        """How many calls wait here."""
        self.displaced = asyncio.Event()
        """Another process has taken our place under our id: this one has to end."""

    @staticmethod
    def first_record(name: str, sip: Address, *, clock: Clock, version: str = "") -> NodeRecord:
        """The record of a new life of this node."""
        now = clock.now()
        return NodeRecord(
            id=name, incarnation=uuid4().hex, sip=sip, started_at=now, at=now, version=version
        )

    @property
    def clustered(self) -> bool:
        """Whether there may be others."""
        return self._store is not None

    @property
    def name(self) -> str:
        """Our id, which records carry; empty: there is no cluster."""
        return self._me.id if self._store is not None else ""

    @property
    def rules(self) -> MembershipRules:
        """How fast a death is noticed."""
        return self._rules

    @property
    def me(self) -> NodeRecord:
        """This node, as it said of itself last."""
        return self._me

    def alive(self) -> Mapping[str, NodeRecord]:
        """All living nodes by id, this one among them."""
        return {self._me.id: self._me, **self._others}

    def others(self) -> tuple[NodeRecord, ...]:
        """All living nodes but this one, by id."""
        return tuple(self._others[name] for name in sorted(self._others))

    def is_me(self, node: str) -> bool:
        """Whether this is our id; a record from before there were several nodes is ours, too."""
        return self._store is None or node in {"", self._me.id}

    def is_alive(self, node: str) -> bool:
        """Whether this node lives; we do."""
        return self.is_me(node) or node in self._others

    def address(self, node: str) -> Address | None:
        """Where another living node takes SIP; None: it is this one, or dead."""
        found = self._others.get(node)
        return found.sip if found is not None else None

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change of who lives, where, and in which state."""
        self._listeners.append(listener)

    async def enter(self) -> None:
        """Wait until our id is free: for the end of a former life at another address.

        At our own address it must have ended, for we listen there. Raises
        `errors.ConfigurationError` when another node has our id, and `errors.StoreUnavailable`.
        """
        if self._store is None:
            return
        deadline = time.monotonic() + self._rules.lease_s + self._rules.heartbeat_s
        told = False
        while (found := await self._former_life()) is not None:
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"node.id {self._me.id!r} is in use by the node at {found.sip}, which goes on "
                    "saying so: give each node an id of its own"
                )
            if not told:
                _log.warning(
                    "a node with our id was alive a moment ago at another address: waiting for "
                    "its end",
                    node=self._me.id,
                    its_sip=str(found.sip),
                )
                told = True
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def start(self, sip: Address | None = None) -> None:
        """Say that we live, learn who else does, and go on doing so.

        ``sip``: where we really listen, if that was not known before. Raises
        `errors.StoreUnavailable`.
        """
        if sip is not None:
            self._me = replace(self._me, sip=sip)
        if self._store is None:
            return
        await self._beat(take=True)
        await self._look()
        self._task = spawn(self._run(), name="heartbeat")

    async def change(self, state: NodeState) -> None:
        """Tell the others our new state now; they learn it later if the store is away."""
        self._me = replace(self._me, state=state)
        self._tell()
        if self._store is not None:
            try:
                await self._beat()
            except StoreUnavailable as error:
                _log.info("other nodes learn our state later", state=state, error=str(error))

    async def look(self) -> None:
        """Learn now who lives. Raises `errors.StoreUnavailable`."""
        await self._look()

    async def aclose(self) -> None:
        """Leave: the others need not wait for our record to run out."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None
        if self._store is not None and not self.displaced.is_set():
            try:
                async with asyncio.timeout(_LEAVE_S):
                    await self._store.leave(self._me)
            except (StoreUnavailable, TimeoutError) as error:
                _log.info("left without a word: the store is away", error=repr(error))

    async def _former_life(self) -> NodeRecord | None:
        """Whoever lives under our id elsewhere."""
        assert self._store is not None  # noqa: S101 - for the type checker
        found = next((n for n in await self._store.nodes() if n.id == self._me.id), None)
        if found is None or found.sip == self._me.sip:
            return None
        return found

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._rules.heartbeat_s * random.uniform(0.9, 1.0))
            try:
                await self._beat()
                await self._look()
            except StoreUnavailable as error:
                if not self._away:
                    _log.warning(
                        "no heartbeat: the store is away; the nodes known last go on to count",
                        error=str(error),
                    )
                self._away = True
            except Exception:  # noqa: BLE001 - logged; without heartbeats the others bury us
                _log.exception("a heartbeat failed")

    async def _beat(self, *, take: bool = False) -> None:
        assert self._store is not None  # noqa: S101 - for the type checker
        async with self._beating:
            self._me = replace(self._me, waiting=self.waiting(), at=self._clock.now())
            other = await self._store.beat(self._me, lease_s=self._rules.lease_s, take=take)
        if other is not None and not self.displaced.is_set():
            _log.error(
                "another process has taken our node.id; this one ends",
                node=self._me.id,
                its_sip=str(other.sip),
            )
            self.displaced.set()

    async def _look(self) -> None:
        assert self._store is not None  # noqa: S101 - for the type checker
        found = {n.id: n for n in await self._store.nodes() if n.id != self._me.id}
        now = time.monotonic()
        if self._away or now - self._looked_at > self._rules.lease_s / 2:
            # The store was away, or silent: their records ran out as ours did. They get the time
            # to renew them.
            self._away = False
            self._patient_until = now + self._rules.lease_s
        self._looked_at = now
        if now < self._patient_until:
            found = {**self._others, **found}
        self._compare_clocks(found.values())
        before, self._others = self._others, found
        for name in found.keys() - before.keys():
            _log.info("node came", node=name, its_sip=str(found[name].sip))
        for name in before.keys() - found.keys():
            _log.warning("node is gone", node=name, its_sip=str(before[name].sip))
        if {n: _shown(r) for n, r in before.items()} != {n: _shown(r) for n, r in found.items()}:
            self._tell()

    def _compare_clocks(self, records: Collection[NodeRecord]) -> None:
        """Of two nodes the one that lags sees it: a record is never from the future."""
        for record in records:
            ahead_s = record.at - self._clock.now()
            if ahead_s > _CLOCKS_S and record.incarnation not in self._ahead:
                self._ahead.add(record.incarnation)
                _log.error(
                    "nodes' clocks differ: calls and phones are judged by the wrong time; "
                    "synchronize both hosts, then restart the node whose clock was wrong (a "
                    "process keeps the time that it began with)",
                    node=record.id,
                    ahead_s=round(ahead_s, 1),
                )
        self._ahead &= {record.incarnation for record in records}

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener()
            except Exception:  # noqa: BLE001 - logged: the others must hear of it all the same
                _log.exception("a listener of the membership failed")


def _shown(record: NodeRecord) -> tuple[str, Address, NodeState]:
    return record.incarnation, record.sip, record.state
