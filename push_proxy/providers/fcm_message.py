"""What FCM gets for each kind of push: data messages, for the app alone to show or not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from firebase_admin import messaging

from ..core.actions import PushType
from ..core.payload import Privacy, Push, fitted, payload

LIMIT = 4096
"""Bytes of ``data``, counted with JSON's own signs: more strictly than Google does."""
_DAY_S = 86_400
_RINGING_S = 60


@dataclass(frozen=True, slots=True)
class _Way:
    """How a kind of push travels."""

    priority: str
    ttl_s: int
    """FCM keeps it so long for a phone that cannot be reached."""
    latest_only: bool = False
    """A newer one replaces what is kept."""


_WAYS: Mapping[PushType, _Way] = MappingProxyType(
    {
        # Now or never: 0 is also what FCM never delays to collapse.
        PushType.CALL: _Way("high", 0),
        # These two show nothing. FCM lowers the priority of an app whose urgent messages of the
        # last seven days led to nothing that a person could see, and then calls come late. A phone
        # that rings is awake, so that they reach it as fast with normal priority; one that
        # sleeps has nothing to end.
        PushType.CANCEL: _Way("normal", _RINGING_S),
        PushType.ANSWERED_ELSEWHERE: _Way("normal", _RINGING_S),
        PushType.MISSED: _Way("normal", _DAY_S),
        # Somebody wrote: shown at once.
        PushType.MESSAGE: _Way("high", _DAY_S),
        PushType.VOICEMAIL: _Way("normal", _DAY_S, latest_only=True),
        PushType.REFRESH: _Way("normal", _DAY_S, latest_only=True),
    }
)


def message(
    push: Push,
    *,
    privacy: Privacy,
    shortest: bool = False,
    direct_boot: bool = False,
) -> messaging.Message:
    """The message of a push, its times being the world's.

    ``shortest``: without all that can be left out. ``direct_boot``: also to a phone that nobody
    has unlocked since it started; only calls are.
    """
    way = _WAYS[push.type]
    fields = fitted(payload(push, privacy=privacy), _size, 0 if shortest else LIMIT)
    made = messaging.Message(
        data={name: _plain(value) for name, value in fields.items()},
        android=messaging.AndroidConfig(
            priority=way.priority,
            ttl=way.ttl_s,
            collapse_key=push.type.value if way.latest_only else None,
            direct_boot_ok=True if direct_boot and push.type is PushType.CALL else None,
        ),
        fcm_options=messaging.FCMOptions(analytics_label=f"voip_{push.type.value}"),
    )
    return aimed(made, push.device.token, kind=push.device.token_kind)


def aimed(made: messaging.Message, target: str, *, kind: str = "token") -> messaging.Message:
    """The message for this device."""
    if kind == "fid":
        made.fid = target
    else:
        # Not by the constructor, which warns that tokens will go some day.
        made.token = target
    return made


def _size(fields: Mapping[str, str]) -> int:
    said = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return len(said.encode(errors="replace"))


def _plain(text: str) -> str:
    """Without half characters, which a caller's name may hold and JSON on the wire may not."""
    return text.encode(errors="replace").decode()
