"""Missed calls in Redis."""

from collections.abc import Sequence

from ..core.ids import AccountKey, CallId
from ..core.missed import MissedCall
from ..missed_ports import MissedCallPage
from ..ports import Clock
from . import keys, scripts
from .codec import Codec
from .redis_client import RedisClient
from .search import HistoryLimits, Position, parse_cursor


class MissedInRedis:
    """The missed calls' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock
    _history: HistoryLimits

    async def put_missed_call(self, missed: MissedCall) -> None:
        """See `missed_ports.MissedCallStore.put_missed_call`. One round trip."""
        key = missed.account
        await self._client.run(
            scripts.PUT_MISSED_CALL,
            [keys.account(key), *keys.missed(key)],
            missed.call,
            repr(missed.missed_at),
            self._codec.encode(missed, key),
            self._history.missed_per_account,
            repr(self._oldest_missed()),
            self._forget_missed_ms(),
        )

    async def missed_calls(
        self, key: AccountKey, *, limit: int, cursor: str | None
    ) -> MissedCallPage:
        """See `missed_ports.MissedCallStore.missed_calls`."""
        order, data, _ = keys.missed(key)
        last = parse_cursor(cursor)
        upper = repr(last.started_at) if last else "+inf"
        # All of them: they are few.
        rows = await self._client.call(
            "ZREVRANGEBYSCORE", order, upper, repr(self._oldest_missed()), "WITHSCORES"
        )
        spots = [
            Position(float(at), CallId(call.decode()))
            for call, at in zip(rows[::2], rows[1::2], strict=True)
        ]
        spots = [spot for spot in spots if last is None or spot < last]
        page = spots[:limit]
        stored = (
            await self._client.call("HMGET", data, *(spot.call for spot in page)) if page else ()
        )
        calls = tuple(self._codec.decode(MissedCall, each, key) for each in stored if each)
        return MissedCallPage(calls, str(page[-1]) if len(spots) > limit else None)

    async def count_missed_calls(self, key: AccountKey) -> int:
        """See `missed_ports.MissedCallStore.count_missed_calls`."""
        order, *_ = keys.missed(key)
        count: int = await self._client.call("ZCOUNT", order, repr(self._oldest_missed()), "+inf")
        return count

    async def see_missed_calls(
        self, key: AccountKey, calls: Sequence[CallId], *, up_to: CallId | None = None
    ) -> tuple[CallId, ...]:
        """See `missed_ports.MissedCallStore.see_missed_calls`. One round trip."""
        seen = await self._client.run(
            scripts.SEE_MISSED_CALLS,
            [keys.account(key), *keys.missed(key)],
            repr(self._clock.now()),
            self._history.missed_per_account,
            self._forget_missed_ms(),
            up_to or "",
            *calls,
        )
        return tuple(CallId(call.decode()) for call in seen)

    def _oldest_missed(self) -> float:
        return self._clock.now() - self._history.missed_keep_s

    def _forget_missed_ms(self) -> int:
        return int((self._clock.now() + self._history.missed_keep_s) * 1000)
