"""A PBX's answer to our REGISTER, as values (RFC 3261 §10.2.4)."""

from dataclasses import dataclass
from typing import Self

from .message import MalformedMessage, Message, parse
from .uri import MalformedUri, NameAddr, SipUri

_MAX_OTHERS = 10
_MAX_ROUTES = 10


@dataclass(frozen=True, slots=True)
class Listed:
    """One Contact of a 200."""

    uri: str
    expires_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A final response; without headers when our own stack made it."""

    status: int
    reason: str
    local: bool = False
    left: bool = True
    """False: the request did not even leave."""
    www: tuple[str, ...] = ()
    """WWW-Authenticate lines."""
    proxy: tuple[str, ...] = ()
    """Proxy-Authenticate lines."""
    contacts: tuple[Listed, ...] = ()
    expires_s: int | None = None
    min_expires_s: int | None = None
    retry_after_s: int | None = None
    service_route: tuple[str, ...] = ()
    """Service-Route values (RFC 3608)."""

    @classmethod
    def read(cls, status: int, reason: str, *, local: bool, raw: bytes) -> Self:
        """From a fact; an unreadable response keeps its status alone."""
        try:
            message = parse(raw) if raw else None
        except MalformedMessage:
            message = None
        if message is None:
            return cls(status=status, reason=reason, local=local)
        return cls(
            status=status,
            reason=reason,
            local=local,
            www=tuple(message.all("www-authenticate")),
            proxy=tuple(message.all("proxy-authenticate")),
            contacts=tuple(_listed(message)),
            expires_s=_seconds(message.first("expires")),
            min_expires_s=_seconds(message.first("min-expires")),
            retry_after_s=_seconds(message.first("retry-after")),
            service_route=_routes(message.values("service-route")),
        )


def own_and_others(
    contacts: tuple[Listed, ...], ours: str, *, listed_as: str | None
) -> tuple[Listed | None, tuple[str, ...]]:
    """Our Contact among those listed, and the others' URIs.

    By the ``pp`` token; where a PBX drops parameters, by the whole address, ours or the one it
    was ``listed_as`` when we registered. Only where we must be listed and do not know how
    (None) the user part counts: PBXs rewrite the address (Asterisk's rewrite_contact), but
    other phones of the extension have the same user part.
    """
    own = _find(contacts, ours, listed_as)
    others = tuple(listed.uri for listed in contacts if listed is not own)[:_MAX_OTHERS]
    return own, others


def _find(contacts: tuple[Listed, ...], ours: str, listed_as: str | None) -> Listed | None:
    me = SipUri.parse(ours)
    read: list[tuple[Listed, SipUri]] = []
    for listed in contacts:
        try:
            read.append((listed, SipUri.parse(listed.uri)))
        except MalformedUri:
            continue
    token = me.params.get("pp")
    for listed, uri in read:
        if token and uri.params.get("pp") == token:
            return listed
    tokenless = [(listed, uri) for listed, uri in read if "pp" not in uri.params]
    addresses = [_address(me)]
    if listed_as is not None:
        addresses.append(_address(SipUri.parse(listed_as)))
    for address in addresses:
        for listed, uri in tokenless:
            if _address(uri) == address:
                return listed
    same_user = [listed for listed, uri in tokenless if uri.user == me.user]
    return same_user[0] if listed_as is None and len(same_user) == 1 else None


def _address(uri: SipUri) -> tuple[str, str, int]:
    return uri.user, uri.host, uri.port or 5060


def _listed(message: Message) -> list[Listed]:
    found: list[Listed] = []
    for value in message.values("contact"):
        try:
            address = NameAddr.parse(value)
        except MalformedUri:
            continue
        found.append(Listed(address.uri, _seconds(address.params.get("expires"))))
    return found


def _routes(values: list[str]) -> tuple[str, ...]:
    """All of them, or none when one is no SIP URI: half a way leads nowhere."""
    try:
        for value in values:
            NameAddr.parse(value).sip()
    except MalformedUri:
        return ()
    return tuple(values) if len(values) <= _MAX_ROUTES else ()


def _seconds(text: str | None) -> int | None:
    """Whole seconds; Retry-After may be followed by a comment and parameters."""
    digits = (text or "").strip().partition(";")[0].partition("(")[0].strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None
