"""What the delivery of events needs of others."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from .core.ids import Instant, TenantId
from .core.notices import NoticeType
from .core.queued_event import ClaimedEvents, DeadLetter, DeadLetterPage, QueuedEvent


class EventStore(Protocol):
    """Outboxes and dead letters (`ports.Store`). Each may raise `errors.StoreUnavailable`."""

    async def put_events(
        self, webhook: str, events: Sequence[QueuedEvent], *, limit: int, keep_s: float
    ) -> int:
        """Add events, due at once; beyond ``limit`` the oldest go: returns how many.

        The whole outbox is forgotten ``keep_s`` after the last of them was added.
        """

    async def claim_events(
        self, webhook: str, *, now: Instant, lease_s: float, limit: int
    ) -> ClaimedEvents:
        """Take up to ``limit`` events that are due; nobody else gets them within ``lease_s``."""

    async def postpone_event(self, webhook: str, event: QueuedEvent, *, due: Instant) -> None:
        """Keep it as it is now, due then. One that has been removed stays so."""

    async def remove_event(self, webhook: str, event_id: str) -> None:
        """It was taken."""

    async def put_dead_letter(self, letter: DeadLetter, *, limit: int, keep_s: float) -> int:
        """Keep it; beyond ``limit`` and ``keep_s`` the tenant's oldest go: returns how many."""

    async def dead_letters(
        self, tenant: TenantId, *, limit: int, cursor: str | None
    ) -> DeadLetterPage:
        """A tenant's, newest first. Raises `errors.InvalidInput` for a foreign cursor."""

    async def get_dead_letters(
        self, tenant: TenantId, letters: Sequence[str]
    ) -> tuple[DeadLetter, ...]:
        """Those of these ids that are there."""

    async def delete_dead_letters(self, tenant: TenantId, letters: Sequence[str] | None) -> int:
        """Forget those of these ids, or all; returns how many there were."""

    async def count_dead_letters(self) -> Mapping[TenantId, int]:
        """How many each tenant has; tenants without any may be missing."""


class EventMeters(Protocol):
    """Who counts (`observability.event_metrics.EventMetrics`)."""

    def counted(self, kind: NoticeType | None, result: str, number: int = 1) -> None:
        """An event was ``delivered``, ``retried``, ``dead`` or ``dropped``."""
