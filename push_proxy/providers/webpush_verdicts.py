"""What a push service's answer says (RFC 8030 §5, §7.3, §8.4; RFC 8292 §4.2)."""

from ..ports import TokenFate
from .attempt import ACCEPTED, MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt
from .unanswered import PAUSE_S

TOO_LARGE = "http_413"
VAPID_FAULTS = frozenset({"http_401", "http_403"})


def judge(status: int, *, retry_after_s: float | None = None) -> Attempt:
    """The answer's status, and its Retry-After in seconds if it has one."""
    reason = f"http_{status}"
    if 200 <= status < 300:
        return Attempt(ACCEPTED, reason)
    match status:
        case 404 | 410:
            return Attempt(REJECTED, reason, token=TokenFate.DEAD)
        case 401 | 403:
            # Our key is not the one that the subscription was made for, or not valid at all.
            return Attempt(MISCONFIGURED, reason, blocks_s=60.0)
        case 413:
            return Attempt(MISCONFIGURED, reason, again=True, ours=True)
        case 408 | 425:
            return Attempt(UNAVAILABLE, reason, again=True)
        case 406 | 429:  # 406 is how Windows' push service says it
            if retry_after_s is None:
                return Attempt(UNAVAILABLE, reason)
            return _later(reason, retry_after_s)
    if 300 <= status < 400:
        # Redirects are not followed: only the app can say where its pushes go.
        return Attempt(REJECTED, reason)
    if status >= 500:
        if retry_after_s:
            return _later(reason, retry_after_s)
        return Attempt(UNAVAILABLE, reason, again=True, pause_s=PAUSE_S)
    return Attempt(MISCONFIGURED, reason)


def _later(reason: str, retry_after_s: float) -> Attempt:
    return Attempt(UNAVAILABLE, reason, again=True, pause_s=retry_after_s, blocks_s=retry_after_s)
