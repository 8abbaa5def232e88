"""What a push must look like: path, headers and body, as APNs judges them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .apns_provider import app_of
from .apns_world import ApnsDevice, App
from .h2_line import Headers

PATH = re.compile(r"/3/device/([^/?]*)")
TOKEN = re.compile(r"(?:[0-9a-fA-F]{2}){32,100}")
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,254}")
VOIP_BYTES, OTHER_BYTES = 5120, 4096
COLLAPSE_BYTES = 64
PUSH_TYPES = (
    *("alert", "background", "voip", "complication", "location", "fileprovider", "mdm"),
    *("liveactivity", "pushtotalk", "widgets", "controls"),
)


def path_fault(headers: Mapping[str, str]) -> str:
    """Method and path: the only checks that need no provider."""
    match = PATH.fullmatch(headers.get(":path", ""))
    if match is None:
        return "BadPath"
    if headers.get(":method") != "POST":
        return "MethodNotAllowed"
    return "" if match[1] else "MissingDeviceToken"


def duplicates(headers: Headers) -> bool:
    """Whether a header of APNs comes twice."""
    names = [name for name, _ in headers if name.startswith("apns-") or name == "authorization"]
    return len(names) != len(set(names))


def message_fault(headers: Mapping[str, str], apps: Mapping[str, App]) -> str:
    """Everything that the headers alone can get wrong."""
    message_id = headers.get("apns-id")
    if message_id is not None and UUID.fullmatch(message_id) is None:
        return "BadMessageId"
    if len(headers.get("apns-collapse-id", "").encode()) > COLLAPSE_BYTES:
        return "BadCollapseId"
    return (
        _topic_fault(headers, apps)
        or _type_fault(headers)
        or _priority_fault(headers)
        or _expiration_fault(headers)
    )


def body_fault(headers: Mapping[str, str], body: bytes) -> str:
    """Size, and a JSON object with an object `aps` in it."""
    most = VOIP_BYTES if headers.get("apns-push-type") == "voip" else OTHER_BYTES
    if len(body) > most:
        return "PayloadTooLarge"
    return "" if isinstance(payload_of(body).get("aps"), dict) else "PayloadEmpty"


def payload_of(body: bytes) -> dict[str, Any]:
    """The body as JSON object, or an empty one."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def device_fault(headers: Mapping[str, str], device: ApnsDevice | None, environment: str) -> str:
    """Whether the token is one of this environment and topic, and alive."""
    if device is None or device.environment != environment:
        return "BadDeviceToken"
    if not device.takes(headers.get("apns-topic", "")):
        return "DeviceTokenNotForTopic"
    return device.gone


def worthless(headers: Mapping[str, str], *, now: float) -> bool:
    """Whether it expired before it arrived: taken with 200, and never delivered.

    Zero alone means "once, now"; any other number is a time, and 300 is five past midnight of
    1 January 1970.
    """
    value = int(headers.get("apns-expiration", "0"))
    return value != 0 and value < now


def _topic_fault(headers: Mapping[str, str], apps: Mapping[str, App]) -> str:
    topic = headers.get("apns-topic", "")
    if not topic:
        return "MissingTopic"
    if TOPIC.fullmatch(topic) is None:
        return "BadTopic"
    return "" if app_of(apps, topic) is not None else "TopicDisallowed"


def _type_fault(headers: Mapping[str, str]) -> str:
    kind, topic = headers.get("apns-push-type", ""), headers["apns-topic"]
    if kind not in PUSH_TYPES:
        return "InvalidPushType"
    for special in ("voip", "complication"):
        if (kind == special) != topic.endswith(f".{special}"):
            return "InvalidPushType"
    return ""


def _priority_fault(headers: Mapping[str, str]) -> str:
    priority = headers.get("apns-priority", "10")
    if priority not in {"10", "5", "1"}:
        return "BadPriority"
    background = headers["apns-push-type"] == "background"
    return "BadPriority" if background and priority != "5" else ""


def _expiration_fault(headers: Mapping[str, str]) -> str:
    value = headers.get("apns-expiration", "0")
    return "" if value.isascii() and value.isdigit() else "BadExpirationDate"
