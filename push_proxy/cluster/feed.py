"""What nodes tell one another: that something was written, never what.

The entry names an account or a device; whoever reads it looks in the store. So an entry holds no
secret, its order does not matter, one that comes twice does no harm, and what is read is always
the newest. A reader that fell behind what the feed keeps, or whose store has lost it, reads
everything again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from itertools import islice
from typing import Protocol

import structlog

from ..cluster_ports import ClusterStore, FeedEntry, FeedKind
from ..core.ids import AccountKey, DeviceId, Instant
from ..errors import StoreUnavailable
from ..ports import Clock
from ..runtime.nodes import NO_DEVICE
from ..tasks import spawn

_log = structlog.get_logger(__name__)
_WAIT_S = 2.0
_AGAIN_S = 0.5
_AT_ONCE = 500
_MOST_UNTOLD = 50_000
_SENT_WITHIN_S = 1.0
_STORE_RECOVERS_S = 2.5
"""What a store has lost is written back (`runtime.store_recovery`) before it is believed."""
_NO_ACCOUNT = AccountKey("")
_What = tuple[FeedKind, AccountKey, DeviceId]


class FeedMeters(Protocol):
    """Who counts: `observability.cluster_metrics.ClusterMetrics`."""

    def feed_applied(self, lag_s: float) -> None:
        """Another node's change is in our memory so long after it was written."""

    def reloaded(self) -> None:
        """Everything was read again."""


class Follower(Protocol):
    """Whose memory follows: `runtime.directory.Directory`."""

    async def follow(self, entries: Iterable[FeedEntry]) -> None:
        """Read anew what these name. Raises `errors.StoreUnavailable`."""

    async def reload(self) -> None:
        """Read everything anew. Raises `errors.StoreUnavailable`."""


class Feed:
    """Tells the others (`runtime.nodes.News`), and follows what they tell."""

    def __init__(self, node: str, *, store: ClusterStore, clock: Clock, meters: FeedMeters) -> None:
        """``node``: our id."""
        self._node = node
        self._store = store
        self._clock = clock
        self._meters = meters
        self._untold: dict[_What, Instant] = {}
        self._telling: asyncio.Task[None] | None = None
        self._told = self._readable = 0
        self._reached = asyncio.Condition()
        self._position = ""
        self._caught_up = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None
        self._listeners: dict[FeedKind, list[Callable[[AccountKey], None]]] = {}

    # telling

    def tell(self, kind: FeedKind, account: AccountKey, device: DeviceId = NO_DEVICE) -> None:
        """This has reached the store: the others read it there."""
        self._told += 1
        self._untold.setdefault((kind, account, device), self._clock.now())
        if len(self._untold) > _MOST_UNTOLD:
            self._untold = {(FeedKind.EVERYTHING, _NO_ACCOUNT, NO_DEVICE): self._clock.now()}
        if self._telling is None or self._telling.done():
            self._telling = spawn(self._tell_all(), name="telling other nodes")

    async def sent(self) -> None:
        """Return when all that was told can be read by the others, or the store is away."""
        told = self._told
        with suppress(TimeoutError):
            async with asyncio.timeout(_SENT_WITHIN_S), self._reached:
                await self._reached.wait_for(lambda: self._readable >= told)

    async def _tell_all(self) -> None:
        while self._untold:
            some = list(islice(self._untold.items(), _AT_ONCE))
            told = self._told if len(some) == len(self._untold) else self._readable
            for what, _ in some:
                del self._untold[what]
            entries = [
                FeedEntry(node=self._node, kind=kind, account=account, device=device, at=at)
                for (kind, account, device), at in some
            ]
            try:
                await self._store.feed_append(entries)
            except StoreUnavailable:
                self._untold = {**dict(some), **self._untold}
                await asyncio.sleep(_AGAIN_S)
                continue
            async with self._reached:
                self._readable = told
                self._reached.notify_all()

    # following

    def listen(self, kind: FeedKind, heard: Callable[[AccountKey], None]) -> None:
        """Call ``heard`` when another node tells this of an account, after it was read."""
        self._listeners.setdefault(kind, []).append(heard)

    async def begin(self) -> None:
        """What is told from now on will be followed: to be called before the first reading.

        Raises `errors.StoreUnavailable`.
        """
        self._position = await self._store.feed_append(
            [FeedEntry(node=self._node, kind=FeedKind.HELLO, at=self._clock.now())]
        )

    def start(self, follower: Follower) -> None:
        """Follow, in the background."""
        self._reading = spawn(self._follow(follower), name="following other nodes")

    async def catch_up(self, within_s: float = 1.0) -> None:
        """Return when all that had been told before is in memory, or when the time is over.

        For whoever misses something that another node may just have made.
        """
        if self._reading is None:
            return
        try:
            async with asyncio.timeout(within_s):
                end = await self._store.feed_end()
                async with self._caught_up:
                    await self._caught_up.wait_for(lambda: _after(self._position, end))
        except (TimeoutError, StoreUnavailable):
            return

    async def aclose(self) -> None:
        """Tell what is still to be told, as far as the store takes it now, and stop."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait((self._reading,))
            self._reading = None
        await self.sent()
        if self._telling is not None:
            self._telling.cancel()

    async def _follow(self, follower: Follower) -> None:
        doubt = False
        while True:
            try:
                if doubt:
                    await self._resume(follower)
                    doubt = False
                await self._next(follower)
            except StoreUnavailable as error:
                _log.info("other nodes are not heard: the store is away", error=str(error))
                doubt = True
                await asyncio.sleep(_AGAIN_S)
            except Exception:  # noqa: BLE001 - logged; memory would never be in step again
                _log.exception("following other nodes failed: everything is read again")
                self._position = ""
                doubt = True
                await asyncio.sleep(_AGAIN_S)

    async def _next(self, follower: Follower) -> None:
        page = await self._store.feed_read(self._position, wait_s=_WAIT_S)
        if page.full and not await self._store.feed_reaches(self._position):
            await self._read_all(follower)
            return
        foreign = [entry for entry in page.entries if entry.node != self._node]
        if any(entry.kind is FeedKind.EVERYTHING for entry in foreign):
            await self._read_all(follower)
        else:
            await self._take(follower, foreign)
            await self._at(page.position)

    async def _take(self, follower: Follower, entries: list[FeedEntry]) -> None:
        if not entries:
            return
        await follower.follow(entries)
        now = self._clock.now()
        for entry in entries:
            self._meters.feed_applied(now - entry.at)
            for heard in self._listeners.get(entry.kind, ()):
                heard(entry.account)

    async def _resume(self, follower: Follower) -> None:
        """The store was away: what it has may be older than what we read."""
        if not (self._position and await self._store.feed_reaches(self._position)):
            await asyncio.sleep(_STORE_RECOVERS_S)
            await self._read_all(follower)

    async def _read_all(self, follower: Follower) -> None:
        _log.warning("everything is read again: changes of other nodes may have been missed")
        self._meters.reloaded()
        before = self._position
        await self.begin()
        begun, self._position = self._position, before
        await follower.reload()
        await self._at(begun)

    async def _at(self, position: str) -> None:
        async with self._caught_up:
            self._position = position
            self._caught_up.notify_all()


class NoFeed:
    """There is no other node: `Feed` for one alone."""

    def tell(self, kind: FeedKind, account: AccountKey, device: DeviceId = NO_DEVICE) -> None:
        """Nobody listens."""

    async def sent(self) -> None:
        """Nothing waits."""

    def listen(self, kind: FeedKind, heard: Callable[[AccountKey], None]) -> None:
        """Nobody tells."""

    async def catch_up(self, within_s: float = 1.0) -> None:
        """Nothing is missing."""

    async def begin(self) -> None:
        """Nothing is told."""

    def start(self, follower: Follower) -> None:
        """Nobody is followed."""

    async def aclose(self) -> None:
        """Nothing runs."""


CatchUp = Callable[[], Awaitable[None]]


def _after(position: str, end: str) -> bool:
    return _number(position) >= _number(end)


def _number(position: str) -> tuple[int, int]:
    when, _, count = position.partition("-")
    return int(when or 0), int(count or 0)
