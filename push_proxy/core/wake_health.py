"""How well a device wakes: its newest wakes, a summary of them, and when to warn.

One *wake* is one device's part in one call in which a call push was sent to it. It *woke* when
SIP came from it after that (or its owner refused on the push screen). It *failed* when the
provider took the push and the device did not come in time, or the provider refused its token.
Everything else is no evidence of the device: the caller gave up within seconds, another device
was faster, the provider did not take the push, our credentials or we ourselves were at fault.

A device's standing follows from its evidence alone::

    NEW  -- three of the newest five woke -->  WAKES  -- three in a row failed -->  STOPPED
                                               WAKES  <-- two in a row woke ------

So a device that has never woken is not said to have stopped, one failure warns of nothing, and
one lucky wake does not end a warning. Calls that went on beside each other count once, however
many they were: what kept the phone from waking for one kept it for all. NEW -> WAKES is told to
nobody.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from .ids import CallId, Instant
from .model import Verdict

KEPT = 50
"""Wakes of a device that are remembered."""
PROVEN, OF_NEWEST = 3, 5
"""So many wakes of the newest so many make a device one that wakes."""
FAILURES_TO_STOP = 3
WAKES_TO_RETURN = 2
_NEVER = Instant(0.0)
_UNMEASURED = math.inf
"""It woke, but not by a REGISTER or response: nobody knows how fast."""


class WakeEnd(StrEnum):
    """What a wake says of its device."""

    WOKE = "woke"
    FAILED = "failed"
    NO_EVIDENCE = "no_evidence"


class Standing(StrEnum):
    """Whether a device can be counted on to wake."""

    NEW = "new"
    """It has not proven yet that it does."""
    WAKES = "wakes"
    STOPPED = "stopped"
    """It did, and does not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeResult:
    """What came of one wake."""

    at: Instant
    """When the INVITE came."""
    over_at: Instant
    """When it had its final response."""
    call: CallId
    end: WakeEnd
    verdict: Verdict
    """Of a failed one: what came of this device. Else the call's."""
    wake_s: float | None = None
    """INVITE to the first SIP from the device; None: it did not come, or was not measured."""
    provider: str = ""
    reason: str = ""
    """The provider's, when it did not take the push: bounded."""
    beside: bool = False
    """It went on beside an earlier one that counts: no evidence of its own."""
    standing: Standing = Standing.NEW
    """The device's, after this wake."""

    @property
    def counts(self) -> bool:
        """Whether the device's standing depends on it."""
        return self.end is not WakeEnd.NO_EVIDENCE and not self.beside

    @property
    def woke(self) -> bool:
        """Whether the device came."""
        return self.end is WakeEnd.WOKE


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeSummary:
    """The newest wakes of a device in a few numbers."""

    wakes: int = 0
    """Those that are evidence, of the newest `KEPT`."""
    woken: int = 0
    p50_s: float | None = None
    p95_s: float | None = None
    """Of those that were measured (nearest rank)."""
    failed_in_a_row: int = 0
    """The newest ones."""
    last_failure: WakeResult | None = None
    standing: Standing = Standing.NEW

    @property
    def rate(self) -> float | None:
        """Share of wakes that woke it; None: there is no evidence."""
        return self.woken / self.wakes if self.wakes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is remembered of a device in memory: two kilobytes at most."""

    marks: tuple[float | None, ...] = ()
    """Newest first: seconds, negative when it failed, None for no evidence."""
    counts: tuple[bool, ...] = ()
    """As `WakeResult.counts`, of each of ``marks``."""
    counted_until: Instant = _NEVER
    """When the newest one that counts was over."""
    last_failure: WakeResult | None = None
    standing: Standing = Standing.NEW


NO_WAKES = Health()


def judged(before: Health, result: WakeResult) -> tuple[Health, WakeResult]:
    """The device's health after one more wake, and the wake with the standing it led to."""
    result = replace(result, beside=result.at < before.counted_until)
    marks = (_mark(result), *before.marks[: KEPT - 1])
    counts = (result.counts, *before.counts[: KEPT - 1])
    evidence = [mark for mark, own in zip(marks, counts, strict=True) if own and mark is not None]
    result = replace(result, standing=_standing(before.standing, evidence))
    last = result if result.end is WakeEnd.FAILED else before.last_failure
    failed = any(mark is not None and mark < 0 for mark in marks)
    until = result.over_at if result.counts else before.counted_until
    health = Health(
        marks=marks,
        counts=counts,
        counted_until=until if any(counts) else _NEVER,
        last_failure=last if failed else None,
        standing=result.standing,
    )
    return health, result


def health_of(results: Sequence[WakeResult]) -> Health:
    """The health that these (newest first, as they were kept) have led to."""
    newest = results[:KEPT]
    failures = (each for each in newest if each.end is WakeEnd.FAILED)
    counted = (each.over_at for each in newest if each.counts)
    return Health(
        marks=tuple(_mark(each) for each in newest),
        counts=tuple(each.counts for each in newest),
        counted_until=next(counted, _NEVER),
        last_failure=next(failures, None),
        standing=newest[0].standing if newest else Standing.NEW,
    )


def summary_of(health: Health) -> WakeSummary:
    """The numbers."""
    evidence = [mark for mark in health.marks if mark is not None]
    woken = [mark for mark in evidence if mark >= 0]
    measured = sorted(mark for mark in woken if mark != _UNMEASURED)
    return WakeSummary(
        wakes=len(evidence),
        woken=len(woken),
        p50_s=nearest_rank(measured, 0.5),
        p95_s=nearest_rank(measured, 0.95),
        failed_in_a_row=_leading(evidence, woke=False),
        last_failure=health.last_failure,
        standing=health.standing,
    )


def nearest_rank(ordered: Sequence[float], share: float) -> float | None:
    """The smallest of these (in ascending order) that ``share`` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _mark(result: WakeResult) -> float | None:
    match result.end:
        case WakeEnd.NO_EVIDENCE:
            return None
        case WakeEnd.FAILED:
            return -1.0
        case WakeEnd.WOKE:
            return _UNMEASURED if result.wake_s is None else max(0.0, result.wake_s)


def _standing(before: Standing, evidence: Sequence[float]) -> Standing:
    match before:
        case Standing.NEW:
            woken = sum(mark >= 0 for mark in evidence[:OF_NEWEST])
            return Standing.WAKES if woken >= PROVEN else before
        case Standing.WAKES:
            stopped = _leading(evidence, woke=False) >= FAILURES_TO_STOP
            return Standing.STOPPED if stopped else before
        case Standing.STOPPED:
            returned = _leading(evidence, woke=True) >= WAKES_TO_RETURN
            return Standing.WAKES if returned else before


def _leading(evidence: Iterable[float], *, woke: bool) -> int:
    count = 0
    for mark in evidence:
        if (mark >= 0) is not woke:
            break
        count += 1
    return count
