"""How a call ended, at which hop, and whose fault it was (docs/contracts.md).

One table ranks the verdicts by how far a device got; with several devices the one that got
furthest decides. A CANCEL hides no failure: what had gone wrong for long enough when the
caller gave up is still what went wrong.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from .events import PushOutcome
from .ids import DeviceId, Instant
from .model import CallState, Fault, Outcome, Verdict
from .part import Part, Reach

FAULTS: dict[Verdict, Fault] = {
    Verdict.ANSWERED: Fault.NOBODY,
    Verdict.DECLINED: Fault.NOBODY,
    Verdict.BUSY: Fault.NOBODY,
    Verdict.NO_ANSWER: Fault.NOBODY,
    Verdict.ANSWERED_ELSEWHERE: Fault.NOBODY,
    Verdict.CALLER_CANCELLED: Fault.NOBODY,
    Verdict.NOT_WOKEN: Fault.PHONE_OR_NETWORK,
    Verdict.WOKE_NOT_REGISTERED: Fault.APP,
    Verdict.REGISTERED_NOT_RINGING: Fault.APP_OR_NETWORK,
    Verdict.DEVICE_ERROR: Fault.APP,
    Verdict.PUSH_REJECTED: Fault.APP_CONFIGURATION,
    Verdict.PROVIDER_UNAVAILABLE: Fault.PROVIDER,
    Verdict.NO_DEVICE: Fault.APP_CONFIGURATION,
    Verdict.REFUSED: Fault.NOBODY,
    Verdict.OVERLOADED: Fault.PROXY,
    Verdict.FORWARDED: Fault.NOBODY,
    Verdict.PBX_LOST: Fault.PBX,
    Verdict.OUTBOUND_FAILED: Fault.PBX,
    Verdict.PROXY_ERROR: Fault.PROXY,
}

_FURTHEST: tuple[Verdict, ...] = (
    Verdict.NO_DEVICE,
    Verdict.PUSH_REJECTED,
    Verdict.PROVIDER_UNAVAILABLE,
    Verdict.NOT_WOKEN,
    Verdict.WOKE_NOT_REGISTERED,
    Verdict.REGISTERED_NOT_RINGING,
    Verdict.DEVICE_ERROR,
    Verdict.NO_ANSWER,
    Verdict.FORWARDED,
    Verdict.BUSY,
    Verdict.DECLINED,
)
_RANK = {verdict: rank for rank, verdict in enumerate(_FURTHEST)}

_ADVICE: dict[Verdict, str] = {
    Verdict.NOT_WOKEN: "The push service took the push but the phone gave no sign of life: check"
    " that it is on, online and lets the app receive pushes in the background.",
    Verdict.WOKE_NOT_REGISTERED: "The app got the push but did not register: check its SIP"
    " account, and that its network lets SIP through.",
    Verdict.REGISTERED_NOT_RINGING: "The call was sent to the app but it did not ring: check the"
    " app's log, and NAT or firewall between the phone and us.",
    Verdict.DEVICE_ERROR: "The app refused the call with an error: its log says why.",
    Verdict.PUSH_REJECTED: "The push service refused the push. push_rejected in the timeline: the"
    " app has to hand in a new token; push_misconfigured: our credentials or the app id are wrong."
    " docs/push-reasons.md says what to do about the reason that stands there.",
    Verdict.PROVIDER_UNAVAILABLE: "The push service did not take the push in time."
    " docs/push-reasons.md says what to do about the reason at push_unavailable in the timeline;"
    " if none is there, check that the service is reachable from here.",
    Verdict.NO_DEVICE: "The account has no device that can be woken: let the app register its"
    " push token.",
    Verdict.PROXY_ERROR: "This service was stopped while the call waited, or failed: its log says"
    " why.",
    Verdict.OVERLOADED: "Too many calls were waiting for phones at that moment: look at this"
    " machine's load and at wake.max_waiting.",
    Verdict.OUTBOUND_FAILED: "The PBX did not put the app's call through: its answer is in"
    " `status` (408 and 503 with nothing in the PBX's own log: it did not answer at all).",
    Verdict.PBX_LOST: "The PBX's side of the call vanished: check the connection to the PBX.",
}

# Q.850: 0 (Asterisk's Dial timeout), 18 no user responding, 19 no answer, 102 timer expired.
_TIMER_CAUSES = frozenset({("Q.850", n) for n in (0, 18, 19, 102)} | {("SIP", 408), ("SIP", 480)})
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_CAUSE = re.compile(r"^\s*([^\s;]+)\s*;(?:.*;)?\s*cause\s*=\s*(\d{1,9})(?!\d)", re.IGNORECASE)


class _Cancelled(NamedTuple):
    verdict: Verdict
    phase: CallState


def causes(reason: str) -> frozenset[tuple[str, int]]:
    """Protocols and causes of a Reason header's value (RFC 3326), the protocol in capitals."""
    items = _QUOTED.sub("", reason).split(",")
    found = (_CAUSE.match(item) for item in items)
    return frozenset((match[1].upper(), int(match[2])) for match in found if match)


def was_answered_elsewhere(reason: str) -> bool:
    """Whether a CANCEL says that another phone took the call."""
    return ("SIP", 200) in causes(reason)


def part_verdict(part: Part) -> Verdict:
    """What came of one device if nothing more comes of it."""
    if part.answer is not None:
        return _answer_verdict(part.answer.status, rang=part.reached is Reach.RANG)
    match part.reached:
        case Reach.RANG:
            return Verdict.NO_ANSWER
        case Reach.REGISTERED:
            return Verdict.REGISTERED_NOT_RINGING
        case Reach.WOKE:
            return Verdict.WOKE_NOT_REGISTERED
        case Reach.ACCEPTED:
            return Verdict.NOT_WOKEN
        case Reach.PUSHED if part.failure in {PushOutcome.REJECTED, PushOutcome.MISCONFIGURED}:
            return Verdict.PUSH_REJECTED
        case Reach.PUSHED:
            return Verdict.PROVIDER_UNAVAILABLE
        case Reach.NOTHING:
            # Called at its binding without a push, and not a word came back.
            return Verdict.NO_DEVICE if part.binding is None else Verdict.REGISTERED_NOT_RINGING


def _answer_verdict(status: int, *, rang: bool) -> Verdict:
    if status in {486, 600}:
        return Verdict.BUSY
    if status == 603:
        return Verdict.DECLINED
    if status < 400:
        return Verdict.FORWARDED
    if rang and status in {408, 480, 487}:
        return Verdict.NO_ANSWER
    return Verdict.DEVICE_ERROR


def furthest(parts: Sequence[Part]) -> Part | None:
    """The device that decides: of equals the one that might still have come."""
    return max(parts, key=_distance, default=None)


def _distance(part: Part) -> tuple[int, bool, bool]:
    # An INVITE into the blue, with nothing heard back, got no further than a push did.
    blind = part.answer is None and part.reached is Reach.NOTHING
    rank = 0 if blind else _RANK[part_verdict(part)]
    return rank, part.binding is not None, part.awaited


def exhausted(parts: Sequence[Part], *, status: int, ended_by: str) -> Outcome:
    """No device can come any more; the PBX gets ``status``."""
    part = furthest(parts)
    verdict = Verdict.NO_DEVICE if part is None else part_verdict(part)
    rang = any(part.reached is Reach.RANG for part in parts)
    result = outcome(
        verdict,
        phase=CallState.RINGING if rang else CallState.WAKING,
        ended_by=ended_by,
        status=status,
    )
    if verdict is Verdict.NO_DEVICE and (faults := _token_faults(parts)):
        dead = next(part for part in parts if part.token_fault)
        return replace(result, advice=faults, device=dead.device)
    return replace(result, device=None if part is None else part.device)


def _token_faults(parts: Sequence[Part]) -> str:
    """What there was to wake, once."""
    named = ", ".join(f"{p.device} ({p.token_fault})" for p in parts if p.token_fault)
    return named and f"Push tokens that have ended: {named}. The app has to hand in a new one."


def cancelled(
    parts: Sequence[Part], reason: str, *, ringing: bool, now: Instant, grace_s: float
) -> Outcome:
    """CANCEL came from the PBX, with this Reason; ``ringing``: a device rings now.

    A failure of less than ``grace_s`` is none yet: the caller just had no patience.
    """
    by_timer = not _TIMER_CAUSES.isdisjoint(causes(reason))
    elsewhere = was_answered_elsewhere(reason)
    verdict, phase = _when_cancelled(
        parts, ringing=ringing, by_timer=by_timer, now=now, grace_s=grace_s
    )
    if elsewhere:
        verdict = Verdict.ANSWERED_ELSEWHERE
    ended_by = "pbx" if by_timer or elsewhere else "caller"
    rings = [part for part in parts if part.reached is Reach.RANG and part.answer is None]
    decided = furthest(rings if ringing and rings else parts)
    result = outcome(verdict, phase=phase, ended_by=ended_by, status=487)
    return replace(result, device=None if decided is None else decided.device)


def _when_cancelled(
    parts: Sequence[Part], *, ringing: bool, by_timer: bool, now: Instant, grace_s: float
) -> _Cancelled:
    part = furthest(parts)
    rang = ringing or any(part.reached is Reach.RANG for part in parts)
    phase = CallState.RINGING if rang else CallState.WAKING
    if part is None or (ringing and not by_timer):
        return _Cancelled(Verdict.CALLER_CANCELLED, phase)
    if ringing:
        return _Cancelled(Verdict.NO_ANSWER, phase)
    verdict = part_verdict(part)
    if part.answer is not None or now - part.reached_at >= grace_s:
        return _Cancelled(verdict, phase)
    return _Cancelled(Verdict.CALLER_CANCELLED, phase)


def answered(device: DeviceId | None = None) -> Outcome:
    """A device's 2xx went to the PBX."""
    result = outcome(Verdict.ANSWERED, phase=CallState.ANSWERED, ended_by="device", status=200)
    return replace(result, device=device)


def lost(*, ringing: bool) -> Outcome:
    """The PBX's transaction is gone: nothing can be answered any more."""
    phase = CallState.RINGING if ringing else CallState.WAKING
    return outcome(Verdict.PBX_LOST, phase=phase, ended_by="pbx", status=0)


def given_up(*, ringing: bool) -> Outcome:
    """We were stopped while the call waited, or failed."""
    phase = CallState.RINGING if ringing else CallState.WAKING
    return outcome(Verdict.PROXY_ERROR, phase=phase, ended_by="proxy", status=480)


def by_rule(verdict: Verdict, *, status: int) -> Outcome:
    """A rule of the account ended the call as it came: nobody was woken."""
    return outcome(verdict, phase=CallState.WAKING, ended_by="proxy", status=status)


def replacement_failed(status: int, *, local: bool, rang: bool) -> Outcome:
    """A call that should have replaced another got this from its device; ``local``: nothing."""
    if status == 487:
        verdict = Verdict.CALLER_CANCELLED
    elif local:
        verdict = Verdict.NO_ANSWER if rang else Verdict.REGISTERED_NOT_RINGING
    else:
        verdict = _answer_verdict(status, rang=rang)
    return outcome(
        verdict,
        phase=CallState.RINGING if rang else CallState.WAKING,
        ended_by="caller" if status == 487 else "device",
        status=status,
    )


def outcome(verdict: Verdict, *, phase: CallState, ended_by: str, status: int) -> Outcome:
    """An outcome with the fault and advice that go with its verdict."""
    return Outcome(
        verdict=verdict,
        fault=FAULTS[verdict],
        phase=phase,
        ended_by=ended_by,
        status=status,
        advice=advice_by_verdict(verdict),
    )


def advice_by_verdict(verdict: Verdict) -> str:
    """What a verdict alone says, in English; empty: nothing is to be done."""
    return _ADVICE.get(verdict, "")
