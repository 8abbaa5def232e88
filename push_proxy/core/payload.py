"""What a push says: a flat map of strings, the same for every provider (docs/contracts.md)."""

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
    type: PushType
    call: CallId
    sip_call_id: str
    device: Device
    caller_number: str
    caller_name: str
    video: bool
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
        "call_id": push.call,
        "sip_call_id": push.sip_call_id,
        "account": split_account_key(push.device.account)[1],
        "device": push.device.device,
        "sent_at": timestamp(push.sent_at),
        "expires_at": timestamp(push.expires_at),
    }
    if with_token:
        fields["token"] = push.device.token
    if privacy is Privacy.FULL:
        fields["caller_number"] = push.caller_number
        fields["caller_name"] = push.caller_name
        fields["video"] = "true" if push.video else "false"
    return fields


def timestamp(at: Instant) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
