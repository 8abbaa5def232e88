"""What FCM accepts of a message, as its reference documents it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .fcm_errors import Refusal, bad_request, too_big

LIMIT = 4096
LONGEST_TTL_S = 2_419_200
TARGETS = ("token", "fid", "topic", "condition")
_MESSAGE = frozenset(
    {*TARGETS, "name", "data", "notification", "android", "webpush", "apns", "fcm_options"}
)
_ANDROID = frozenset(
    {"collapse_key", "priority", "ttl", "restricted_package_name", "data", "notification",
     "fcm_options", "direct_boot_ok", "bandwidth_constrained_ok", "restricted_satellite_ok"}
)  # fmt: skip
_TTL = re.compile(r"[0-9]+(\.[0-9]{1,9})?s")
_LABEL = re.compile(r"[a-zA-Z0-9-_.~%]{1,50}")
_RESERVED = re.compile(r"from|message_type|gcm|google.*|gcm\..*")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,}:APA91b[A-Za-z0-9_-]{20,}")
_INSTALLATION = re.compile(r"[c-f][A-Za-z0-9_-]{21}")


def well_formed(kind: str, target: str) -> bool:
    """Whether FCM could have handed out such a token."""
    return (_TOKEN if kind == "token" else _INSTALLATION).fullmatch(target) is not None


def body_fault(body: bytes) -> Refusal | None:
    """Why the body cannot be read as a send request."""
    try:
        said = json.loads(body)
    except ValueError:
        return bad_request("", "Invalid JSON payload received. Parse error.")
    if not isinstance(said, dict) or not isinstance(said.get("message"), dict):
        return bad_request("message", "Recipient of the message is not set.")
    for name in said.keys() - {"message", "validate_only", "validateOnly"}:
        return _unknown(name, "")
    if not isinstance(said.get("validate_only", False), bool):
        return _invalid("validate_only", "TYPE_BOOL")
    return message_fault(said["message"])


def message_fault(message: dict[str, Any]) -> Refusal | None:
    """Why FCM does not take this message; nothing is said of the device."""
    return next(_faults(message), None)


def size_of(data: dict[str, str]) -> int:
    """The payload's bytes, as strictly as one may count them: with JSON's own signs."""
    return len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def ttl_of(android: dict[str, Any]) -> float | None:
    """Seconds; None when it is not given."""
    text = android.get("ttl")
    return None if text is None else float(str(text).removesuffix("s"))


def _faults(message: dict[str, Any]) -> Iterator[Refusal]:
    for name in message.keys() - _MESSAGE:
        yield _unknown(name, "message")
    given = [name for name in TARGETS if name in message]
    if len(given) != 1:
        yield bad_request("message", "Exactly one of token, fid, topic or condition must be set.")
    elif not isinstance(message[given[0]], str) or not message[given[0]]:
        yield _invalid(f"message.{given[0]}", "TYPE_STRING")
    yield from _data_faults(message.get("data", {}))
    android = message.get("android", {})
    if not isinstance(android, dict):
        yield _invalid("message.android", "AndroidConfig")
        return
    yield from _android_faults(android)
    yield from _label_faults("message.fcm_options", message.get("fcm_options", {}))


def _data_faults(data: Any) -> Iterator[Refusal]:
    if not isinstance(data, dict):
        yield _invalid("message.data", "Map")
        return
    for name, value in data.items():
        if not isinstance(value, str):
            yield _invalid(f"message.data[{list(data).index(name)}].value", "TYPE_STRING")
        if _RESERVED.fullmatch(name):
            yield bad_request("message.data", f"Invalid data payload key: {name}", fcm_detail=True)
    if size_of(data) > LIMIT:
        yield too_big()


def _android_faults(android: dict[str, Any]) -> Iterator[Refusal]:
    for name in android.keys() - _ANDROID:
        yield _unknown(name, "message.android")
    priority = android.get("priority", "normal")
    if str(priority).lower() not in {"high", "normal"}:
        yield _invalid("message.android.priority", "AndroidMessagePriority")
    ttl = android.get("ttl")
    if ttl is not None:
        if not isinstance(ttl, str) or not _TTL.fullmatch(ttl):
            yield _invalid("message.android.ttl", "Duration")
        elif float(ttl[:-1]) > LONGEST_TTL_S:
            yield bad_request(
                "message.android.ttl", "Invalid time to live duration", fcm_detail=True
            )
    if not isinstance(android.get("direct_boot_ok", False), bool):
        yield _invalid("message.android.direct_boot_ok", "TYPE_BOOL")
    yield from _label_faults("message.android.fcm_options", android.get("fcm_options", {}))


def _label_faults(field: str, options: Any) -> Iterator[Refusal]:
    if not isinstance(options, dict):
        yield _invalid(field, "FcmOptions")
        return
    label = options.get("analytics_label", "none")
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        yield bad_request(f"{field}.analytics_label", "Invalid analytics label", fcm_detail=True)


def _unknown(name: str, parent: str) -> Refusal:
    where = f" at '{parent}'" if parent else ""
    text = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
    return bad_request(parent, text)


def _invalid(field: str, kind: str) -> Refusal:
    return bad_request(field, f"Invalid value at '{field}' ({kind})")
