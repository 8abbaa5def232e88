"""What an attempt says about an event, and when the next one is. Pure."""

from dataclasses import dataclass

from ..providers.retry_after import retry_after_s
from .pace import Pace

_HOPELESS = frozenset({"address_refused", "bad_url"})


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of one attempt."""

    taken: bool
    error: str = ""
    """Bounded; empty when taken."""
    again: bool = False
    """A later attempt may succeed; else the event is a dead letter."""
    after_s: float | None = None
    """The receiver asks for this pause."""


def judge_status(status: int, retry_after: str | None, *, now: float) -> Judgement:
    """By the answer's status. A redirect is not followed, so it is no success either."""
    error = f"http_{status}"
    if 200 <= status < 300:
        return Judgement(taken=True)
    if status in {408, 425, 429} or status >= 500:
        wait_s = retry_after_s(retry_after, unix=now)
        return Judgement(taken=False, error=error, again=True, after_s=wait_s)
    return Judgement(taken=False, error=error)


def judge_silence(reason: str) -> Judgement:
    """By why no answer came (`public_http.Unanswered`)."""
    return Judgement(taken=False, error=reason, again=reason not in _HOPELESS)


def retry_s(pace: Pace, *, attempts: int, after_s: float | None, chance: float) -> float:
    """How long an event waits after its ``attempts``-th failure; ``chance`` is in [0, 1)."""
    pause_s = min(pace.longest_retry_s, pace.first_retry_s * 2.0 ** min(attempts - 1, 30))
    pause_s *= 0.5 + 0.5 * chance
    return max(pause_s, after_s or 0.0)


def pause_s(pace: Pace, *, failures: int, after_s: float) -> float:
    """How long a receiver is left alone of which the last ``failures`` rounds took nothing."""
    if failures == 0:
        return 0.0
    own_s = min(pace.longest_pause_s, pace.first_retry_s * 2.0 ** min(failures - 1, 30))
    return max(own_s, after_s)
