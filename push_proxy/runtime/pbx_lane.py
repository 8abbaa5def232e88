"""Requests toward one PBX, most urgent first, at the PBX's pace."""

from heapq import heappop, heappush
from itertools import count

from ..core.ids import Instant
from ..core.pacing import Pace
from ..core.registration_state import Registration

UNANSWERED_S = 5.0
"""So many seconds' worth of requests may be unanswered: a PBX that is gone gets no more."""
HELD_EVERY_S = 5.0
"""How often one request leaves although the PBX does not answer: perhaps it does again."""


class PbxLane:
    """Registrations whose time has come and that wait for their turn."""

    def __init__(self, rate: float, now: Instant) -> None:
        self._pace = Pace(rate, now)
        self._most = _most(rate)
        self._ready: list[tuple[int, int, int]] = []
        self._order = count()
        self._held_until: Instant | None = None
        self.unanswered = 0
        """Requests on their way."""

    def set_rate(self, rate: float) -> None:
        """The pace from now on."""
        if rate != self._pace.rate:
            self._pace.rate = rate
            self._most = _most(rate)

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def held(self) -> bool:
        """Whether the PBX is taken to be gone."""
        return self._held_until is not None

    def hold(self, now: Instant) -> None:
        """The PBX does not answer: from now on only one request now and then."""
        if self._held_until is None:
            self._held_until = Instant(now + HELD_EVERY_S)

    def release(self) -> None:
        """It answers again."""
        self._held_until = None

    def push(self, machine: int, urgency: int) -> None:
        """Let it wait; a lower ``urgency`` goes first."""
        heappush(self._ready, (urgency, next(self._order), machine))

    def pop(self, now: Instant) -> int | None:
        """The next one, if the pace allows it now."""
        if not self._ready or self.unanswered >= self._most:
            return None
        if self._held_until is not None:
            if now < self._held_until:
                return None
            self._held_until = Instant(now + HELD_EVERY_S)
        elif not self._pace.take(now):
            return None
        return heappop(self._ready)[2]

    def next_at(self) -> Instant | None:
        """When to `pop` again; None: when something is answered, or none waits."""
        if not self._ready or self.unanswered >= self._most:
            return None
        return self._pace.next_at() if self._held_until is None else self._held_until


def _most(rate: float) -> float:
    return max(10.0, rate * UNANSWERED_S)


def urgency(state: Registration, now: Instant, *, check: bool = False) -> int:
    """Refreshes first: what calls rely on must not lapse while others come in masses.

    A ``check`` whether the PBX has lost its memory is one of few, and many wait for its answer.
    """
    if state.refresh_at is None or state.refresh_at > now:
        return 0 if check else 2  # a fetch
    return 0 if state.wanted and state.is_registered(now) else 1
