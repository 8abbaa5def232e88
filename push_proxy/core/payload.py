"""What a push says: a flat map of strings, the same for every provider (docs/contracts.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from .actions import PushType
from .ids import CallId, Instant, PushId, split_account_key
from .model import Device

VERSION = "1"


class Privacy(StrEnum):
    """How much a push says to those who carry it."""

    FULL = "full"
    IDS_ONLY = "ids_only"
    """No caller, no kind of call: the app asks the API or waits for the INVITE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One push, as a provider gets it."""

    id: PushId
    """A UUID; the same when it is sent again (``apns-id``)."""
    type: PushType
    call: CallId | None = None
    """None: about no call (``refresh``, ``voicemail``, ``message``)."""
    sip_call_id: str = ""
    device: Device
    caller_number: str = ""
    caller_name: str = ""
    video: bool = False
    started_at: Instant | None = None
    """When the call began, if the push tells of a past one."""
    sent_at: Instant
    expires_at: Instant
    """The wake's end: after it the push is worthless."""


def payload(
    push: Push, *, privacy: Privacy = Privacy.FULL, with_token: bool = False
) -> dict[str, str]:
    """The payload; ``with_token`` for a webhook, whose receiver passes it on to the phone.

    ``push_id`` stays the same when a push is sent again, so that the receiver can drop the
    second one.
    """
    fields = {
        "v": VERSION,
        "type": push.type.value,
        "push_id": push.id,
        "account": split_account_key(push.device.account)[1],
        "device": push.device.device,
        "sent_at": timestamp(push.sent_at),
        "expires_at": timestamp(push.expires_at),
    }
    if push.call is not None:
        fields["call_id"] = push.call
        fields["sip_call_id"] = push.sip_call_id
    if push.started_at is not None:
        fields["started_at"] = timestamp(push.started_at)
    if with_token:
        fields["token"] = push.device.token
    tells_caller = push.call is not None or push.type is PushType.MESSAGE
    if privacy is Privacy.FULL and (tells_caller or push.caller_number):
        fields["caller_number"] = push.caller_number
        fields["caller_name"] = push.caller_name
        fields["video"] = "true" if push.video else "false"
    return fields


_SHORTENED = ("caller_name", "caller_number", "sip_call_id")
"""What gives way when a payload is too long, in this order. Their length is a stranger's choice."""


def fitted(
    fields: Mapping[str, str], size: Callable[[Mapping[str, str]], int], limit: int
) -> dict[str, str]:
    """The payload with optional fields cut until ``size`` of it is at most ``limit`` (bytes).

    Each is cut no further than needed. What cannot be made to fit is returned as short as it
    gets: the provider then says so.
    """
    fitting = dict(fields)
    for name in _SHORTENED:
        text = fitting.get(name, "")
        over = size(fitting) - limit
        if over <= 0:
            break
        if not text:
            continue
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if size({**fitting, name: text[:middle]}) <= limit:
                low = middle
            else:
                high = middle - 1
        fitting[name] = text[:low]
    return fitting


def timestamp(at: Instant) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
