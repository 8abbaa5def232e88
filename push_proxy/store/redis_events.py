"""Outboxes and dead letters of events in Redis."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import structlog

from ..core.ids import Instant, TenantId, split_account_key
from ..core.queued_event import ClaimedEvents, DeadLetter, DeadLetterPage, QueuedEvent
from ..errors import ConfigurationError
from ..ports import Clock
from . import keys, scripts
from .codec import Codec, UnreadableValue
from .letter_page import LetterPosition, parse_letter_cursor
from .redis_client import RedisClient

_log = structlog.get_logger(__name__)
_CHUNK = 100
_T = TypeVar("_T")


class EventsInRedis:
    """The events' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock

    async def put_events(
        self, webhook: str, events: Sequence[QueuedEvent], *, limit: int, keep_s: float
    ) -> int:
        """See `ports.Store.put_events`. One round trip."""
        rows: list[str | bytes] = []
        for event in events:
            rows += (event.id, repr(event.queued_at), self._codec.encode(event, webhook))
        dropped: int = await self._client.run(
            scripts.PUT_EVENTS,
            keys.outbox(webhook),
            limit,
            int((self._clock.now() + keep_s) * 1000),
            *rows,
        )
        return dropped

    async def claim_events(
        self, webhook: str, *, now: Instant, lease_s: float, limit: int
    ) -> ClaimedEvents:
        """See `ports.Store.claim_events`. One round trip."""
        waiting, next_at, found = await self._client.run(
            scripts.CLAIM_EVENTS, keys.outbox(webhook), repr(now), repr(now + lease_s), limit
        )
        events = [self._event_or_none(QueuedEvent, data, webhook) for data in found]
        return ClaimedEvents(
            tuple(event for event in events if event is not None),
            waiting,
            Instant(float(next_at)) if next_at else None,
        )

    async def postpone_event(self, webhook: str, event: QueuedEvent, *, due: Instant) -> None:
        """See `ports.Store.postpone_event`."""
        await self._client.run(
            scripts.POSTPONE_EVENT,
            keys.outbox(webhook),
            event.id,
            repr(due),
            self._codec.encode(event, webhook),
        )

    async def remove_event(self, webhook: str, event_id: str) -> None:
        """See `ports.Store.remove_event`."""
        await self._client.run(scripts.REMOVE_EVENT, keys.outbox(webhook), event_id)

    async def put_dead_letter(self, letter: DeadLetter, *, limit: int, keep_s: float) -> int:
        """See `ports.Store.put_dead_letter`."""
        tenant = split_account_key(letter.event.notice.account)[0]
        dropped: int = await self._client.run(
            scripts.PUT_DEAD_LETTER,
            keys.dead_letters(tenant),
            letter.id,
            repr(letter.died_at),
            self._codec.encode(letter, tenant),
            limit,
            repr(letter.died_at - keep_s),
            int((letter.died_at + keep_s) * 1000),
        )
        return dropped

    async def dead_letters(
        self, tenant: TenantId, *, limit: int, cursor: str | None
    ) -> DeadLetterPage:
        """See `ports.Store.dead_letters`."""
        order, _ = keys.dead_letters(tenant)
        last = parse_letter_cursor(cursor)
        upper = repr(last.died_at) if last else "+inf"
        places: list[LetterPosition] = []
        offset = 0
        while len(places) <= limit:
            rows = await self._client.call(
                "ZREVRANGEBYSCORE", order, upper, "-inf", "WITHSCORES", "LIMIT", offset, _CHUNK
            )
            spots = [
                LetterPosition(float(at), name.decode())
                for name, at in zip(rows[::2], rows[1::2], strict=True)
            ]
            places += [spot for spot in spots if last is None or spot < last]
            offset += len(spots)
            if len(spots) < _CHUNK:
                break
        page = places[:limit]
        found = await self.get_dead_letters(tenant, [spot.letter for spot in page])
        return DeadLetterPage(found, str(page[-1]) if len(places) > limit else None)

    async def get_dead_letters(
        self, tenant: TenantId, letters: Sequence[str]
    ) -> tuple[DeadLetter, ...]:
        """See `ports.Store.get_dead_letters`."""
        if not letters:
            return ()
        _, kept = keys.dead_letters(tenant)
        stored = await self._client.call("HMGET", kept, *dict.fromkeys(letters))
        found = [
            self._event_or_none(DeadLetter, data, tenant) for data in stored if data is not None
        ]
        return tuple(letter for letter in found if letter is not None)

    async def delete_dead_letters(self, tenant: TenantId, letters: Sequence[str] | None) -> int:
        """See `ports.Store.delete_dead_letters`."""
        if letters is not None and not letters:
            return 0
        deleted: int = await self._client.run(
            scripts.DELETE_DEAD_LETTERS, keys.dead_letters(tenant), *dict.fromkeys(letters or ())
        )
        return deleted

    async def count_dead_letters(self) -> Mapping[TenantId, int]:
        """See `ports.Store.count_dead_letters`."""
        names = await self._client.call("SMEMBERS", keys.TENANTS)
        tenants = [TenantId(name.decode()) for name in names]
        counts = await self._client.pipeline(
            [("ZCARD", keys.dead_letters(tenant)[0]) for tenant in tenants]
        )
        return {tenant: count for tenant, count in zip(tenants, counts, strict=True) if count}

    async def _reseal_dead_letters(self) -> None:
        """Seal all of them with the ring's first key. Outboxes empty themselves within days."""
        for tenant in await self.count_dead_letters():
            cursor: str | None = None
            while True:
                page = await self.dead_letters(tenant, limit=_CHUNK, cursor=cursor)
                for letter in page.letters:
                    await self._client.run(
                        scripts.RESEAL_DEAD_LETTER,
                        keys.dead_letters(tenant),
                        letter.id,
                        self._codec.encode(letter, tenant),
                    )
                if (cursor := page.next_cursor) is None:
                    break

    def _event_or_none(self, kind: type[_T], data: bytes, place: str) -> _T | None:
        """One that cannot be read must not keep the others from being handled."""
        try:
            return self._codec.decode(kind, data, place)
        except (UnreadableValue, ConfigurationError) as error:
            _log.error("stored event left out: it cannot be read", error=str(error))
            return None
