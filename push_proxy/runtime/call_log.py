"""A call's life in the service's log: one line at each turn, all with its ``call_id``.

What happened between the turns is in the call's timeline (``push-proxy call ID``), not here:
a log of every step would be the larger part of a busy service's work.
"""

import logging

import structlog

from ..core.ids import split_account_key
from ..core.model import CallRecord, CallState
from ..observability.logs import are_told
from .live_call import LiveCall

_log = structlog.get_logger(__name__)


def begun(record: CallRecord) -> None:
    """It has come. Numbers are cut short by `observability.redaction`."""
    if not are_told(logging.INFO):
        return
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


def moved(before: CallState, call: LiveCall) -> None:
    """Its state has changed; the end is told by `ended`, with the outcome."""
    if not are_told(logging.INFO):
        return
    if call.state is not CallState.ENDED:
        _log.info(f"call {before} -> {call.state}", call_id=call.id)
    elif call.outcome is not None:
        ended(call, CallState.ANSWERED)


def decided(call: LiveCall) -> None:
    """It has its outcome: an answered one goes on, any other is over."""
    if call.state is CallState.ENDED and call.outcome is not None and are_told(logging.INFO):
        ended(call, call.outcome.phase)


def ended(call: LiveCall, before: CallState) -> None:
    """How, why, and whose fault it was."""
    outcome = call.outcome
    if outcome is None:
        return
    more = {
        "cause": outcome.cause,
        "device": None if call.evidence is None else call.evidence.device,
    }
    _log.info(
        f"call {before} -> ended",
        call_id=call.id,
        verdict=outcome.verdict.value,
        fault=outcome.fault.value,
        status=outcome.status,
        ended_by=outcome.ended_by,
        seconds=None if call.ended_at is None else round(call.ended_at - call.started_at, 3),
        **{name: str(value) for name, value in more.items() if value},
    )
