"""runtime.clock: time that is handed in."""

import asyncio

import pytest

from push_proxy.core.ids import Instant
from push_proxy.runtime.clock import ManualClock, SystemClock


def test_manual_timers_fire_in_order_at_their_instant() -> None:
    """A timer sees its own instant, and one set by another on the way fires too."""
    clock, seen = ManualClock(100.0), list[tuple[str, float]]()

    def first() -> None:
        seen.append(("first", clock.now()))
        clock.call_at(Instant(101.5), lambda: seen.append(("between", clock.now())))

    clock.call_at(Instant(102.0), lambda: seen.append(("second", clock.now())))
    clock.call_at(Instant(101.0), first)
    clock.call_at(Instant(101.2), lambda: seen.append(("never", clock.now()))).cancel()
    clock.advance(10)

    assert seen == [("first", 101.0), ("between", 101.5), ("second", 102.0)]
    assert clock.now() == 110.0


def test_time_does_not_go_back() -> None:
    """A test that tries is told."""
    with pytest.raises(ValueError, match="cannot go back"):
        ManualClock().advance(-1)


async def test_the_systems_timer_fires_at_its_time() -> None:
    """Not before; an instant that is past fires soon."""
    clock, fired = SystemClock(), asyncio.Event()
    due = Instant(clock.now() + 0.02)
    clock.call_at(due, fired.set)
    await fired.wait()
    assert clock.now() >= due - 0.001

    fired.clear()
    clock.call_at(Instant(clock.now() - 5), fired.set)
    await fired.wait()
