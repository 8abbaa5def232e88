"""A call's life in the service's log: one line at each turn, all with its ``call_id``.

What happened between the turns is in the call's timeline (``push-proxy call ID``), not here:
a log of every step would be the larger part of a busy service's work.
"""

import structlog

from ..core.ids import split_account_key
from ..core.model import CallRecord, CallState

_log = structlog.get_logger(__name__)


def begun(record: CallRecord) -> None:
    """It has come. Numbers are cut short by `observability.redaction`."""
    _log.info(
        f"call -> {record.state}",
        call_id=record.id,
        sip_call_id=record.sip_call_id,
        direction=record.direction.value,
        tenant=split_account_key(record.account)[0],
        account=split_account_key(record.account)[1],
        caller=record.caller,
        callee=record.callee,
    )


def moved(before: CallRecord, after: CallRecord) -> None:
    """Its state has changed; the end is told by `ended`, with the outcome."""
    if after.state is not CallState.ENDED:
        _log.info(f"call {before.state} -> {after.state}", call_id=after.id)
    elif before.outcome is not None:
        ended(after, CallState.ANSWERED)


def decided(record: CallRecord) -> None:
    """It has its outcome: an answered one goes on, any other is over."""
    if record.state is CallState.ENDED and record.outcome is not None:
        ended(record, record.outcome.phase)


def ended(record: CallRecord, before: CallState) -> None:
    """How, why, and whose fault it was."""
    outcome = record.outcome
    if outcome is None:
        return
    more = {
        "cause": outcome.cause,
        "device": None if record.evidence is None else record.evidence.device,
    }
    _log.info(
        f"call {before} -> ended",
        call_id=record.id,
        verdict=outcome.verdict.value,
        fault=outcome.fault.value,
        status=outcome.status,
        ended_by=outcome.ended_by,
        seconds=None if record.ended_at is None else round(record.ended_at - record.started_at, 3),
        **{name: str(value) for name, value in more.items() if value},
    )
