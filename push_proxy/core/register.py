"""An app's REGISTER as values (RFC 3261 §10.2, §10.3)."""

from dataclasses import dataclass

from .feature_caps import pushed_by_others
from .message import MalformedMessage, Message
from .push_params import PushParams, read_push_params
from .uri import MalformedUri, NameAddr, SipUri

MAX_CONTACTS = 10
"""In one REGISTER; a phone sends one, rarely two."""
MAX_PATH = 10
"""Proxies between a phone and us."""
_SUPPORTED = frozenset({"path"})
"""Option tags that a REGISTER may require (RFC 3327). Not ``outbound``: a phone has one flow
here, its newest, and would hold a second one in vain (RFC 5626 §6)."""
_MAX_SECONDS = 2**32 - 1


class BadRegister(ValueError):
    """The REGISTER is refused with ``status``; the text is the reason phrase."""

    def __init__(self, status: int, reason: str, *headers: tuple[str, str]) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One Contact of a REGISTER."""

    uri: str
    """As received."""
    identity: tuple[str, str, int, str]
    """What two Contacts are compared by: user, host, port, transport (RFC 3261 §19.1.4)."""
    expires_s: int | None = None
    """Its own ``expires``; None: the request's."""
    instance: str | None = None
    """``+sip.instance`` without quotes and angle brackets."""
    prid: str | None = None
    """``pn-prid`` (RFC 8599) as it stands: may be a push token."""
    push: PushParams | None = None
    """What it says of pushes (RFC 8599); None: nothing, or nothing to us."""
    refreshes_itself: bool = False
    """``+sip.pnsreg``: it refreshes its binding without being pushed (RFC 8599 §4.1.4)."""
    q: float = 1.0
    reg_id: int | None = None
    """``reg-id`` (RFC 5626): the phone keeps its flow alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """What a REGISTER asks for."""

    call_id: str
    cseq: int
    contacts: tuple[Contact, ...] = ()
    """Empty: a fetch."""
    star: bool = False
    """``Contact: *`` with ``Expires: 0``: remove all."""
    expires_s: int | None = None
    user_agent: str | None = None
    path: tuple[str, ...] = ()
    """Proxies that requests to these Contacts go through, as received (RFC 3327)."""
    supports_outbound: bool = False
    """``Supported: outbound`` (RFC 5626)."""


def read_register(message: Message) -> Register:
    """Read a REGISTER. Raises `BadRegister` with the status that it deserves."""
    required = [tag for tag in message.values("require") if tag]
    if unknown := [tag for tag in required if tag.lower() not in _SUPPORTED]:
        raise BadRegister(420, "Bad Extension", ("Unsupported", ", ".join(unknown)))
    try:
        cseq = message.cseq
    except MalformedMessage:
        raise BadRegister(400, "Unreadable CSeq") from None
    if not message.call_id:
        raise BadRegister(400, "Missing Call-ID")
    values = message.values("contact")
    expires_s = _seconds(message.first("expires"))
    star = "*" in values
    if star and (len(values) > 1 or expires_s != 0):
        raise BadRegister(400, "Contact * needs Expires 0 and no other Contact")
    if len(values) > MAX_CONTACTS:
        raise BadRegister(403, f"More than {MAX_CONTACTS} Contacts")
    others_push = pushed_by_others(message)
    return Register(
        call_id=message.call_id,
        cseq=cseq,
        contacts=() if star else tuple(_contact(v, others_push=others_push) for v in values),
        star=star,
        expires_s=expires_s,
        user_agent=message.first("user-agent"),
        path=_path(message),
        supports_outbound=message.has_token("supported", "outbound"),
    )


def contact_identity(uri: str) -> tuple[str, str, int, str]:
    """User, host, port and transport of a Contact's URI. Raises `uri.MalformedUri`."""
    return _identity(SipUri.parse(uri))


def _identity(uri: SipUri) -> tuple[str, str, int, str]:
    port = uri.port or (5061 if uri.scheme == "sips" else 5060)
    return uri.user, uri.host, port, uri.params.get("transport", "udp").lower()


def _contact(value: str, *, others_push: bool) -> Contact:
    try:
        address = NameAddr.parse(value)
        uri = address.sip()
    except MalformedUri:
        raise BadRegister(400, "Contact is no SIP URI") from None
    return Contact(
        uri=address.uri,
        identity=_identity(uri),
        expires_s=_seconds(address.params.get("expires")),
        instance=address.params.get("+sip.instance", "").strip("<> ") or None,
        prid=uri.params.get("pn-prid") or None,
        push=None if others_push else read_push_params(uri.params, address.params),
        refreshes_itself="+sip.pnsreg" in address.params,
        q=_q(address.params.get("q")),
        reg_id=_reg_id(address.params.get("reg-id")),
    )


def _path(message: Message) -> tuple[str, ...]:
    values = tuple(message.values("path"))
    if not values:
        return ()
    if not any(message.has_token(name, "path") for name in ("supported", "require")):
        # The phone would not know who stands between us and it (RFC 3327 §5.3).
        raise BadRegister(420, "Bad Extension", ("Unsupported", "path"))
    if len(values) > MAX_PATH:
        raise BadRegister(403, f"More than {MAX_PATH} Path values")
    try:
        for value in values:
            NameAddr.parse(value).sip()
    except MalformedUri:
        raise BadRegister(400, "Path is no SIP URI") from None
    return values


def _reg_id(text: str | None) -> int | None:
    """RFC 5626 §11.2: 1 to 2^31 - 1; anything else counts as none given."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) or None


def _seconds(text: str | None) -> int | None:
    """RFC 3261 §20.19: a malformed value counts as none given."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) <= 10 and int(text) <= _MAX_SECONDS else _MAX_SECONDS


def _q(text: str | None) -> float:
    try:
        return min(max(float(text or 1.0), 0.0), 1.0)
    except ValueError:
        return 1.0
