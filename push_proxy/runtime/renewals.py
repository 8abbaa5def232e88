"""Many registrations to be renewed: begun in portions, so that calls go on meanwhile."""

from collections import deque
from collections.abc import Callable, Iterable

from ..core.ids import Instant
from .clock import Timer, TimerClock

AT_ONCE, EVERY_S = 100, 0.02


class Renewals:
    """Calls ``renew`` for each number given, a hundred at a time, and ``after`` each time."""

    def __init__(
        self,
        clock: TimerClock,
        renew: Callable[[int, bool], None],
        after: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._renew = renew
        self._after = after
        self._waiting: deque[tuple[int, bool]] = deque()
        self._timer: Timer | None = None

    def aclose(self) -> None:
        """Forget the rest."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, numbers: Iterable[int], *, lost: bool) -> None:
        """Renew these; ``lost`` is handed on."""
        self._waiting.extend((number, lost) for number in numbers)
        if self._waiting and self._timer is None:
            self._timer = self._clock.call_at(self._clock.now(), self._some)

    def _some(self) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            self._renew(*self._waiting.popleft())
        later = Instant(self._clock.now() + EVERY_S)
        self._timer = self._clock.call_at(later, self._some) if self._waiting else None
        self._after()
