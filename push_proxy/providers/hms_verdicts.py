"""What Huawei's answer says: its result code, and the HTTP status where there is none."""

import json
from dataclasses import dataclass, replace

from ..ports import TokenFate
from .attempt import ACCEPTED, MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt
from .unanswered import PAUSE_S

BLOCKS_S = 60.0
SMALLER_HELPS = frozenset({"80100016", "80300008"})
NO_HIGH_URGENCY = "80300011"
NO_PERMISSION = "80300002"
"""Of the app, or for this one token because it is another app's: it does not say which."""
CREDENTIALS = frozenset({"80200001", "80200003", "80200005", "http_401"})

_PARTLY = "80100000"
_TABLE = {
    "80000000": Attempt(ACCEPTED, "80000000"),
    _PARTLY: Attempt(ACCEPTED, _PARTLY),
    # A call's data is taken for offensive: the caller's name can do that.
    "80100016": Attempt(REJECTED, "80100016", again=True),
    "80200001": Attempt(MISCONFIGURED, "80200001", blocks_s=BLOCKS_S),
    "80200003": Attempt(MISCONFIGURED, "80200003", blocks_s=BLOCKS_S),
    "80200005": Attempt(MISCONFIGURED, "80200005", blocks_s=BLOCKS_S),
    NO_PERMISSION: Attempt(MISCONFIGURED, NO_PERMISSION, blocks_s=BLOCKS_S),
    "80300007": Attempt(REJECTED, "80300007", token=TokenFate.DEAD),
    "80300008": Attempt(MISCONFIGURED, "80300008", again=True, ours=True),
    NO_HIGH_URGENCY: Attempt(MISCONFIGURED, NO_HIGH_URGENCY, again=True),
    "80600003": Attempt(UNAVAILABLE, "80600003", again=True, pause_s=PAUSE_S),
    "81000001": Attempt(UNAVAILABLE, "81000001", again=True, pause_s=PAUSE_S),
}


@dataclass(frozen=True, slots=True)
class Said:
    """An answer's body."""

    code: str = ""
    """Eight digits; empty: no answer of Push Kit."""
    illegal: bool = False
    """The token is among those that could not be pushed to."""
    request_id: str = ""


def said(body: bytes, *, token: str) -> Said:
    """Read the answer to a push to this token."""
    try:
        answer = json.loads(body)
        code = answer["code"]
        details = answer.get("msg", "")
        request_id = str(answer.get("requestId", ""))[:64]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return Said()
    if not isinstance(code, str) or len(code) != 8 or not code.isascii() or not code.isdigit():
        return Said()
    return Said(code, code == _PARTLY and _is_illegal(details, token), request_id)


def _is_illegal(details: object, token: str) -> bool:
    try:
        illegal = json.loads(str(details))["illegal_tokens"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(illegal, list) and token in illegal


def judge(
    status: int, answer: Said, *, retry_after_s: float | None = None, renewed: bool = False
) -> Attempt:
    """``renewed``: the access token was fetched for this very request."""
    attempt = _attempt(status, answer, retry_after_s)
    if attempt.reason in CREDENTIALS and not renewed:
        # It may have ended early: one request with a new one decides.
        attempt = replace(attempt, again=True, blocks_s=0.0)
    return replace(attempt, provider_id=answer.request_id)


def _attempt(status: int, answer: Said, retry_after_s: float | None) -> Attempt:
    if answer.illegal:
        return Attempt(REJECTED, answer.code, token=TokenFate.DEAD)
    if answer.code in _TABLE:
        return _TABLE[answer.code]
    reason = f"http_{status}"
    match status:
        case 401:
            return Attempt(MISCONFIGURED, reason, blocks_s=BLOCKS_S)
        case 404:
            # The address names our app, not the phone.
            return Attempt(MISCONFIGURED, reason, blocks_s=BLOCKS_S)
        case 429 | 503:
            pause_s = 1.0 if retry_after_s is None else retry_after_s
            return Attempt(UNAVAILABLE, reason, again=True, pause_s=pause_s, blocks_s=pause_s)
    if status >= 500:
        return Attempt(UNAVAILABLE, reason, again=True, pause_s=PAUSE_S)
    # 801…: the message's form; anything else is not in the documentation.
    return Attempt(MISCONFIGURED, answer.code or reason, ours=answer.code.startswith("801"))
