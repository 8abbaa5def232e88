"""What RuStore's answer says: the status of its error, and the HTTP status."""

import json
import re
from dataclasses import dataclass

from ..ports import TokenFate
from .attempt import ACCEPTED, MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt
from .unanswered import PAUSE_S

BLOCKS_S = 60.0
TOO_LARGE = "http_413"
_WITHOUT_HEADER_S = 5.0
_NAME = re.compile(r"[A-Z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Said:
    """An answer's body."""

    status: str = ""
    """``NOT_FOUND``…; empty: no error of RuStore's."""
    of_token: bool = False
    """It is the push token that is wrong, not the rest of the message."""


def said(body: bytes) -> Said:
    """Read an error."""
    try:
        answer = json.loads(body)
        error = answer.get("error", answer)
        status, message = error["status"], str(error.get("message", ""))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return Said()
    if not isinstance(status, str) or not _NAME.fullmatch(status):
        return Said()
    return Said(status, "registration token" in message)


def judge(status: int, answer: Said, *, retry_after_s: float | None = None) -> Attempt:
    """The HTTP status decides where the body does not say more."""
    if 200 <= status < 300:
        return Attempt(ACCEPTED, f"http_{status}")
    reason = answer.status or f"http_{status}"
    match status, answer.status:
        case (404, "NOT_FOUND" | "UNREGISTERED") | (410, _):
            return Attempt(REJECTED, reason, token=TokenFate.DEAD)
        case 400, "INVALID_ARGUMENT" if answer.of_token:
            return Attempt(REJECTED, "INVALID_TOKEN", token=TokenFate.DEAD)
        case 400, _:
            return Attempt(MISCONFIGURED, reason, ours=True)
        case (401 | 403, _) | (404, _):
            return Attempt(MISCONFIGURED, reason, blocks_s=BLOCKS_S)
        case 413, _:
            return Attempt(MISCONFIGURED, TOO_LARGE, again=True, ours=True)
        case 429, _:
            pause_s = _WITHOUT_HEADER_S if retry_after_s is None else retry_after_s
            return Attempt(UNAVAILABLE, reason, again=True, pause_s=pause_s, blocks_s=pause_s)
    if status >= 500:
        if retry_after_s:
            return Attempt(
                UNAVAILABLE, reason, again=True, pause_s=retry_after_s, blocks_s=retry_after_s
            )
        return Attempt(UNAVAILABLE, reason, again=True, pause_s=PAUSE_S)
    return Attempt(MISCONFIGURED, reason)
