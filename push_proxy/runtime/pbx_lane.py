"""Requests toward one PBX, most urgent first, at the PBX's pace."""

from heapq import heappop, heappush
from itertools import count

from ..core.ids import Instant
from ..core.pacing import Pace
from ..core.registration_state import Registration


class PbxLane:
    """Registrations whose time has come and that wait for their turn."""

    def __init__(self, rate: float, now: Instant) -> None:
        self._pace = Pace(rate, now)
        self._ready: list[tuple[int, int, int]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._ready)

    def push(self, machine: int, urgency: int) -> None:
        """Let it wait; a lower ``urgency`` goes first."""
        heappush(self._ready, (urgency, next(self._order), machine))

    def pop(self, now: Instant) -> int | None:
        """The next one, if the pace allows it now."""
        if not self._ready or not self._pace.take(now):
            return None
        return heappop(self._ready)[2]

    def next_at(self) -> Instant:
        """When to `pop` again."""
        return self._pace.next_at()


def urgency(state: Registration, now: Instant) -> int:
    """Refreshes first: what calls rely on must not lapse while others come in masses."""
    if state.refresh_at is None or state.refresh_at > now:
        return 2  # a fetch
    return 0 if state.wanted and state.is_registered(now) else 1
