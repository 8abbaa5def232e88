"""Call history in memory."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..core.ids import AccountKey, CallId, Instant
from ..core.model import CallRecord
from ..ports import CallPage, CallQuery, Clock
from .search import HistoryLimits, matches, parse_cursor, position


class CallsInMemory(ABC):
    """The calls' part of `memory.MemoryStore`."""

    def __init__(self, clock: Clock, history: HistoryLimits) -> None:
        self._calls_clock = clock
        self._history = history
        self._calls: dict[CallId, CallRecord] = {}
        self._calls_of: dict[AccountKey, dict[CallId, CallRecord]] = {}

    async def put_call(self, record: CallRecord) -> None:
        """See `ports.Store.put_call`."""
        if not self._knows(record.account):
            return
        self._calls[record.id] = record
        of_account = self._calls_of.setdefault(record.account, {})
        of_account[record.id] = record
        while len(of_account) > self._history.calls_per_account:
            oldest = min(of_account.values(), key=position)
            del self._calls[oldest.id], of_account[oldest.id]

    async def put_calls(self, records: Sequence[CallRecord]) -> None:
        """See `call_ports.CallRecords.put_calls`."""
        for record in records:
            await self.put_call(record)

    async def get_call(self, call: CallId) -> CallRecord | None:
        """See `ports.Store.get_call`."""
        record = self._calls.get(call)
        return record if record and record.started_at >= self._oldest() else None

    async def find_calls(self, query: CallQuery) -> CallPage:
        """See `ports.Store.find_calls`."""
        after, oldest = parse_cursor(query.cursor), self._oldest()
        found = sorted(
            (
                record
                for record in self._calls.values()
                if matches(record, query, oldest=oldest)
                and (after is None or position(record) < after)
            ),
            key=position,
            reverse=True,
        )
        page = tuple(found[: query.limit])
        return CallPage(page, str(position(page[-1])) if len(found) > query.limit else None)

    @abstractmethod
    def _knows(self, key: AccountKey) -> bool:
        """Whether the account is (still) there."""

    def _oldest(self) -> Instant:
        return Instant(self._calls_clock.now() - self._history.keep_s)

    def _forget_calls(self, key: AccountKey) -> None:
        for call in self._calls_of.pop(key, {}):
            del self._calls[call]
