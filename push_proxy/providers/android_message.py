"""What the Android platforms of several makers have in common."""

import json
import math
from collections.abc import Mapping
from typing import Any

from ..core.actions import PushType
from ..core.payload import Push

LONGEST = 4096
"""Bytes of a message."""
MADE_UP_TOKEN = "push-proxy-doctor"  # noqa: S105 - no phone's
_URGENT = frozenset({PushType.CALL, PushType.CANCEL, PushType.ANSWERED_ELSEWHERE})


def is_urgent(push: Push) -> bool:
    """Whether a phone must be woken for it at once."""
    return push.type in _URGENT


def ttl(push: Push) -> str:
    """How long it may be kept for a phone that is away: as long as it makes sense.

    Never 0: what these platforms make of that is not documented, and a day is their default.
    """
    return f"{max(1, math.ceil(push.expires_at - push.sent_at))}s"


def encoded(message: Mapping[str, Any]) -> bytes:
    """As it goes out. A caller's name may hold anything."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
