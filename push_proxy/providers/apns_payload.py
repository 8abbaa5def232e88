"""What a push looks like on its way to APNs: kind, topic, priority, end and body.

A call goes to the PushKit token as a VoIP push; everything else goes to the token for alerts,
since iOS ends an app that shows no call for a VoIP push, and takes its pushes away for good.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.actions import PushType
from ..core.payload import Privacy, Push, fitted, payload

VOIP_LIMIT, LIMIT = 5120, 4096
"""Bytes of a body (Apple: Generating a remote notification)."""
ONCE = 0
"""Try once, at once, and keep nothing.

Of a call: a phone that comes back later would ring for a caller who may be gone, and has to show
that call to the person. A time, were it the wake's end, is compared with Apple's clock: with ours
minutes behind, each call would count as over on arrival, be answered 200 and never delivered.
"""
ALERT_S = 86_400
"""A missed call is worth telling to a phone that was off for a day."""
_ALERTS: Mapping[PushType, str] = {
    PushType.MISSED: "push_proxy_missed",
    PushType.MESSAGE: "push_proxy_message",
    PushType.VOICEMAIL: "push_proxy_voicemail",
}
"""The ``loc-key`` of each kind that a person sees; with a caller ``_from`` follows."""
_OPTIONAL = ("caller_name", "caller_number", "sip_call_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApnsMessage:
    """A request's content, for any token."""

    push_type: str
    """``voip``, ``alert`` or ``background``: ``apns-push-type``."""
    topic: str
    priority: int
    expiration: int
    """Unix seconds, or `ONCE`."""
    body: bytes = field(repr=False)


def message(push: Push, *, app_id: str, privacy: Privacy, slim: bool = False) -> ApnsMessage:
    """The push as APNs takes it. Its times must be on the wall clock (`delivery.on_wall_clock`).

    ``slim``: without all that can be left out, for a server that found it too large.
    """
    fields = payload(push, privacy=privacy)
    if slim:
        fields.update({name: "" for name in _OPTIONAL if name in fields})
    if push.type is PushType.CALL:
        return ApnsMessage(
            push_type="voip",
            topic=f"{app_id}.voip",
            priority=10,
            expiration=ONCE,
            body=_body(push.type, fields, VOIP_LIMIT),
        )
    body = _body(push.type, fields, LIMIT)
    if push.type in _ALERTS:
        end = max(push.expires_at, push.sent_at + ALERT_S)
        return ApnsMessage(
            push_type="alert", topic=app_id, priority=10, expiration=int(end), body=body
        )
    # iOS takes background pushes with priority 5 alone.
    return ApnsMessage(
        push_type="background",
        topic=app_id,
        priority=5,
        expiration=int(push.expires_at) + 1,
        body=body,
    )


def to_alert_token(push_type: PushType) -> bool:
    """Whether such a push goes to ``alert_token``."""
    return push_type is not PushType.CALL


def _body(push_type: PushType, fields: Mapping[str, str], limit: int) -> bytes:
    def encoded(fields: Mapping[str, str]) -> bytes:
        said = {"aps": _aps(push_type, fields), **fields}
        # A caller's name may hold anything, half characters too.
        return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")

    return encoded(fitted(fields, lambda fields: len(encoded(fields)), limit))


def _aps(push_type: PushType, fields: Mapping[str, str]) -> dict[str, object]:
    """Apple's part of the body: what the system itself does with the push."""
    if push_type is PushType.CALL:
        return {}
    key = _ALERTS.get(push_type)
    if key is None:
        return {"content-available": 1}
    caller = fields.get("caller_name") or fields.get("caller_number")
    alert = {"loc-key": f"{key}_from", "loc-args": [caller]} if caller else {"loc-key": key}
    return {"alert": alert, "sound": "default"}
