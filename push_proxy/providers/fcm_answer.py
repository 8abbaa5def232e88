"""What FCM said, read from the wire."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .retry_after import retry_after_s

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
"""Of an error. Anything else is not theirs, and may hold what no log is to show."""
_TARGETS = frozenset({"message.token", "message.fid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response, or why there was none."""

    status: int = 0
    """0: no answer came."""
    fault: str = ""
    """Without an answer: ``timeout``, ``connect_failed``, ``dns_failed``, ``tls_failed``,
    ``disconnected``, ``bad_url``, ``internal_error``; ``bad_message``: nothing was sent."""
    code: str = ""
    """FCM's ``errorCode``; else Google's ``status``; empty when the body is not theirs."""
    of_fcm: bool = False
    """The code is FCM's own."""
    about_target: bool = False
    """400: it is the token, or installation id, that is malformed."""
    too_big: bool = False
    """400: the message is over the limit."""
    one_device: bool = False
    """429: the quota is this device's, not the project's."""
    retry_after_s: float | None = None
    message_id: str = ""


def read(status: int, body: bytes, *, retry_after: str | None, unix: float) -> Answer:
    """An answer that is no success. ``unix``: now, for a Retry-After that is a date."""
    error = _error(body)
    details = [each for each in _list(error.get("details")) if isinstance(each, dict)]
    own = next((each for each in details if each.get("@type") == _FCM_ERROR), {})
    fields = {
        str(violation.get("field"))
        for each in details
        if each.get("@type") == _BAD_REQUEST
        for violation in _list(each.get("fieldViolations"))
        if isinstance(violation, dict)
    }
    code = own.get("errorCode") or error.get("status") or ""
    text = str(error.get("message", "")).lower()
    too_big = "too big" in text or "too large" in text
    # Without a field: FCM says so of tokens alone, and of what is too long.
    of_token = own.get("errorCode") == "INVALID_ARGUMENT" and not too_big
    malformed = bool(fields & _TARGETS) if fields else of_token
    return Answer(
        status=status,
        code=code if isinstance(code, str) and _NAME.fullmatch(code) else "",
        of_fcm=bool(own.get("errorCode")),
        about_target=status == 400 and malformed,
        too_big=status == 400 and too_big,
        one_device=status == 429 and _names_a_device(details),
        retry_after_s=retry_after_s(retry_after, unix=unix),
    )


def _names_a_device(details: list[dict[str, Any]]) -> bool:
    return any(
        "device" in f"{violation.get('subject')} {violation.get('description')}".lower()
        for each in details
        if each.get("@type") == _QUOTA_FAILURE
        for violation in _list(each.get("violations"))
        if isinstance(violation, dict)
    )


def _error(body: bytes) -> Mapping[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
