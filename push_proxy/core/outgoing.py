"""How an app's own call ended, judged by the final response that it got (docs/contracts.md)."""

from .model import CallState, Outcome, Verdict
from .outcome import outcome

_BUSY = frozenset({486, 600})
_TIMEOUTS = frozenset({408, 480})
"""Nobody answered, if it rang at all; else the far end could not be reached."""


def answered() -> Outcome:
    """The far end's 2xx went to the app."""
    return outcome(Verdict.ANSWERED, phase=CallState.ANSWERED, ended_by="pbx", status=200)


def failed(status: int, *, local: bool, rang: bool) -> Outcome:
    """Another final response than 2xx; ``local``: made by us, for the PBX gave none."""
    verdict = _verdict(status, local=local, rang=rang)
    ended_by = "device" if verdict is Verdict.CALLER_CANCELLED else "pbx"
    return outcome(verdict, phase=_phase(rang=rang), ended_by=ended_by, status=status)


def vanished(*, rang: bool) -> Outcome:
    """The app's transaction was lost: nothing can be answered any more."""
    return outcome(Verdict.CALLER_CANCELLED, phase=_phase(rang=rang), ended_by="device", status=0)


def broken() -> Outcome:
    """We could not send the INVITE on."""
    return outcome(Verdict.PROXY_ERROR, phase=CallState.CALLING, ended_by="proxy", status=500)


def refused(status: int) -> Outcome:
    """We refused it by a rule, or with 503: no address of the PBX is known. Nothing has left."""
    if status == 503:
        verdict, ended_by = Verdict.OUTBOUND_FAILED, "pbx"
    else:
        verdict, ended_by = Verdict.REFUSED, "proxy"
    return outcome(verdict, phase=CallState.CALLING, ended_by=ended_by, status=status)


def _verdict(status: int, *, local: bool, rang: bool) -> Verdict:
    if status == 487:
        return Verdict.CALLER_CANCELLED
    if local:
        return Verdict.OUTBOUND_FAILED
    if status < 400:
        return Verdict.FORWARDED
    if status in _BUSY:
        return Verdict.BUSY
    if status == 603:
        return Verdict.DECLINED
    if status in _TIMEOUTS and rang:
        return Verdict.NO_ANSWER
    return Verdict.OUTBOUND_FAILED


def _phase(*, rang: bool) -> CallState:
    return CallState.RINGING if rang else CallState.CALLING
