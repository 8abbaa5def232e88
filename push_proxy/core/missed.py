"""Missed calls: which ones, who is told of them, and what operators' systems are told."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .ids import AccountKey, CallId, DeviceId, Instant
from .model import CallRecord, Direction, Fault, Outcome, TimelineEntry, Verdict
from .notices import Notice, NoticeType
from .payload import Privacy, timestamp

_NOT_MISSED = frozenset(
    {Verdict.ANSWERED, Verdict.ANSWERED_ELSEWHERE, Verdict.DECLINED, Verdict.REFUSED}
)
_DECLINES = ("486 ", "600 ", "603 ")
"""What phones answer when the person refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedCall:
    """A call that nobody took, kept until somebody of its account has seen it."""

    call: CallId
    account: AccountKey
    sip_call_id: str
    caller: str = ""
    """Number or user part; empty when ``Privacy: id`` asked for it."""
    caller_name: str = ""
    video: bool = False
    verdict: Verdict
    started_at: Instant
    missed_at: Instant
    """When it was decided: what comes later is newer, however long it rang."""
    owed: tuple[DeviceId, ...] = ()
    """Devices that have not taken a push about it."""

    def without(self, device: DeviceId) -> "MissedCall":
        """This device is not to be told any more."""
        return replace(self, owed=tuple(each for each in self.owed if each != device))


def missed_call(
    call: CallRecord, *, devices: Iterable[DeviceId], now: Instant
) -> MissedCall | None:
    """What is kept of a call, or None for one that was not missed.

    ``devices`` of its account are to be told, but for those on which the person refused it.
    """
    if not is_missed(call) or call.outcome is None:
        return None
    know = _declined_on(call.timeline)
    return MissedCall(
        call=call.id,
        account=call.account,
        sip_call_id=call.sip_call_id,
        caller=call.caller,
        caller_name=call.caller_name,
        video=call.video,
        verdict=call.outcome.verdict,
        started_at=call.started_at,
        missed_at=now,
        owed=tuple(device for device in devices if device not in know),
    )


def _declined_on(timeline: Iterable[TimelineEntry]) -> set[DeviceId]:
    """Devices that showed the call to the person, who refused it there."""
    rang, know = set[DeviceId](), set[DeviceId]()
    for entry in timeline:
        if entry.device is None:
            continue
        if entry.event == "device_ringing":
            rang.add(entry.device)
        elif entry.event in {"app_decline", "app_busy"} or (
            entry.event == "device_refused"
            and entry.device in rang
            and f"{entry.detail} ".startswith(_DECLINES)
        ):
            know.add(entry.device)
    return know


def is_missed(call: CallRecord) -> bool:
    """Incoming, and not answered, declined, answered elsewhere or refused by a rule.

    One that was forwarded because something had failed is missed; one that its owner, or a rule
    for every call, sent elsewhere is where it should be.
    """
    outcome = call.outcome
    return call.direction is Direction.INCOMING and outcome is not None and may_be_missed(outcome)


def may_be_missed(outcome: Outcome) -> bool:
    """Whether an incoming call that ended so is missed."""
    if outcome.verdict is Verdict.FORWARDED and outcome.fault is Fault.NOBODY:
        return False
    return outcome.verdict not in _NOT_MISSED


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
    if call.outcome.cause:
        data["cause"] = call.outcome.cause
    if privacy is Privacy.FULL:
        caller = {"caller_number": call.caller, "caller_name": call.caller_name}
        data |= {name: value for name, value in caller.items() if value}
    return Notice(type=NoticeType.CALL_MISSED, at=now, account=call.account, data=data)
