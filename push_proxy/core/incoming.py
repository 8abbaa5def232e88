"""What a push and a wake need to know of an INVITE from the PBX."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from .message import Message
from .trust import strip_toward_app, wants_privacy
from .uri import MalformedUri, NameAddr, SipUri

_VIDEO = re.compile(rb"^m=video[ \t]+(?!0[ \t/])", re.MULTILINE)
_NUMBER = re.compile(r"\+?[0-9().-]+")
_SEPARATORS = re.compile(r"[().-]")
"""Visual separators (RFC 3966 §3)."""
_TEL = re.compile(r"tel:([^;?]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingCall:
    """An INVITE, as far as it concerns us."""

    number: str
    """The caller's number or user part; empty when the caller asked for privacy."""
    name: str
    video: bool
    requires_100rel: bool
    expires_s: float | None
    strip: tuple[str, ...]
    """Headers that must not reach the app."""


def incoming_call(message: Message) -> IncomingCall:
    """Read an INVITE. What cannot be read is left empty: the call goes on without it."""
    number, name = ("", "") if wants_privacy(message) else _caller(message)
    expires = (message.first("expires") or "").strip()
    return IncomingCall(
        number=number,
        name=name,
        video=_VIDEO.search(message.body) is not None,
        requires_100rel=message.has_token("require", "100rel"),
        expires_s=float(expires) if expires.isascii() and expires.isdigit() else None,
        strip=strip_toward_app(message),
    )


def callers_of(message: Message) -> tuple[str, ...]:
    """All that a policy's pattern may fit: number or user, and ``user@host``, of each identity.

    Privacy keeps a caller's name from the called, not from what the called have ruled.
    """
    names: dict[str, None] = {}
    for text in (*message.values("p-asserted-identity"), message.first("from") or ""):
        user, _ = _address(text)
        if user:
            names[_SEPARATORS.sub("", user) if _NUMBER.fullmatch(user) else user] = None
        try:
            names[NameAddr.parse(text).sip().aor.removeprefix("sip:")] = None
        except MalformedUri:
            continue
    return tuple(names)


def _caller(message: Message) -> tuple[str, str]:
    """Number and name: what the PBX vouches for (RFC 3325 §9.1), else what From says."""
    asserted = [_address(value) for value in message.values("p-asserted-identity")]
    said = _address(message.first("from") or "")
    number = next((number for number, _ in asserted if number), said[0])
    name = next((name for _, name in asserted if name), said[1])
    return number, name


def _address(text: str) -> tuple[str, str]:
    try:
        address = NameAddr.parse(text)
    except MalformedUri:
        return "", ""
    if (tel := _TEL.match(address.uri)) is not None:
        return unquote(tel[1]), address.display
    try:
        return SipUri.parse(address.uri).user, address.display
    except MalformedUri:
        return "", address.display
