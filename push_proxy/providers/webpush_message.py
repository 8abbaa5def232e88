"""What a push service gets: headers, and a body that only the app can read (RFC 8291)."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping

from pywebpush import WebPusher

from ..core.actions import PushType
from ..core.payload import Privacy, Push, fitted, payload
from ..core.web_subscription import WebSubscription

LONGEST_TEXT = 4096 - 103
"""A body of 4096 bytes is taken by every push service (RFC 8030 §7.2); the header of the only
record, its padding and its tag are 103 of them (RFC 8291 §4)."""
_WINDOWS = ".notify.windows.com"
"""Where Edge subscribes."""
_URGENT = frozenset({PushType.CALL, PushType.CANCEL, PushType.ANSWERED_ELSEWHERE})


def headers(push: Push, subscription: WebSubscription, *, authorization: str) -> dict[str, str]:
    """The headers of RFC 8030 §5."""
    urgent = push.type in _URGENT
    said = {
        "Authorization": authorization,
        # Of a call that is over nobody needs to hear: now or never.
        "TTL": "0" if urgent else str(max(0, math.ceil(push.expires_at - push.sent_at))),
        "Urgency": "high" if urgent else "normal",
        "Topic": _topic(push),
    }
    if subscription.origin.endswith(_WINDOWS):
        # It answers 400 to a TTL that its own header does not go with.
        said["X-WNS-Cache-Policy"] = "no-cache" if said["TTL"] == "0" else "cache"
    if subscription.p256dh:
        said["Content-Encoding"] = "aes128gcm"
        said["Content-Type"] = "application/octet-stream"
    return said


def body(
    push: Push, subscription: WebSubscription, *, privacy: Privacy, shortest: bool = False
) -> bytes:
    """The payload, encrypted; empty for a bare endpoint, whose app only wakes.

    ``shortest``: without all that can be left out.
    """
    if not subscription.p256dh:
        return b""
    fields = fitted(payload(push, privacy=privacy), _size, 0 if shortest else LONGEST_TEXT)
    pusher = WebPusher(
        {
            "endpoint": subscription.endpoint,
            "keys": {"p256dh": _b64(subscription.p256dh), "auth": _b64(subscription.auth)},
        }
    )
    encrypted: bytes = pusher.encode(_text(fields))["body"]
    return encrypted


def _topic(push: Push) -> str:
    """Of pushes with the same topic the service keeps the last one alone (RFC 8030 §5.4).

    A call that is still in its queue gives way to its own end, and to its own second push. That it
    was missed stays there until the browser comes, whatever else is said of the call.
    """
    if push.call is None:
        return push.type.value
    about = f"missed {push.call}" if push.type is PushType.MISSED else push.call
    return _b64(hashlib.sha256(about.encode()).digest()[:24])


def _text(fields: Mapping[str, str]) -> bytes:
    # A caller's name may hold anything.
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _size(fields: Mapping[str, str]) -> int:
    return len(_text(fields))


def _b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
