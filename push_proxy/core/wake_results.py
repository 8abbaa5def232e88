"""What came of the wakes of a call, one for each device that a call push was sent to."""

from collections.abc import Iterator

from .deadlines import give_up_at
from .events import PushOutcome
from .ids import DeviceId, Instant
from .model import Verdict
from .outcome import part_verdict
from .part import Part, Reach
from .wake_health import WakeEnd, WakeResult
from .wake_state import Live

_OURS = frozenset({Verdict.PROXY_ERROR, Verdict.OVERLOADED})


def wake_results(
    last: Live, verdict: Verdict, now: Instant
) -> Iterator[tuple[DeviceId, WakeResult]]:
    """Each pushed device and its result; ``last``: how the call stood when it ended, ``now``.

    A device that had been there before it was pushed, and did not return, is no wake at all.
    """
    for part in last.parts:
        if part.pushes == 0:
            continue
        woke = part.woke_at is not None or _refused_by_owner(part)
        if not woke and part.reached >= Reach.REGISTERED:
            continue
        end = WakeEnd.WOKE if woke else _missing(last, part, verdict, now)
        wake_s = None if part.woke_at is None else part.woke_at - last.invite.received_at
        yield (
            part.device,
            WakeResult(
                at=last.invite.received_at,
                over_at=now,
                call=last.invite.call,
                end=end,
                verdict=verdict if woke or _too_soon(part, end) else part_verdict(part),
                wake_s=wake_s,
                reason="" if woke else part.failure_reason,
            ),
        )


def _missing(last: Live, part: Part, verdict: Verdict, now: Instant) -> WakeEnd:
    """A device that did not come: whether that says anything of it.

    As with the call's verdict, a failure of less than the grace is none yet.
    """
    if verdict in _OURS:
        return WakeEnd.NO_EVIDENCE
    if part.accepted_at is None:
        rejected = part.failure is PushOutcome.REJECTED
        return WakeEnd.FAILED if rejected else WakeEnd.NO_EVIDENCE
    due = give_up_at(last, part)
    given_up = part.given_up or (due is not None and now >= due)
    patient = now - part.reached_at >= last.settings.answer_grace_s
    return WakeEnd.FAILED if given_up or patient else WakeEnd.NO_EVIDENCE


def _too_soon(part: Part, end: WakeEnd) -> bool:
    """Whether only the call's end says why there was no wake."""
    return end is WakeEnd.NO_EVIDENCE and part.failure is None


def _refused_by_owner(part: Part) -> bool:
    """On the push screen: no response of SIP said so."""
    answer = part.answer
    return answer is not None and answer.branch is None and answer.status in {486, 603}
