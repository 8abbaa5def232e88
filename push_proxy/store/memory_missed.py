"""Missed calls in memory."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..core.ids import AccountKey, CallId
from ..core.missed import MissedCall
from ..missed_ports import MissedCallPage
from ..ports import Clock
from .search import HistoryLimits, Position, parse_cursor


class MissedInMemory(ABC):
    """The missed calls' part of `memory.MemoryStore`."""

    def __init__(self, clock: Clock, history: HistoryLimits) -> None:
        self._missed_clock = clock
        self._missed_limits = history
        self._missed: dict[AccountKey, dict[CallId, MissedCall]] = {}
        self._missed_seen: dict[AccountKey, dict[CallId, float]] = {}

    async def put_missed_call(self, missed: MissedCall) -> None:
        """See `missed_ports.MissedCallStore.put_missed_call`."""
        key = missed.account
        if not self._knows(key) or missed.call in self._missed_seen.get(key, {}):
            return
        self._missed.setdefault(key, {})[missed.call] = missed
        newest = sorted(self._kept_missed(key), key=_position, reverse=True)
        self._missed[key] = {
            each.call: each for each in newest[: self._missed_limits.missed_per_account]
        }

    async def missed_calls(
        self, key: AccountKey, *, limit: int, cursor: str | None
    ) -> MissedCallPage:
        """See `missed_ports.MissedCallStore.missed_calls`."""
        last = parse_cursor(cursor)
        kept = (m for m in self._kept_missed(key) if last is None or _position(m) < last)
        found = sorted(kept, key=_position, reverse=True)
        page = tuple(found[:limit])
        more = len(found) > limit
        return MissedCallPage(page, str(_position(page[-1])) if more else None)

    async def count_missed_calls(self, key: AccountKey) -> int:
        """See `missed_ports.MissedCallStore.count_missed_calls`."""
        return len(self._kept_missed(key))

    async def see_missed_calls(
        self, key: AccountKey, calls: Sequence[CallId], *, up_to: CallId | None = None
    ) -> tuple[CallId, ...]:
        """See `missed_ports.MissedCallStore.see_missed_calls`."""
        if not self._knows(key):
            return ()
        kept, now = self._missed.get(key, {}), self._missed_clock.now()
        seen = self._missed_seen.setdefault(key, {})
        named = {call: kept[call].missed_at if call in kept else now for call in calls}
        if up_to is not None:
            # One seen before was missed when it was, not now.
            last = kept[up_to].missed_at if up_to in kept else seen.get(up_to, named.get(up_to))
            if last is not None:
                named |= {m.call: m.missed_at for m in kept.values() if m.missed_at <= last}
        there = tuple(call for call in named if kept.pop(call, None) is not None)
        newest = sorted({**named, **seen}.items(), key=lambda item: (item[1], item[0]))
        self._missed_seen[key] = dict(newest[-self._missed_limits.missed_per_account :])
        return there

    def _kept_missed(self, key: AccountKey) -> list[MissedCall]:
        oldest = self._missed_clock.now() - self._missed_limits.missed_keep_s
        return [each for each in self._missed.get(key, {}).values() if each.missed_at >= oldest]

    def _forget_missed(self, key: AccountKey) -> None:
        self._missed.pop(key, None)
        self._missed_seen.pop(key, None)

    @abstractmethod
    def _knows(self, key: AccountKey) -> bool:
        """Whether the account is (still) there."""


def _position(missed: MissedCall) -> Position:
    return Position(missed.missed_at, missed.call)
