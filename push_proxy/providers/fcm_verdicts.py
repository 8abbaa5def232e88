"""What each answer of FCM says about the push, its token and its app."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..ports import TokenFate
from .attempt import ACCEPTED, MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt
from .fcm_answer import Answer
from .fcm_token import BLOCKS_S
from .unanswered import PAUSE_S

QUOTA_S = 60.0
"""Without Retry-After: quotas are counted by the minute."""
UNAUTHENTICATED = "UNAUTHENTICATED"
THIRD_PARTY = frozenset({"THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"})
"""Of phones that are not Android's: may be the fault of one device's kind alone."""
TOO_BIG = "MESSAGE_TOO_BIG"

_DEAD = TokenFate.DEAD
_BY_CODE: Mapping[str, Attempt] = MappingProxyType(
    {
        attempt.reason: attempt
        for attempt in (
            Attempt(REJECTED, "UNREGISTERED", token=_DEAD),
            Attempt(REJECTED, "SENDER_ID_MISMATCH", token=TokenFate.WRONG_APP),
            Attempt(MISCONFIGURED, "THIRD_PARTY_AUTH_ERROR", blocks_s=BLOCKS_S),
            Attempt(MISCONFIGURED, "APNS_AUTH_ERROR", blocks_s=BLOCKS_S),
            Attempt(UNAVAILABLE, "INTERNAL", again=True, pause_s=PAUSE_S),
            Attempt(UNAVAILABLE, "UNAVAILABLE", again=True, pause_s=PAUSE_S),
        )
    }
)
_BY_FAULT: Mapping[str, Attempt] = MappingProxyType(
    {
        attempt.reason: attempt
        for attempt in (
            Attempt(UNAVAILABLE, "timeout", again=True),
            # Most often a kept connection that the server has just given up.
            Attempt(UNAVAILABLE, "disconnected", again=True),
            Attempt(UNAVAILABLE, "connect_failed", again=True, pause_s=PAUSE_S),
            Attempt(UNAVAILABLE, "dns_failed", again=True, pause_s=PAUSE_S),
            Attempt(MISCONFIGURED, "tls_failed"),
            Attempt(MISCONFIGURED, "bad_url"),
            Attempt(MISCONFIGURED, "bad_message", ours=True),
            Attempt(UNAVAILABLE, "internal_error", again=True),
        )
    }
)


def verdict(answer: Answer, *, renewed: bool) -> Attempt:
    """``renewed``: the access token is one that was fetched because another one was refused."""
    if answer.status == 0:
        return _BY_FAULT.get(answer.fault, _BY_FAULT["internal_error"])
    if 200 <= answer.status < 300:
        return Attempt(ACCEPTED, f"http_{answer.status}", provider_id=answer.message_id)
    match answer.status:
        case 400:
            return _bad_request(answer)
        case 401 if answer.code not in THIRD_PARTY:
            # Our token was revoked, or it ended early.
            blocks_s = BLOCKS_S if renewed else 0.0
            return Attempt(MISCONFIGURED, UNAUTHENTICATED, again=not renewed, blocks_s=blocks_s)
        case 429:
            return _quota(answer)
    known = _BY_CODE.get(answer.code) if answer.of_fcm or answer.status >= 500 else None
    return _timed(known or _by_status(answer), answer)


def _bad_request(answer: Answer) -> Attempt:
    if answer.too_big:
        return Attempt(MISCONFIGURED, TOO_BIG, again=True, ours=True)
    if answer.about_target:
        return Attempt(REJECTED, "INVALID_TOKEN", token=_DEAD)
    return Attempt(MISCONFIGURED, answer.code or "http_400", ours=True)


def _quota(answer: Answer) -> Attempt:
    wanted_s = answer.retry_after_s
    if answer.one_device:
        return Attempt(UNAVAILABLE, "DEVICE_QUOTA_EXCEEDED")
    if wanted_s is None:
        return Attempt(UNAVAILABLE, "QUOTA_EXCEEDED", blocks_s=QUOTA_S)
    pause_s = max(wanted_s, PAUSE_S)
    return Attempt(UNAVAILABLE, "QUOTA_EXCEEDED", again=True, pause_s=pause_s, blocks_s=pause_s)


def _by_status(answer: Answer) -> Attempt:
    status = answer.status
    reason = answer.code or f"http_{status}"
    if status >= 500 or status == 408:
        return Attempt(UNAVAILABLE, f"http_{status}", again=True, pause_s=PAUSE_S)
    if status == 404 and answer.code:
        # Google's, but not FCM's: it does not say what was not found, so nobody else is blocked.
        return Attempt(MISCONFIGURED, reason)
    if status in {403, 404} or status < 400:
        # No permission, the API is off, or it is not FCM at all that answers there.
        return Attempt(MISCONFIGURED, reason, blocks_s=BLOCKS_S)
    return Attempt(MISCONFIGURED, reason, ours=True)


def _timed(attempt: Attempt, answer: Answer) -> Attempt:
    """Not again before FCM wants to be asked again."""
    if attempt.again and answer.retry_after_s is not None:
        return replace(attempt, pause_s=answer.retry_after_s)
    return attempt
