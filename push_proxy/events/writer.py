"""Events between those who tell them and the store: nobody waits, memory is bounded."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import groupby

import structlog

from ..core.queued_event import QueuedEvent
from ..errors import StoreUnavailable
from ..event_ports import EventMeters, EventStore
from ..tasks import spawn
from .pace import Pace

_log = structlog.get_logger(__name__)
_BATCH = 32


class Writer:
    """Puts events into their outboxes, in order, as soon as the store takes them."""

    def __init__(
        self,
        store: EventStore,
        *,
        pace: Pace,
        meters: EventMeters,
        written: Callable[[str, int], None],
    ) -> None:
        """``written`` is called with each webhook that has so many more in its outbox."""
        self._store = store
        self._pace = pace
        self._meters = meters
        self._written = written
        self._queue: deque[tuple[str, QueuedEvent]] = deque()
        self._batch: list[tuple[str, QueuedEvent]] = []
        self._lost = 0
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self._away = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Events that are in memory alone."""
        return len(self._queue) + len(self._batch)

    def add(self, webhook: str, event: QueuedEvent) -> None:
        """Take one event. Beyond the limit the oldest is lost."""
        if len(self._queue) >= self._pace.memory_limit:
            _, lost = self._queue.popleft()
            self._lost += 1
            self._meters.counted(lost.notice.type, "dropped")
        self._queue.append((webhook, event))
        self._none.clear()
        self._some.set()

    def start(self) -> None:
        """Begin to write."""
        self._task = spawn(self._run(), name="outbox of events")

    async def aclose(self, timeout_s: float = 2.0) -> None:
        """Write what can be written in time; what is lost is logged."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._none.wait()
        except TimeoutError:
            _log.error(
                "events lost: the store did not take them before the end", count=self.waiting
            )
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        while True:
            if not self._queue and not self._batch:
                self._none.set()
                self._some.clear()
                await self._some.wait()
            while self._queue and len(self._batch) < _BATCH:
                self._batch.append(self._queue.popleft())
            if await self._write(self._batch):
                self._batch = []
            else:
                await asyncio.sleep(self._pace.store_pause_s)
            if self._lost:
                _log.error("events lost: too many waited for the store", count=self._lost)
                self._lost = 0

    async def _write(self, batch: list[tuple[str, QueuedEvent]]) -> bool:
        for webhook, items in groupby(sorted(batch, key=_webhook), key=_webhook):
            events = [event for _, event in items]
            try:
                dropped = await self._store.put_events(
                    webhook,
                    events,
                    limit=self._pace.outbox_limit,
                    keep_s=self._pace.outbox_keep_s,
                )
            except StoreUnavailable as error:
                # Those that the store has taken are put once more, which changes nothing.
                self._note_away(str(error))
                return False
            except Exception:  # noqa: BLE001 - logged
                # A value that cannot be written must not keep all the others waiting.
                _log.exception("events given up: they cannot be written", count=len(events))
                continue
            self._note_dropped(webhook, dropped)
            self._written(webhook, len(events) - dropped)
        self._away = False
        return True

    def _note_away(self, error: str) -> None:
        if not self._away:
            _log.warning("store unavailable: events wait in memory", error=error)
        self._away = True

    def _note_dropped(self, webhook: str, dropped: int) -> None:
        if dropped:
            self._meters.counted(None, "dropped", dropped)
            _log.error(
                "events lost: their webhook has not taken any for too long",
                webhook=webhook,
                count=dropped,
            )


def _webhook(item: tuple[str, QueuedEvent]) -> str:
    return item[0]
