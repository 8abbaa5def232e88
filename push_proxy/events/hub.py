"""All event webhooks: `ports.Notices` for the rest of the service."""

import asyncio
from collections.abc import Iterable
from uuid import uuid4

import structlog

from ..core.notices import Notice
from ..core.queued_event import QueuedEvent
from ..event_ports import EventMeters, EventStore
from ..ports import Clock
from .dead_letters import DeadLetters
from .pace import Pace
from .webhook import Webhook
from .worker import Worker
from .writer import Writer

_log = structlog.get_logger(__name__)


class Events:
    """Takes notices, and brings each to every webhook that wants it."""

    def __init__(
        self,
        webhooks: Iterable[Webhook],
        *,
        store: EventStore,
        clock: Clock,
        meters: EventMeters,
        pace: Pace | None = None,
    ) -> None:
        """Raises `errors.ConfigurationError` when a webhook cannot be used."""
        self._store = store
        self._clock = clock
        self._meters = meters
        self._pace = pace or Pace()
        self._writer = Writer(store, pace=self._pace, meters=meters, written=self.wake)
        self.letters = DeadLetters(
            store, clock=clock, pace=self._pace, meters=meters, outboxes=self
        )
        self._workers = {webhook.key: self._worker(webhook) for webhook in webhooks}

    @property
    def waiting(self) -> int:
        """Events that were told and are not delivered yet, as far as known."""
        return self._writer.waiting + sum(worker.waiting for worker in self._workers.values())

    def tell(self, notice: Notice) -> None:
        """See `ports.Notices.tell`."""
        try:
            self._add(notice)
        except Exception:  # noqa: BLE001 - logged
            # No call may fail because nobody could be told of it.
            _log.exception("event lost: it cannot be handled")

    def start(self) -> None:
        """Begin to deliver, with what is left from before a restart."""
        self._writer.start()
        self.letters.start()
        for worker in self._workers.values():
            worker.start()

    async def replace(self, webhooks: Iterable[Webhook]) -> None:
        """Go on with these. What waits for a webhook that stays goes on waiting."""
        wanted = {webhook.key: webhook for webhook in webhooks}
        # Each reads whom it trusts: that takes longer than calls may stand still.
        made = {
            key: await asyncio.to_thread(self._worker, webhook)
            for key, webhook in wanted.items()
            if key not in self._workers or self._workers[key].webhook != webhook
        }
        kept = {key: worker for key, worker in self._workers.items() if key in wanted}
        ended = [worker for key, worker in self._workers.items() if key not in kept or key in made]
        self._workers = {**kept, **made}
        await asyncio.gather(*(worker.aclose() for worker in ended))
        for worker in made.values():
            worker.start()

    async def aclose(self) -> None:
        """Stop. What is not delivered waits in the store."""
        await self._writer.aclose()
        await asyncio.gather(*(worker.aclose() for worker in self._workers.values()))
        await self.letters.aclose()

    def has(self, webhook: str) -> bool:
        """Whether this webhook is configured."""
        return webhook in self._workers

    def wake(self, webhook: str, added: int) -> None:
        """So many more are in its outbox."""
        if (worker := self._workers.get(webhook)) is not None:
            worker.wake(added)

    def _add(self, notice: Notice) -> None:
        event: QueuedEvent | None = None
        for key, worker in self._workers.items():
            if worker.webhook.wants(notice):
                event = event or QueuedEvent(
                    id=str(uuid4()), notice=notice, queued_at=self._clock.now()
                )
                self._writer.add(key, event)

    def _worker(self, webhook: Webhook) -> Worker:
        return Worker(
            webhook,
            store=self._store,
            clock=self._clock,
            pace=self._pace,
            meters=self._meters,
            bury=self.letters.bury,
        )
