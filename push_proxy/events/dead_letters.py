"""Events that could not be delivered: kept, shown, replayed, forgotten."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from ..core.ids import TenantId, split_account_key
from ..core.queued_event import DeadLetter, DeadLetterPage, Replayed
from ..errors import StoreUnavailable
from ..event_ports import EventMeters, EventStore
from ..ports import Clock
from ..tasks import spawn
from .pace import Pace

_log = structlog.get_logger(__name__)
_PAGE = 200
_COUNT_EVERY_S = 60.0


class Outboxes(Protocol):
    """Where events go to be delivered (`hub.Events`)."""

    def has(self, webhook: str) -> bool:
        """Whether this webhook is configured."""

    def wake(self, webhook: str, added: int) -> None:
        """So many more are in its outbox."""


class DeadLetters:
    """Every tenant's."""

    def __init__(
        self,
        store: EventStore,
        *,
        clock: Clock,
        pace: Pace,
        meters: EventMeters,
        outboxes: Outboxes,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pace = pace
        self._meters = meters
        self._outboxes = outboxes
        self._total = 0
        self._counter: asyncio.Task[None] | None = None

    @property
    def total(self) -> int:
        """How many there were when they were counted last, and what was added here since."""
        return self._total

    def start(self) -> None:
        """Begin to count."""
        self._counter = spawn(self._count(), name="number of dead letters")

    async def aclose(self) -> None:
        """Stop counting."""
        if self._counter is not None:
            self._counter.cancel()
            await asyncio.wait((self._counter,))

    async def bury(self, letter: DeadLetter) -> None:
        """Keep it. Raises `errors.StoreUnavailable`."""
        dropped = await self._store.put_dead_letter(
            letter, limit=self._pace.letters_limit, keep_s=self._pace.letters_keep_s
        )
        self._total += 1 - dropped
        if dropped:
            tenant = split_account_key(letter.event.notice.account)[0]
            self._meters.counted(None, "dropped", dropped)
            _log.error("oldest dead letters dropped", tenant=tenant, count=dropped)

    async def page(self, tenant: TenantId, *, limit: int, cursor: str | None) -> DeadLetterPage:
        """Newest first. Raises `errors.StoreUnavailable`, `errors.InvalidInput`."""
        return await self._store.dead_letters(tenant, limit=limit, cursor=cursor)

    async def delete(self, tenant: TenantId, letters: Sequence[str] | None) -> int:
        """Forget these, or all; how many there were. Raises `errors.StoreUnavailable`."""
        deleted = await self._store.delete_dead_letters(tenant, letters)
        self._total = max(0, self._total - deleted)
        return deleted

    async def replay(self, tenant: TenantId, letters: Sequence[str] | None) -> Replayed:
        """Deliver these, or all, as if they were new, with their ids.

        Those whose webhook is not configured stay. Raises `errors.StoreUnavailable`; what was
        done until then is done, and the rest can be replayed again.
        """
        if letters is not None:
            return await self._replay(await self._store.get_dead_letters(tenant, letters), tenant)
        replayed = skipped = 0
        cursor: str | None = None
        while True:
            page = await self._store.dead_letters(tenant, limit=_PAGE, cursor=cursor)
            done = await self._replay(page.letters, tenant)
            replayed += done.replayed
            skipped += done.skipped
            if (cursor := page.next_cursor) is None:
                return Replayed(replayed, skipped)

    async def _replay(self, letters: Sequence[DeadLetter], tenant: TenantId) -> Replayed:
        by_webhook: dict[str, list[DeadLetter]] = {}
        for letter in reversed(letters):
            if self._outboxes.has(letter.webhook):
                by_webhook.setdefault(letter.webhook, []).append(letter)
        count = 0
        for webhook, some in by_webhook.items():
            now = self._clock.now()
            events = [
                replace(letter.event, queued_at=now, attempts=0, last_error="") for letter in some
            ]
            # Put first: between the two an event is there twice, never not at all.
            await self._store.put_events(
                webhook, events, limit=self._pace.outbox_limit, keep_s=self._pace.outbox_keep_s
            )
            await self.delete(tenant, [letter.id for letter in some])
            self._outboxes.wake(webhook, len(some))
            count += len(some)
        return Replayed(count, len(letters) - count)

    async def _count(self) -> None:
        while True:
            try:
                self._total = sum((await self._store.count_dead_letters()).values())
            except StoreUnavailable as error:
                _log.debug("dead letters not counted", error=str(error))
            await asyncio.sleep(_COUNT_EVERY_S)
