"""What Huawei Push Kit gets: a data message for one token."""

from collections.abc import Mapping
from typing import Any

from ..core.payload import Privacy, Push, fitted, payload
from .android_message import LONGEST, MADE_UP_TOKEN, encoded, is_urgent, ttl


def body(push: Push, *, privacy: Privacy, shortest: bool, high: bool) -> bytes:
    """``shortest``: without all that can be left out; ``high``: the app may ask for urgency."""
    android: dict[str, Any] = {"ttl": ttl(push)}
    if high and is_urgent(push):
        # Together with a permission of the app's: wakes it, whatever the phone is saving.
        android |= {"urgency": "HIGH", "category": "VOIP"}

    def size(fields: Mapping[str, str]) -> int:
        return len(_message(fields, android, token=[]))

    fields = fitted(payload(push, privacy=privacy), size, 0 if shortest else LONGEST)
    return _message(fields, android, token=[push.device.token])


def trial() -> bytes:
    """A message that is only looked at, to a token that is nobody's."""
    message = {"data": "{}", "android": {"ttl": "1s"}, "token": [MADE_UP_TOKEN]}
    return encoded({"validate_only": True, "message": message})


def _message(fields: Mapping[str, str], android: Mapping[str, Any], *, token: list[str]) -> bytes:
    data = encoded(fields).decode()
    return encoded({"message": {"data": data, "android": android, "token": token}})
