"""A MESSAGE that was accepted for a sleeping account and waits in the store (RFC 3428 §7)."""

from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, StrEnum, auto
from hashlib import sha256

from .ids import AccountKey, Instant
from .incoming import IncomingCall
from .message import Message
from .uri import MalformedUri, NameAddr

_NOT_KEPT = frozenset(
    {
        "authorization", "call-id", "contact", "content-length", "cseq", "expires", "from",
        "max-forwards", "p-called-party-id", "path", "proxy-authorization", "proxy-require",
        "record-route", "route", "timestamp", "to", "via",
    }
)  # fmt: skip
"""Belongs to the transaction and the way that the MESSAGE has come by."""

MOST_REFUSALS = 5
"""So often a device may say "not now" until the message makes room for the ones behind it."""
_NOT_NOW = frozenset({408, 480, 482, 486, 491, 600})
_NEVER = frozenset({501, 505, 513, 555})


class MessagePolicy(StrEnum):
    """What is done with a MESSAGE for an account whose devices sleep."""

    HOLD = "hold"
    """The PBX waits for the device's own answer, as long as a wake may take."""
    ACCEPT = "accept"
    """The PBX gets 202 as soon as the message is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRules:
    """The service's rules for MESSAGEs."""

    policy: MessagePolicy = MessagePolicy.HOLD
    keep_s: float = 86_400.0
    """So long an accepted one is kept for a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageText:
    """What the device gets. Private: sealed at rest, never logged, never pushed."""

    sender: str
    """Value of From, without its tag."""
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMessage:
    """One accepted MESSAGE."""

    id: str
    """Hexadecimal; the same for the same request, so that one sent twice is kept once."""
    account: AccountKey
    received_at: Instant
    until: Instant
    """After it nobody gets it any more."""
    text: MessageText


class Keeping(Enum):
    """What the store has made of a message."""

    KEPT = auto()
    THERE = auto()
    """It has been kept before: the PBX repeats itself."""
    FULL = auto()
    """The account has too many, or too long ones."""
    GONE = auto()
    """There is no such account any more."""


class Fate(Enum):
    """What a device's answer means for a kept message."""

    DELIVERED = auto()
    FLOW_DEAD = auto()
    """No answer: nobody is there."""
    NOT_NOW = auto()
    NEVER = auto()
    """Neither today nor tomorrow."""


def kept_message(
    message: Message,
    incoming: IncomingCall,
    *,
    account: AccountKey,
    now: Instant,
    keep_s: float,
) -> KeptMessage | None:
    """What is kept of a MESSAGE; None: its sender does not want it kept (``Expires: 0``)."""
    if incoming.expires_s is not None:
        keep_s = min(keep_s, incoming.expires_s)
    if keep_s <= 0:
        return None
    origin = message.first("from") or ""
    name = "\n".join((account, message.call_id, message.first("cseq") or "", origin))
    headers = tuple(
        (_title(header), value)
        for header, values in message.headers.items()
        if header not in _NOT_KEPT and header not in incoming.strip
        for value in values
    )
    if message.first("date") is None:
        # When it was sent, as far as anybody knows: it may arrive a day later.
        headers = (*headers, ("Date", formatdate(now, usegmt=True)))
    return KeptMessage(
        id=sha256(name.encode()).hexdigest()[:32],
        account=account,
        received_at=now,
        until=Instant(now + keep_s),
        text=MessageText(sender=_without_tag(origin), headers=headers, body=message.body),
    )


def fate(status: int, *, local: bool) -> Fate:
    """What the final response to a kept message means."""
    if local or status == 430:
        return Fate.FLOW_DEAD
    if 200 <= status < 300:
        return Fate.DELIVERED
    if status in _NOT_NOW or (500 <= status < 600 and status not in _NEVER):
        return Fate.NOT_NOW
    return Fate.NEVER


def _without_tag(origin: str) -> str:
    """From without parameters: the tag is that of the dialog-to-be (RFC 3261 §8.1.1.3)."""
    try:
        address = NameAddr.parse(origin)
    except MalformedUri:
        return "<sip:anonymous@anonymous.invalid>"
    display = address.display.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{display}" <{address.uri}>' if display else f"<{address.uri}>"


def _title(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-"))
