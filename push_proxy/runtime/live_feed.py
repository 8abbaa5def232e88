"""Calls as they change, for those who watch: a call never waits for a reader.

What a reader has not taken yet is kept as the set of calls that changed, so many changes of one
call are one. A reader that leaves too much untaken is dropped; it may come back and begins with
a new picture.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..core.ids import CallId, Instant, TenantId, split_account_key
from ..core.model import CallRecord, CallState
from .clock import Timer, TimerClock
from .live_call import CallView

GATHER_S = 0.1
"""Changes of a call are told at most once in so many seconds."""
SHOWN_CALLS = 200
"""Calls in a reader's first picture; the newest are."""
UNTAKEN_CALLS = 1000
"""Changed calls kept for a reader; one that leaves more is dropped."""
READERS = 100
"""Readers at once, of all tenants."""
READERS_OF_TENANT = 50
"""One tenant's: it cannot take the feed away from all others."""


class Source(Protocol):
    """Calls in memory: `calls.Calls`."""

    def get(self, call: CallId) -> CallRecord | None:
        """The newest record of a call still in memory."""

    def live(self, tenant: TenantId, *, limit: int) -> tuple[CallRecord, ...]:
        """A tenant's calls that have not ended, newest first."""

    def watch(self, on_change: Callable[[CallView], None]) -> None:
        """Call ``on_change`` at every change; `get` has the record with its timeline."""


@dataclass(frozen=True, slots=True)
class Picture:
    """All calls that go on (the newest `SHOWN_CALLS` of them), newest first."""

    calls: tuple[CallRecord, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """Calls as they are now, in the order in which they changed."""

    calls: tuple[CallRecord, ...]


class Reader:
    """One who watches a tenant's calls."""

    def __init__(self, tenant: TenantId, leave: Callable[["Reader"], None]) -> None:
        self.tenant = tenant
        self.ended = False
        """Nothing more comes: the feed is closed, the reader left, or it was too slow."""
        self._leave = leave
        self._picture: Picture | None = None
        self._changed: dict[CallId, CallRecord] = {}
        self._news = asyncio.Event()

    async def next(self, *, within_s: float) -> Picture | Changed | None:
        """What came since the last time: no calls, if nothing did ``within_s``; None: `ended`."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return Changed(())
        if self.ended:
            return None
        picture, self._picture = self._picture, None
        if picture is not None:
            if not self._changed:
                self._news.clear()
            return picture
        changed, self._changed = tuple(self._changed.values()), {}
        self._news.clear()
        return Changed(changed)

    def close(self) -> None:
        """Watch no more."""
        if not self.ended:
            self.ended = True
            self._changed.clear()
            self._news.set()
            self._leave(self)

    def _show(self, picture: Picture) -> None:
        self._picture = picture
        self._news.set()

    def _tell(self, record: CallRecord) -> None:
        self._changed.pop(record.id, None)
        self._changed[record.id] = record
        if len(self._changed) > UNTAKEN_CALLS:
            self.close()
        else:
            self._news.set()


class LiveFeed:
    """Tells readers what becomes of calls."""

    def __init__(self, calls: Source, clock: TimerClock) -> None:
        self._calls = calls
        self._clock = clock
        self._closed = False
        self._readers: dict[TenantId, set[Reader]] = {}
        self._due: dict[CallId, CallRecord | None] = {}
        """With its record, where that may have left memory before it is told."""
        self._timer: Timer | None = None
        self._told_at = Instant(0.0)
        calls.watch(self._on_change)

    @property
    def readers(self) -> int:
        """How many watch now."""
        return sum(map(len, self._readers.values()))

    def open(self, tenant: TenantId) -> Reader | None:
        """A new reader, which gets a `Picture` first; None: too many watch, or we are stopping."""
        own = len(self._readers.get(tenant, ()))
        if self._closed or self.readers >= READERS or own >= READERS_OF_TENANT:
            return None
        reader = Reader(tenant, self._left)
        self._readers.setdefault(tenant, set()).add(reader)
        reader._show(Picture(self._calls.live(tenant, limit=SHOWN_CALLS)))  # noqa: SLF001 - ours
        return reader

    def close(self) -> None:
        """End every reader: the service stops, and waits for none of them."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for reader in [one for of_tenant in self._readers.values() for one in of_tenant]:
            reader.close()

    def _left(self, reader: Reader) -> None:
        of_tenant = self._readers[reader.tenant]
        of_tenant.discard(reader)
        if not of_tenant:
            del self._readers[reader.tenant]

    def _on_change(self, call: CallView) -> None:
        if not self._readers or split_account_key(call.account)[0] not in self._readers:
            return
        # Once written it leaves memory, which may be before it is told.
        ended = call.state is CallState.ENDED
        self._due[call.id] = self._calls.get(call.id) if ended else None
        if self._timer is None:
            when = Instant(max(self._clock.now(), self._told_at + GATHER_S))
            self._timer = self._clock.call_at(when, self._tell)

    def _tell(self) -> None:
        self._timer, self._told_at = None, self._clock.now()
        due, self._due = self._due, {}
        for call, known in due.items():
            record = self._calls.get(call) or known
            if record is None:
                continue  # answered long ago, and memory was full: the store has it
            tenant = split_account_key(record.account)[0]
            for reader in tuple(self._readers.get(tenant, ())):
                reader._tell(record)  # noqa: SLF001 - ours
