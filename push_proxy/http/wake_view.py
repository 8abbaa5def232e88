"""How well a device wakes, as the API shows it."""

from collections.abc import Sequence

from pydantic import Field

from ..core.model import Verdict
from ..core.wake_health import (
    KEPT,
    Standing,
    WakeEnd,
    WakeResult,
    WakeSummary,
    health_of,
    summary_of,
)
from .fields import Timestamp, View, rfc3339


class WakeView(View):
    """What came of one call for this device, which slept."""

    at: Timestamp = Field(description="When the INVITE came.")
    call_id: str = Field(description="`GET /v1/calls/{call}` tells its story.")
    result: WakeEnd = Field(
        description="`no_evidence`: it says nothing of the device. The caller gave up within "
        "seconds, another device was faster, or the provider or this service was at fault."
    )
    verdict: Verdict = Field(description="Of one that failed: this device's. Else the call's.")
    wake_ms: float | None = Field(
        description="INVITE to the first SIP from the device. Null: none came, or its owner "
        "refused on the push screen."
    )
    provider: str
    reason: str = Field(description="The provider's, when it did not take the push.")


class HealthView(View):
    """A device's newest wakes in a few numbers."""

    standing: Standing = Field(
        description="`new` until three of the newest five wakes woke it, then `wakes`; `stopped` "
        "after three failures in a row, `wakes` again after two that woke it. Wakes that are no "
        "evidence do not count, and calls that went on beside each other count once."
    )
    counted: int = Field(
        description=f"Wakes that say something of the device, of the newest {KEPT}."
    )
    woken: int
    rate: float | None = Field(description="`woken` of `counted`, 0 to 1; null: none counted.")
    p50_ms: float | None = Field(description="Half of the measured wakes took at most so long.")
    p95_ms: float | None
    failed_in_a_row: int = Field(description="The newest of them.")
    last_failure: WakeView | None


class DeviceWakes(HealthView):
    """A device's newest wakes."""

    wakes: list[WakeView] = Field(description=f"The newest {KEPT}, newest first.")


def health_view(summary: WakeSummary) -> HealthView:
    """The numbers."""
    return HealthView(**_numbers(summary))


def wakes_view(results: Sequence[WakeResult]) -> DeviceWakes:
    """The wakes (newest first) and their numbers."""
    return DeviceWakes(
        **_numbers(summary_of(health_of(results))), wakes=[_wake(each) for each in results]
    )


def _numbers(summary: WakeSummary) -> dict[str, object]:
    last = summary.last_failure
    return {
        "standing": summary.standing,
        "counted": summary.wakes,
        "woken": summary.woken,
        "rate": None if summary.rate is None else round(summary.rate, 4),
        "p50_ms": _ms(summary.p50_s),
        "p95_ms": _ms(summary.p95_s),
        "failed_in_a_row": summary.failed_in_a_row,
        "last_failure": None if last is None else _wake(last),
    }


def _wake(result: WakeResult) -> WakeView:
    return WakeView(
        at=rfc3339(result.at),
        call_id=result.call,
        result=result.end,
        verdict=result.verdict,
        wake_ms=_ms(result.wake_s),
        provider=result.provider,
        reason=result.reason,
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000.0, 1)
