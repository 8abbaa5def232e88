"""What several nodes share, in memory: for nodes in one process, which tests have."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..cluster.node import NodeRecord
from ..cluster_ports import FeedEntry, FeedPage
from ..core.ids import AccountKey, CallId
from ..core.model import HeldInvite
from ..ports import Clock

FEED_LENGTH = 100_000
_LONG_AGO = 0.0
_T = TypeVar("_T")


class ClusterInMemory:
    """`cluster_ports.ClusterStore`'s part of `memory.MemoryStore`."""

    _held: dict[AccountKey, dict[CallId, HeldInvite]]

    def __init__(self, clock: Clock, *, feed_length: int = FEED_LENGTH) -> None:
        self._cluster_clock = clock
        self._nodes: dict[str, tuple[NodeRecord, float]] = {}
        self._feed: deque[tuple[int, FeedEntry]] = deque(maxlen=feed_length)
        self._told = 0
        self._inboxes: dict[str, tuple[deque[bytes], float]] = {}
        self._news = asyncio.Condition()

    async def beat(
        self, record: NodeRecord, *, lease_s: float, take: bool = False
    ) -> NodeRecord | None:
        """See `cluster_ports.ClusterStore.beat`."""
        known = self._known(record.id)
        if known is not None and known.incarnation != record.incarnation and not take:
            return known
        self._nodes[record.id] = (record, self._cluster_clock.now() + lease_s)
        return None

    async def leave(self, record: NodeRecord) -> None:
        """See `cluster_ports.ClusterStore.leave`."""
        known = self._known(record.id)
        if known is not None and known.incarnation == record.incarnation:
            self._nodes[record.id] = (record, _LONG_AGO)

    async def nodes(self) -> tuple[NodeRecord, ...]:
        """See `cluster_ports.ClusterStore.nodes`."""
        found = (self._known(name) for name in sorted(self._nodes))
        return tuple(record for record in found if record is not None)

    async def node_names(self) -> tuple[str, ...]:
        """See `cluster_ports.ClusterStore.node_names`."""
        return tuple(sorted(self._nodes))

    async def forget_node(self, node: str) -> bool:
        """See `cluster_ports.ClusterStore.forget_node`."""
        holds = any(held.node == node for of in self._held.values() for held in of.values())
        if holds or self._known(node) is not None:
            return False
        self._nodes.pop(node, None)
        return True

    async def feed_append(self, entries: Sequence[FeedEntry]) -> str:
        """See `cluster_ports.ClusterStore.feed_append`."""
        async with self._news:
            for entry in entries:
                self._told += 1
                self._feed.append((self._told, entry))
            self._news.notify_all()
        return str(self._told)

    async def feed_read(self, after: str, *, wait_s: float, limit: int = 1000) -> FeedPage:
        """See `cluster_ports.ClusterStore.feed_read`."""

        def page() -> FeedPage | None:
            newer = [(number, entry) for number, entry in self._feed if number > int(after)][:limit]
            if not newer:
                return None
            entries = tuple(entry for _, entry in newer)
            return FeedPage(entries, str(newer[-1][0]), full=len(newer) == limit)

        return await self._wait(page, wait_s) or FeedPage((), after)

    async def feed_reaches(self, position: str) -> bool:
        """See `cluster_ports.ClusterStore.feed_reaches`."""
        first = self._feed[0][0] if self._feed else self._told + 1
        return first <= int(position) <= self._told

    async def feed_end(self) -> str:
        """See `cluster_ports.ClusterStore.feed_end`."""
        return str(self._told)

    async def put_order(self, node: str, message: bytes, *, ttl_s: float) -> None:
        """See `cluster_ports.ClusterStore.put_order`."""
        now = self._cluster_clock.now()
        async with self._news:
            inbox, until = self._inboxes.get(node, (deque[bytes](), 0.0))
            if until <= now:
                inbox.clear()
            inbox.append(message)
            self._inboxes[node] = (inbox, now + ttl_s)
            self._news.notify_all()

    async def take_order(self, node: str, *, wait_s: float) -> bytes | None:
        """See `cluster_ports.ClusterStore.take_order`."""

        def message() -> bytes | None:
            inbox, until = self._inboxes.get(node, (deque[bytes](), 0.0))
            return inbox.popleft() if inbox and until > self._cluster_clock.now() else None

        return await self._wait(message, wait_s)

    async def _wait(self, look: Callable[[], _T | None], wait_s: float) -> _T | None:
        try:
            async with asyncio.timeout(wait_s), self._news:
                while (found := look()) is None:
                    await self._news.wait()
                return found
        except TimeoutError:
            return None

    def _known(self, name: str) -> NodeRecord | None:
        record, until = self._nodes.get(name, (None, 0.0))
        return record if until > self._cluster_clock.now() else None
