"""What several nodes share, in Redis: who lives, the feed of changes, orders.

A blocking read has a connection of its own for as long as it waits. The feed is a stream and
not pub/sub: what was told while a reader was away is still there (ADR 0014).
"""

from collections.abc import Sequence

import structlog

from ..cluster.node import NodeRecord
from ..cluster_ports import FeedEntry, FeedKind, FeedPage
from ..core.ids import AccountKey, DeviceId, Instant
from . import keys, scripts
from .codec import Codec, UnreadableValue
from .redis_client import Command, RedisClient

_log = structlog.get_logger(__name__)
_Id = tuple[int, int]


class ClusterInRedis:
    """`cluster_ports.ClusterStore`'s part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _feed_length = keys.FEED_LENGTH

    async def beat(
        self, record: NodeRecord, *, lease_s: float, take: bool = False
    ) -> NodeRecord | None:
        """See `cluster_ports.ClusterStore.beat`."""
        key = keys.node(record.id)
        data = self._codec.encode(record, key)
        # Named before it is kept: nothing is ever missing from the index.
        await self._client.write("SADD", keys.NODES, record.id)
        args = (record.incarnation, data, max(1, int(lease_s * 1000)), int(take))
        other = await self._client.run(scripts.NODE_BEAT, [key], *args)
        return self._codec.decode(NodeRecord, other, key) if other else None

    async def leave(self, record: NodeRecord) -> None:
        """See `cluster_ports.ClusterStore.leave`."""
        key = keys.node(record.id)
        await self._client.run(scripts.NODE_LEAVE, [key], record.incarnation)

    async def nodes(self) -> tuple[NodeRecord, ...]:
        """See `cluster_ports.ClusterStore.nodes`."""
        names = await self.node_names()
        replies = await self._client.pipeline([("GET", keys.node(name)) for name in names])
        found: list[NodeRecord] = []
        for name, data in zip(names, replies, strict=True):
            try:
                if data is not None:
                    found.append(self._codec.decode(NodeRecord, data, keys.node(name)))
            except UnreadableValue as error:
                _log.error("a node is left out: its record cannot be read", error=str(error))
        return tuple(found)

    async def node_names(self) -> tuple[str, ...]:
        """See `cluster_ports.ClusterStore.node_names`."""
        members = await self._client.call("SMEMBERS", keys.NODES)
        return tuple(sorted(name.decode() for name in members))

    async def forget_node(self, node: str) -> bool:
        """See `cluster_ports.ClusterStore.forget_node`."""
        holds = ("EXISTS", keys.held_by(node))
        lives = ("EXISTS", keys.node(node))
        if any(await self._client.pipeline([holds, lives])):
            return False
        await self._client.write("SREM", keys.NODES, node)
        # Its keys lie in several parts of a cluster: no script sees them all. One that has named
        # itself just before that is named again here, or else by its next heartbeat.
        if await self._client.call(*lives):
            await self._client.write("SADD", keys.NODES, node)
            return False
        return True

    async def feed_append(self, entries: Sequence[FeedEntry]) -> str:
        """See `cluster_ports.ClusterStore.feed_append`."""
        limit = ("MAXLEN", "~", self._feed_length)
        commands: list[Command] = [
            ("XADD", keys.FEED, *limit, "*", *(part for pair in _fields(e) for part in pair))
            for e in entries
        ]
        replies = await self._client.write_all(commands)
        return str(replies[-1].decode())

    async def feed_read(self, after: str, *, wait_s: float, limit: int = 1000) -> FeedPage:
        """See `cluster_ports.ClusterStore.feed_read`."""
        block_ms = max(1, int(wait_s * 1000))
        reply = await self._client.wait(
            *("XREAD", "COUNT", limit, "BLOCK", block_ms, "STREAMS", keys.FEED, after),
            wait_s=wait_s,
        )
        if not reply:
            return FeedPage((), after)
        ((_, found),) = reply
        position = found[-1][0].decode()
        return FeedPage(tuple(_entry(f) for _, f in found), position, full=len(found) == limit)

    async def feed_reaches(self, position: str) -> bool:
        """See `cluster_ports.ClusterStore.feed_reaches`."""
        first, last = await self._client.pipeline(
            [
                ("XRANGE", keys.FEED, "-", "+", "COUNT", 1),
                ("XREVRANGE", keys.FEED, "+", "-", "COUNT", 1),
            ]
        )
        if not first or not last:
            return False
        return _number(first[0][0]) <= _number(position.encode()) <= _number(last[0][0])

    async def feed_end(self) -> str:
        """See `cluster_ports.ClusterStore.feed_end`."""
        newest = await self._client.call("XREVRANGE", keys.FEED, "+", "-", "COUNT", 1)
        return str(newest[0][0].decode()) if newest else "0-0"

    async def put_order(self, node: str, message: bytes, *, ttl_s: float) -> None:
        """See `cluster_ports.ClusterStore.put_order`."""
        key = keys.inbox(node)
        ttl_ms = max(1, int(ttl_s * 1000))
        await self._client.write_all([("RPUSH", key, message), ("PEXPIRE", key, ttl_ms)])

    async def take_order(self, node: str, *, wait_s: float) -> bytes | None:
        """See `cluster_ports.ClusterStore.take_order`."""
        reply = await self._client.wait("BLPOP", keys.inbox(node), wait_s, wait_s=wait_s)
        return None if reply is None else bytes(reply[1])


def _fields(entry: FeedEntry) -> tuple[tuple[str, str | int], ...]:
    """Short names: a node may tell a thousand a second."""
    at_ms = int(entry.at * 1000)
    named = (("a", entry.account), ("d", entry.device), ("t", at_ms))
    return ("n", entry.node), ("k", entry.kind), *((n, value) for n, value in named if value)


def _entry(fields: dict[bytes, bytes]) -> FeedEntry:
    text = {name: value.decode() for name, value in fields.items()}
    kind = text.get(b"k", "")
    return FeedEntry(
        node=text.get(b"n", ""),
        # A newer node may tell what we do not know: then everything is looked at.
        kind=FeedKind(kind) if kind in FeedKind.__members__.values() else FeedKind.EVERYTHING,
        account=AccountKey(text.get(b"a", "")),
        device=DeviceId(text.get(b"d", "")),
        at=Instant(int(text.get(b"t", "0")) / 1000),
    )


def _number(position: bytes) -> _Id:
    when, _, count = position.partition(b"-")
    return int(when), int(count or 0)
