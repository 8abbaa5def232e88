"""What each answer of APNs says about the push, its token and its app."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..core.ids import Instant
from ..ports import TokenFate
from .attempt import ACCEPTED, MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt

BLOCK_S = 60.0
"""Between trials of an app whose configuration APNs refuses."""
SAME_DEVICE_S = 1.0
"""Pause of a device that had too many pushes: at most one more, and only while the call waits."""
BAD_DEVICE_TOKEN = "BadDeviceToken"  # noqa: S105 - names of errors, no tokens
EXPIRED_PROVIDER_TOKEN = "ExpiredProviderToken"  # noqa: S105
TOO_MANY_TOKENS = "TooManyProviderTokenUpdates"
TOO_LARGE = "PayloadTooLarge"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    reason: str = ""
    """As APNs named it; empty when its body named none that is documented."""
    timestamp_ms: int | None = None
    """Of a 410: since when the token is dead."""
    apns_id: str = ""
    date: str = ""
    """The Date header, if there was one."""

    @classmethod
    def read(cls, headers: Mapping[bytes, bytes], body: bytes) -> "Answer":
        """From the wire. A body that is not the JSON object that it should be says nothing."""
        try:
            said = json.loads(body) if body else {}
        except (ValueError, RecursionError):
            said = {}
        said = said if isinstance(said, dict) else {}
        status = headers.get(b":status", b"")
        reason, timestamp_ms = str(said.get("reason")), said.get("timestamp")
        return cls(
            status=int(status) if status.isdigit() else 0,
            reason=reason if reason in _BY_REASON else "",
            timestamp_ms=timestamp_ms if type(timestamp_ms) is int else None,
            apns_id=headers.get(b"apns-id", b"").decode("ascii", "replace")[:64],
            date=headers.get(b"date", b"").decode("ascii", "replace")[:64],
        )


def verdict(answer: Answer) -> Attempt:
    """By the reason; one that is not documented, or none, by the status."""
    known = _BY_REASON.get(answer.reason)
    attempt = known or _by_status(answer.status)
    if answer.status == 200:
        attempt = Attempt(ACCEPTED, "http_200")
    if attempt.token is TokenFate.DEAD and answer.timestamp_ms is not None:
        attempt = replace(attempt, dead_since=Instant(answer.timestamp_ms / 1000))
    return attempt


def proves_provider(answer: Answer) -> bool:
    """Whether the provider's credentials were good, and so more than one stream may be open."""
    return answer.status != 403 and answer.reason != TOO_MANY_TOKENS


def _ours(reason: str) -> Attempt:
    return Attempt(MISCONFIGURED, reason, ours=True)


def _refused(reason: str) -> Attempt:
    """The app's configuration is at fault: each of its pushes would fail alike."""
    return Attempt(MISCONFIGURED, reason, blocks_s=BLOCK_S)


def _again(reason: str, *, pause_s: float = 0.0) -> Attempt:
    return Attempt(UNAVAILABLE, reason, again=True, pause_s=pause_s)


def _dead(reason: str) -> Attempt:
    return Attempt(REJECTED, reason, token=TokenFate.DEAD)


def _by_status(status: int) -> Attempt:
    reason = f"http_{status}"
    if status == 403:
        return _refused(reason)
    if status == 410:
        return _dead(reason)
    if status == 413:
        return replace(_ours(reason), again=True)
    if status == 429:
        return _again(reason, pause_s=SAME_DEVICE_S)
    if 400 <= status < 500:
        return _ours(reason)
    return _again(reason)


_BY_REASON: Mapping[str, Attempt] = MappingProxyType(
    {
        attempt.reason: attempt
        for attempt in (
            # the token
            _dead(BAD_DEVICE_TOKEN),
            _dead("Unregistered"),
            _dead("ExpiredToken"),
            Attempt(REJECTED, "DeviceTokenNotForTopic", token=TokenFate.WRONG_APP),
            # the app's configuration
            _refused("BadTopic"),
            _refused("MissingTopic"),
            _refused("TopicDisallowed"),
            _refused("InvalidProviderToken"),
            _refused("MissingProviderToken"),
            _refused("UnrelatedKeyIdInToken"),
            _refused("BadEnvironmentKeyIdInToken"),
            _refused("BadCertificate"),
            _refused("BadCertificateEnvironment"),
            _refused("Forbidden"),
            # The second one in a row, that is: a renewed token was no better.
            replace(_refused(EXPIRED_PROVIDER_TOKEN), again=True),
            # our own faults
            _ours("BadCollapseId"),
            _ours("BadExpirationDate"),
            _ours("BadMessageId"),
            _ours("BadPriority"),
            _ours("InvalidPushType"),
            _ours("DuplicateHeaders"),
            _ours("PayloadEmpty"),
            _ours("MissingDeviceToken"),
            _ours("BadPath"),
            _ours("MethodNotAllowed"),
            replace(_ours(TOO_LARGE), again=True),
            # the moment
            _again("IdleTimeout"),
            _again("TooManyRequests", pause_s=SAME_DEVICE_S),
            _again(TOO_MANY_TOKENS),
            _again("InternalServerError"),
            _again("ServiceUnavailable"),
            _again("Shutdown"),
        )
    }
)
