"""Missed calls: which ones, and what operators' systems are told of them."""

from .ids import Instant
from .model import CallRecord, Direction, Verdict
from .notices import Notice, NoticeType
from .payload import Privacy, timestamp

_NOT_MISSED = frozenset(
    {Verdict.ANSWERED, Verdict.ANSWERED_ELSEWHERE, Verdict.DECLINED, Verdict.REFUSED}
)


def is_missed(call: CallRecord) -> bool:
    """Incoming, and not answered, declined, answered elsewhere or refused by a rule."""
    return (
        call.direction is Direction.INCOMING
        and call.outcome is not None
        and call.outcome.verdict not in _NOT_MISSED
    )


def missed_notice(call: CallRecord, *, privacy: Privacy, now: Instant) -> Notice | None:
    """``call.missed``, or None for a call that was not.

    A caller who asked for privacy is not in the record; with ``ids_only`` nobody is named.
    """
    if not is_missed(call) or call.outcome is None:
        return None
    data = {
        "call_id": call.id,
        "sip_call_id": call.sip_call_id,
        "verdict": call.outcome.verdict.value,
        "started_at": timestamp(call.started_at),
    }
    if privacy is Privacy.FULL:
        caller = {"caller_number": call.caller, "caller_name": call.caller_name}
        data |= {name: value for name, value in caller.items() if value}
    return Notice(type=NoticeType.CALL_MISSED, at=now, account=call.account, data=data)
