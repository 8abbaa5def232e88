"""REGISTERs of devices, remembered for a moment: it shows later which ones woke for a call."""

from collections import deque
from collections.abc import Iterator

from ..core.ids import Instant
from ..signaling.captured import Captured

REMEMBER_S = 40.0
MOST_BYTES = 4 * 1024 * 1024


class Registers:
    """Newest messages of all devices' registrations, bounded in time and bytes."""

    def __init__(self) -> None:
        self._order: deque[Captured] = deque()
        self._by_call_id: dict[str, deque[Captured]] = {}
        self._bytes = 0

    def add(self, message: Captured) -> None:
        """Remember; the oldest are forgotten."""
        self._order.append(message)
        self._by_call_id.setdefault(message.call_id, deque()).append(message)
        self._bytes += len(message.raw)
        while self._bytes > MOST_BYTES or self._order[0].at < message.at - REMEMBER_S:
            self._forget_oldest()

    def of(self, call_id: str, *, since: Instant, host: str) -> Iterator[Captured]:
        """Those of one registration since then, from and to this host.

        Whoever else uses its Call-ID has proved nothing.
        """
        for message in self._by_call_id.get(call_id, ()):
            if message.at >= since and message.peer.host == host:
                yield message

    def clear(self) -> None:
        """Forget all."""
        self._order.clear()
        self._by_call_id.clear()
        self._bytes = 0

    def _forget_oldest(self) -> None:
        oldest = self._order.popleft()
        self._bytes -= len(oldest.raw)
        same = self._by_call_id[oldest.call_id]
        same.popleft()
        if not same:
            del self._by_call_id[oldest.call_id]
