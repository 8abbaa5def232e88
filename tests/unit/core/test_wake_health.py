"""core.wake_health: what a device's newest wakes come to, and when somebody is warned."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core.ids import CallId, Instant
from push_proxy.core.model import Verdict
from push_proxy.core.wake_health import (
    KEPT,
    NO_WAKES,
    Health,
    Standing,
    WakeEnd,
    WakeResult,
    health_of,
    judged,
    summary_of,
)

ENDS = {"W": WakeEnd.WOKE, "F": WakeEnd.FAILED, "-": WakeEnd.NO_EVIDENCE}


def result(number: int, letter: str, wake_s: float | None = None) -> WakeResult:
    end = ENDS[letter]
    return WakeResult(
        at=Instant(1000.0 + number),
        call=CallId(f"c{number}"),
        end=end,
        verdict=Verdict.NOT_WOKEN if end is WakeEnd.FAILED else Verdict.ANSWERED,
        wake_s=wake_s,
    )


def after(results: Iterable[WakeResult]) -> tuple[Health, list[WakeResult]]:
    """The health after these, oldest first; and they as they are kept, newest first."""
    health, kept = NO_WAKES, list[WakeResult]()
    for each in results:
        health, told = judged(health, each)
        kept.insert(0, told)
    return health, kept


def turns(history: str) -> list[str]:
    """At which wake the standing became what."""
    _, kept = after(result(n, letter) for n, letter in enumerate(history.replace(" ", "")))
    found, before = [], Standing.NEW
    for number, each in enumerate(reversed(kept), 1):
        if each.standing is not before:
            found.append(f"{number}:{each.standing}")
            before = each.standing
    return found


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("FFFFFFFFFF", []),
        ("WW", []),
        ("WWW", ["3:wakes"]),
        ("WFWFW", ["5:wakes"]),
        ("WFFWFFWFFW", []),
        ("WWW FF", ["3:wakes"]),
        ("WWW FFF", ["3:wakes", "6:stopped"]),
        ("WWW FFFFFFFF", ["3:wakes", "6:stopped"]),
        ("WWW FFWFFWFF", ["3:wakes"]),
        ("WWW -F-F--F-", ["3:wakes", "10:stopped"]),
        ("WWW --------", ["3:wakes"]),
        ("WWW FFF W", ["3:wakes", "6:stopped"]),
        ("WWW FFF WFWFWF", ["3:wakes", "6:stopped"]),
        ("WWW FFF WW", ["3:wakes", "6:stopped", "8:wakes"]),
        ("WWW FFF W-W", ["3:wakes", "6:stopped", "9:wakes"]),
        ("WWW FFF WW FF W", ["3:wakes", "6:stopped", "8:wakes"]),
        ("WWW FFF WW FFF", ["3:wakes", "6:stopped", "8:wakes", "11:stopped"]),
    ],
)
def test_when_somebody_is_warned(history: str, expected: list[str]) -> None:
    """W woke, F failed, - no evidence: three failures in a row of one that wakes, two to return."""
    assert turns(history) == expected


def test_a_long_failure_is_not_forgotten() -> None:
    """After more failures than are kept it still counts as stopped, and returns as any other."""
    assert turns("WWW" + "F" * (KEPT * 2) + "WW") == [
        "3:wakes",
        "6:stopped",
        f"{KEPT * 2 + 5}:wakes",
    ]


def test_the_numbers() -> None:
    """Rate over what is evidence, nearest ranks over what was measured, the newest failure."""
    seconds = [float(n) for n in range(1, 20)]
    made = [result(n, "W", wake_s) for n, wake_s in enumerate(seconds)]
    made += [result(20, "F"), result(21, "W"), result(22, "-"), result(23, "F"), result(24, "-")]
    health, kept = after(made)
    found = summary_of(health)
    assert (found.wakes, found.woken, found.failed_in_a_row) == (22, 20, 1)
    assert found.rate == pytest.approx(20 / 22)
    assert (found.p50_s, found.p95_s) == (10.0, 19.0)
    assert found.last_failure == kept[1]
    assert found.standing is Standing.WAKES


def test_nothing_is_known_of_a_new_device() -> None:
    """No rate is no bad rate."""
    empty = summary_of(NO_WAKES)
    assert (empty.wakes, empty.rate, empty.p50_s, empty.last_failure) == (0, None, None, None)
    assert health_of(()) == NO_WAKES


def test_a_failure_leaves_with_its_wake() -> None:
    """What happened before the newest fifty is not told any more."""
    failed = [result(0, "F")]
    held, _ = after(failed + [result(n, "W") for n in range(1, KEPT)])
    assert held.last_failure is not None
    gone, _ = after(failed + [result(n, "W") for n in range(1, KEPT + 1)])
    assert gone.last_failure is None
    assert summary_of(gone).wakes == KEPT


@given(st.lists(st.tuples(st.sampled_from("WF-"), st.none() | st.floats(0, 60)), max_size=130))
def test_a_restart_changes_nothing(history: list[tuple[str, float | None]]) -> None:
    """What is read from the store judges on exactly as what was in memory."""
    made = [
        result(n, letter, s if letter == "W" else None) for n, (letter, s) in enumerate(history)
    ]
    health, kept = after(made)
    assert health_of(kept) == health
    assert len(health.marks) <= KEPT
