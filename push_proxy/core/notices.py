"""What an operator's systems are told of by event webhooks (docs/contracts.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .ids import AccountKey, DeviceId, Instant


class NoticeType(StrEnum):
    """``type`` of an event."""

    TOKEN_INVALID = "token.invalid"  # noqa: S105 - a type, no token
    """A push token is not used any more; ``reason`` says why. The app must give a new one."""
    DEVICE_MOVED = "device.moved"
    """An exclusive token has left this device for another one, which ``to_account`` names."""
    REGISTRATION_LOST = "registration.lost"
    """The account is not registered at its PBX any more; ``reason`` and ``status`` say why."""
    REGISTRATION_RESTORED = "registration.restored"
    """After ``registration.lost``: it is again."""
    DEVICE_STOPPED_WAKING = "device.stopped_waking"
    """Calls used to wake this device, and the newest ones did not (`core.wake_health`)."""
    DEVICE_WAKES_AGAIN = "device.wakes_again"
    """After ``device.stopped_waking``: they do."""
    CALL_MISSED = "call.missed"
    """An incoming call was not answered; ``verdict`` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One event. Never holds a token, key or password."""

    type: NoticeType
    at: Instant
    account: AccountKey
    device: DeviceId | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    """Further fields by type, as strings."""
