"""Time and timers, handed in so that tests own both.

An `Instant` is Unix seconds on a clock that never goes back within one process: the wall
clock read once at start, plus what the monotonic clock has counted since. A stepped wall
clock (NTP, a suspended host) therefore never shortens or stretches a deadline.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

from ..core.ids import Instant
from ..ports import Clock


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not call. Harmless when it has already been called."""


class TimerClock(Clock, Protocol):
    """A clock that can also call back."""

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call once when ``when`` has come (soon, when it is past already)."""


class SystemClock:
    """The machine's time, and the running event loop's timers."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> Instant:
        """Seconds since the Unix epoch, never going back."""
        return Instant(self._offset + time.monotonic())

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call on the running loop; the loop's clock may be coarser than ours."""
        delay_s = max(0.0, when - self.now())
        return asyncio.get_running_loop().call_later(delay_s, callback)


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Time that stands still until a test moves it."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = Instant(start)
        self._timers: list[tuple[Instant, int, _ManualTimer]] = []
        self._order = count()

    def now(self) -> Instant:
        """The instant that the test has chosen."""
        return self._now

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call during the `advance` that reaches ``when``."""
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, calling each timer at its own instant and in order."""
        if seconds < 0:
            raise ValueError("time cannot go back: advance by zero or more seconds")
        target = Instant(self._now + seconds)
        while self._timers and self._timers[0][0] <= target:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if timer.callback is not None:
                timer.callback()
        self._now = target
