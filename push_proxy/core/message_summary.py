"""Voice mail as a PBX tells it unasked (RFC 3842): what is kept, and whom it is news for."""

import re
from dataclasses import dataclass, replace

from .ids import AccountKey, DeviceId, Instant
from .message import Message

_WAITING = re.compile(
    rb"^messages-waiting[ \t]*:[ \t]*(yes|no)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
MOST_TOLD = 50
"""Devices remembered: unannounced phones come and go, and a mailbox may be quiet for months."""
_VOICE = re.compile(
    rb"^voice-message[ \t]*:[ \t]*(\d{1,9})[ \t]*/[ \t]*(\d{1,9})", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Summary:
    """How many messages there are, as far as the PBX says."""

    waiting: bool
    new: int | None
    old: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """The newest that the PBX said of an account's mailbox, and who has heard it."""

    account: AccountKey
    event: str
    """Value of the NOTIFY's Event header."""
    state: str
    """Value of its Subscription-State header."""
    content_type: str
    body: bytes
    received_at: Instant
    told: tuple[DeviceId, ...] = ()
    """Devices that have answered a NOTIFY with this."""


def is_summary(message: Message) -> bool:
    """Whether a NOTIFY is about a mailbox."""
    event = (message.first("event") or "").partition(";")[0]
    return event.strip().lower() == "message-summary"


def mailbox(message: Message, account: AccountKey, now: Instant) -> Mailbox:
    """What a NOTIFY says."""
    return Mailbox(
        account=account,
        event=message.first("event") or "",
        state=message.first("subscription-state") or "terminated",
        content_type=message.first("content-type") or "",
        body=message.body,
        received_at=now,
    )


def newest(kept: Mailbox | None, said: Mailbox) -> Mailbox:
    """What is to be kept: PBXs repeat themselves, which is no news for anybody."""
    if kept is not None and (kept.content_type, kept.body) == (said.content_type, said.body):
        return kept
    return said


def with_told(kept: Mailbox, device: DeviceId) -> Mailbox:
    """The device has heard it."""
    if device in kept.told:
        return kept
    return replace(kept, told=(*kept.told, device)[-MOST_TOLD:])


def without(kept: Mailbox, device: DeviceId) -> Mailbox:
    """The device is gone; another one of its name has heard nothing."""
    return replace(kept, told=tuple(name for name in kept.told if name != device))


def rose(kept: Mailbox | None, said: Mailbox) -> bool:
    """Whether there is more than before: a person would want to know."""
    before = Summary(waiting=False, new=0, old=None) if kept is None else summary(kept)
    after = summary(said)
    if before.new is not None and after.new is not None and after.new > before.new:
        return True
    return after.waiting and not before.waiting


def summary(kept: Mailbox) -> Summary:
    """The counts in the body (RFC 3842 §5.2); without the first line: whether any are new."""
    voice = _VOICE.search(kept.body)
    new, old = (int(voice[1]), int(voice[2])) if voice else (None, None)
    waiting = _WAITING.search(kept.body)
    return Summary(waiting[1].lower() == b"yes" if waiting else bool(new), new, old)
