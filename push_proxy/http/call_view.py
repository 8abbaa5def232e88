"""A call as the API shows it."""

from pydantic import Field

from ..core.ids import split_account_key
from ..core.model import CallRecord, CallState, Direction, Fault, Verdict
from .call_advice import Advice
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
    node: str | None = Field(
        description="Of several nodes, the one that has or had the call; null: there was one."
    )
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
    cause: str = Field(
        description="Why, where something is known beyond the verdict: a word of docs/advice.md; "
        "else empty. Evidence that comes after the end may change it, never verdict or fault.",
        examples=["battery_saver"],
    )
    advice: str = Field(description="The same as a sentence, by the verdict if there is no cause.")
    decided_by: str | None = Field(
        description="The device that got furthest, whose part decided; null: none."
    )


class CallView(CallSummary):
    """A call with all that happened in it."""

    advice_steps: list[str] = Field(
        description="What to do about the cause, on this phone where its vendor is known."
    )
    timeline: list[TimelineView]


class CallList(View):
    """A page of calls, newest first."""

    calls: list[CallSummary]
    next_cursor: str | None


def summary(record: CallRecord, advice: Advice) -> CallSummary:
    """The call without its timeline."""
    return CallSummary(**_fields(record, advice))


def view(record: CallRecord, advice: Advice) -> CallView:
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
    return CallView(**_fields(record, advice), advice_steps=list(advice.steps), timeline=timeline)


def _fields(record: CallRecord, advice: Advice) -> dict[str, object]:
    outcome = record.outcome
    return {
        "id": record.id,
        "node": record.node or None,
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
        "cause": outcome.cause if outcome else "",
        "advice": advice.text,
        "decided_by": outcome.device if outcome else None,
    }


def _duration_s(record: CallRecord) -> float | None:
    if record.answered_at is None or record.ended_at is None:
        return None
    return round(record.ended_at - record.answered_at, 3)
