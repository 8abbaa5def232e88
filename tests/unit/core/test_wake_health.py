"""core.wake_health: what a device's newest wakes come to, and when somebody is warned."""

from collections.abc import Iterable
from dataclasses import replace

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
        at=Instant(1000.0 + 20 * number),
        over_at=Instant(1015.0 + 20 * number),
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


def test_calls_beside_each_other_count_once() -> None:
    """Three at a time that nobody heard are one failure, and three that woke it one wake; each
    is in the numbers all the same.
    """
    made = [result(n, "W") for n in range(3)]
    for n in (3, 4, 5):
        call = result(n, "F")
        made += [call, replace(call, call=CallId(f"b{n}")), replace(call, at=Instant(call.at + 9))]
    health, kept = after(made)
    assert [each.beside for each in kept[:9]] == [True, True, False] * 3
    found = [each.standing for each in reversed(kept)][3:]
    assert found == [Standing.WAKES] * 6 + [Standing.STOPPED] * 3
    summary = summary_of(health)
    assert (summary.wakes, summary.woken, summary.failed_in_a_row) == (12, 3, 9)
    again = result(6, "W")
    back, _ = after([*made, again, replace(again, call=CallId("c-beside"))])
    assert back.standing is Standing.STOPPED


def test_one_that_began_after_the_other_was_over_counts() -> None:
    """However soon: the phone had its chance."""
    first = result(0, "F")
    assert after([first, replace(first, at=first.over_at)])[1][0].counts
    assert not after([first, replace(first, at=Instant(first.over_at - 0.1))])[1][0].counts
    # Beside one that was no evidence it counts itself.
    assert after([replace(first, end=WakeEnd.NO_EVIDENCE), first])[1][0].counts


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


events = st.tuples(st.sampled_from("WF-"), st.none() | st.floats(0, 60), st.floats(0, 30))


@given(st.lists(events, max_size=130))
def test_a_restart_changes_nothing(history: list[tuple[str, float | None, float]]) -> None:
    """What is read from the store judges on exactly as what was in memory."""
    made = list[WakeResult]()
    for number, (letter, wake_s, earlier_s) in enumerate(history):
        each = result(number, letter, wake_s if letter == "W" else None)
        made.append(replace(each, at=Instant(each.at - earlier_s)))
    health, kept = after(made)
    assert health_of(kept) == health
    assert len(health.marks) <= KEPT
