"""Outboxes and dead letters of events in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..core.ids import AccountKey, Instant, TenantId, split_account_key
from ..core.queued_event import ClaimedEvents, DeadLetter, DeadLetterPage, QueuedEvent
from .letter_page import letter_position, parse_letter_cursor


@dataclass(slots=True)
class _Outbox:
    events: dict[str, QueuedEvent] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)


class EventsInMemory:
    """The events' part of `memory.MemoryStore`."""

    def __init__(self) -> None:
        self._outboxes: dict[str, _Outbox] = {}
        self._letters: dict[TenantId, dict[str, DeadLetter]] = {}

    async def put_events(
        self, webhook: str, events: Sequence[QueuedEvent], *, limit: int, keep_s: float
    ) -> int:
        """See `ports.Store.put_events`. Forgets nothing by time."""
        del keep_s
        box = self._outboxes.setdefault(webhook, _Outbox())
        for event in events:
            box.events[event.id] = event
            box.due[event.id] = event.queued_at
        oldest = sorted(box.events.values(), key=lambda event: (event.queued_at, event.id))
        dropped = oldest[: max(0, len(oldest) - limit)]
        for event in dropped:
            del box.events[event.id], box.due[event.id]
        return len(dropped)

    async def claim_events(
        self, webhook: str, *, now: Instant, lease_s: float, limit: int
    ) -> ClaimedEvents:
        """See `ports.Store.claim_events`."""
        box = self._outboxes.get(webhook, _Outbox())
        due = sorted((at, name) for name, at in box.due.items() if at <= now)[:limit]
        for _, name in due:
            box.due[name] = now + lease_s
        return ClaimedEvents(
            tuple(box.events[name] for _, name in due),
            len(box.events),
            Instant(min(box.due.values())) if box.due else None,
        )

    async def postpone_event(self, webhook: str, event: QueuedEvent, *, due: Instant) -> None:
        """See `ports.Store.postpone_event`."""
        box = self._outboxes.get(webhook, _Outbox())
        if event.id in box.events:
            box.events[event.id] = event
            box.due[event.id] = due

    async def remove_event(self, webhook: str, event_id: str) -> None:
        """See `ports.Store.remove_event`."""
        box = self._outboxes.get(webhook, _Outbox())
        box.events.pop(event_id, None)
        box.due.pop(event_id, None)

    async def put_dead_letter(self, letter: DeadLetter, *, limit: int, keep_s: float) -> int:
        """See `ports.Store.put_dead_letter`."""
        tenant = split_account_key(letter.event.notice.account)[0]
        kept = self._letters.setdefault(tenant, {})
        kept[letter.id] = letter
        oldest = sorted(kept.values(), key=letter_position)
        excess = oldest[: max(0, len(oldest) - limit)]
        old = [one for one in oldest if one.died_at < letter.died_at - keep_s]
        gone = excess if len(excess) > len(old) else old
        for one in gone:
            del kept[one.id]
        return len(gone)

    async def dead_letters(
        self, tenant: TenantId, *, limit: int, cursor: str | None
    ) -> DeadLetterPage:
        """See `ports.Store.dead_letters`."""
        after = parse_letter_cursor(cursor)
        found = sorted(
            (
                letter
                for letter in self._letters.get(tenant, {}).values()
                if after is None or letter_position(letter) < after
            ),
            key=letter_position,
            reverse=True,
        )
        page = tuple(found[:limit])
        return DeadLetterPage(page, str(letter_position(page[-1])) if len(found) > limit else None)

    async def get_dead_letters(
        self, tenant: TenantId, letters: Sequence[str]
    ) -> tuple[DeadLetter, ...]:
        """See `ports.Store.get_dead_letters`."""
        kept = self._letters.get(tenant, {})
        return tuple(kept[name] for name in dict.fromkeys(letters) if name in kept)

    async def delete_dead_letters(self, tenant: TenantId, letters: Sequence[str] | None) -> int:
        """See `ports.Store.delete_dead_letters`."""
        kept = self._letters.get(tenant, {})
        gone = [
            name for name in (kept if letters is None else dict.fromkeys(letters)) if name in kept
        ]
        for name in gone:
            del kept[name]
        return len(gone)

    def _forget_dead_letters(self, key: AccountKey) -> None:
        kept = self._letters.get(split_account_key(key)[0], {})
        for letter in tuple(kept.values()):
            if letter.event.notice.account == key:
                del kept[letter.id]

    async def count_dead_letters(self) -> Mapping[TenantId, int]:
        """See `ports.Store.count_dead_letters`."""
        return {tenant: len(letters) for tenant, letters in self._letters.items() if letters}
