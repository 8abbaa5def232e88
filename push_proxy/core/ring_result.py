"""How long the caller of a call to sleeping phones waited for the first one to ring."""

from dataclasses import dataclass
from enum import StrEnum

from .ids import DeviceId, Instant
from .model import Verdict
from .part import Part, Reach
from .wake_state import Live

_GAVE_UP = frozenset({Verdict.CALLER_CANCELLED, Verdict.ANSWERED_ELSEWHERE, Verdict.PBX_LOST})


class RingEnd(StrEnum):
    """What became of the waiting."""

    RANG = "rang"
    FAILED = "failed"
    GAVE_UP = "gave_up"
    """The caller's side went before that could be told: no evidence of anything."""


@dataclass(frozen=True, slots=True)
class RingResult:
    """One call."""

    end: RingEnd
    seconds: float
    """INVITE received to the first 18x or 2xx; else to the call's end."""
    device: DeviceId
    """The one that rang first, else the first that was pushed."""


def ring_result(last: Live, verdict: Verdict, now: Instant) -> RingResult | None:
    """``last``: how the call stood when it ended, ``now``.

    None: no phone slept, or one was awake beside the others.
    """
    pushed = [part for part in last.parts if part.pushes]
    if not pushed or any(_was_awake(part) for part in last.parts):
        return None
    rang = [part for part in pushed if part.reached is Reach.RANG]
    if rang:
        first = min(rang, key=lambda part: part.reached_at)
        return RingResult(RingEnd.RANG, first.reached_at - last.invite.received_at, first.device)
    waited_s = now - last.invite.received_at
    if verdict is Verdict.ANSWERED:
        answered = max(pushed, key=lambda part: part.reached)
        return RingResult(RingEnd.RANG, waited_s, answered.device)
    end = RingEnd.GAVE_UP if verdict in _GAVE_UP else RingEnd.FAILED
    return RingResult(end, waited_s, pushed[0].device)


def _was_awake(part: Part) -> bool:
    return part.pushes == 0 and part.reached >= Reach.REGISTERED
