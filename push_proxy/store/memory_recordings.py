"""Recordings of calls in memory."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..core.ids import AccountKey, CallId
from ..ports import Clock
from ..recording_ports import PackedRecording
from .search import HistoryLimits


class RecordingsInMemory(ABC):
    """The recordings' part of `memory.MemoryStore`."""

    def __init__(self, clock: Clock, history: HistoryLimits) -> None:
        self._recordings_clock = clock
        self._recordings_limits = history
        self._recordings: dict[AccountKey, dict[CallId, tuple[PackedRecording, float]]] = {}

    async def put_recordings(self, recordings: Sequence[PackedRecording], *, keep_s: float) -> None:
        """See `recording_ports.RecordingStore.put_recordings`."""
        oldest = self._recordings_clock.now() - keep_s
        for each in recordings:
            if not self._knows(each.account):
                continue
            kept = self._recordings.setdefault(each.account, {})
            kept[each.call] = (each, each.at + keep_s)
            newest = sorted(
                (entry for entry in kept.values() if entry[0].at >= oldest),
                key=lambda entry: (entry[0].at, entry[0].call),
            )
            self._recordings[each.account] = {
                entry[0].call: entry
                for entry in newest[-self._recordings_limits.recordings_per_account :]
            }

    async def get_recording(self, key: AccountKey, call: CallId) -> bytes | None:
        """See `recording_ports.RecordingStore.get_recording`."""
        entry = self._recordings.get(key, {}).get(call)
        if entry is None or entry[1] <= self._recordings_clock.now():
            return None
        return entry[0].packed

    def _forget_recordings(self, key: AccountKey) -> None:
        self._recordings.pop(key, None)

    @abstractmethod
    def _knows(self, key: AccountKey) -> bool:
        """Whether the account is (still) there."""
