"""A call as the API shows it."""

from pydantic import Field

from ..core.ids import split_account_key
from ..core.model import CallRecord, CallState, Direction, Fault, Verdict
from .fields import Timestamp, View, maybe_rfc3339, rfc3339


class TimelineView(View):
    """One thing that happened."""

    at: Timestamp
    ms: float = Field(description="Milliseconds since the call began.")
    device: str | None
    event: str
    detail: str


class CallSummary(View):
    """A call, without its timeline."""

    id: str
    account: str
    direction: Direction
    sip_call_id: str
    caller_number: str = Field(description="Empty when the caller asked for privacy.")
    caller_name: str
    callee: str
    started_at: Timestamp
    answered_at: Timestamp | None
    ended_at: Timestamp | None
    duration_s: float | None = Field(
        description="Seconds from the answer to the end; null: not answered, or not ended yet."
    )
    state: CallState
    ended_by: str | None
    verdict: Verdict | None = Field(description="How it ended; null while it is open.")
    phase: CallState | None = Field(description="Where it stood when it ended.")
    fault: Fault | None
    status: int | None = Field(
        description="The final SIP status that the calling side got; 0: none."
    )
    advice: str


class CallView(CallSummary):
    """A call with all that happened in it."""

    timeline: list[TimelineView]


class CallList(View):
    """A page of calls, newest first."""

    calls: list[CallSummary]
    next_cursor: str | None


def summary(record: CallRecord) -> CallSummary:
    """The call without its timeline."""
    return CallSummary(**_fields(record))


def view(record: CallRecord) -> CallView:
    """The whole call."""
    timeline = [
        TimelineView(
            at=rfc3339(entry.at),
            ms=round((entry.at - record.started_at) * 1000.0, 3),
            device=entry.device,
            event=entry.event,
            detail=entry.detail,
        )
        for entry in record.timeline
    ]
    return CallView(**_fields(record), timeline=timeline)


def _fields(record: CallRecord) -> dict[str, object]:
    outcome = record.outcome
    return {
        "id": record.id,
        "account": split_account_key(record.account)[1],
        "direction": record.direction,
        "sip_call_id": record.sip_call_id,
        "caller_number": record.caller,
        "caller_name": record.caller_name,
        "callee": record.callee,
        "started_at": rfc3339(record.started_at),
        "answered_at": maybe_rfc3339(record.answered_at),
        "ended_at": maybe_rfc3339(record.ended_at),
        "duration_s": _duration_s(record),
        "state": record.state,
        "ended_by": outcome.ended_by if outcome else None,
        "verdict": outcome.verdict if outcome else None,
        "phase": outcome.phase if outcome else None,
        "fault": outcome.fault if outcome else None,
        "status": outcome.status if outcome else None,
        "advice": outcome.advice if outcome else "",
    }


def _duration_s(record: CallRecord) -> float | None:
    if record.answered_at is None or record.ended_at is None:
        return None
    return round(record.ended_at - record.answered_at, 3)
