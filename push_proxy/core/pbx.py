"""PBXs as accounts name them: where to register, whom to believe."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from .model import Account
from .uri import SipUri

DEFAULT_PORT = 5060
DEFAULT_TLS_PORT = 5061
DEFAULT_EXPIRES_S = 600
DEFAULT_RATE = 200.0
DEFAULT_QUALIFY_S = 30.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A SIP server as a URI names it, before its name is resolved (RFC 3263)."""

    host: str
    """Name or IP literal, without brackets."""
    port: int | None = None
    """None: SRV records say it, else it is the transport's default."""
    transport: str | None = "udp"
    """None: NAPTR and SRV records say it, else it is UDP."""

    @property
    def default_port(self) -> int:
        """What counts where neither the URI nor DNS names a port."""
        return self.port or (DEFAULT_TLS_PORT if self.transport == "tls" else DEFAULT_PORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pbx:
    """One PBX: configured by name, or what an account says itself."""

    key: str
    """Unique: the configured name, or the account's registrar URI."""
    registrar: str | None = None
    """``sip:host[:port][;transport=udp|tcp|tls]`` or ``sips:host[:port]``."""
    transport: str | None = None
    """``udp``, ``tcp`` or ``tls`` where a URI says nothing; None: DNS may say it, else UDP."""
    peers: tuple[str, ...] = ()
    """IP addresses and networks whose requests are believed, whatever their port."""
    tls_names: tuple[str, ...] = ()
    """Names, lower case: who shows a verified client certificate with one of them is believed."""
    tls_profile: str = ""
    """Which of ``StackSettings.tls_clients`` is used toward it."""
    server_name: str = ""
    """What its certificate must carry; empty: the registrar's host."""
    registrations_per_second: float = DEFAULT_RATE
    expires_s: int = DEFAULT_EXPIRES_S
    qualify_s: float = DEFAULT_QUALIFY_S
    """How often it is asked whether it is there and still has our Contacts; 0: never."""


def pbx_of(account: Account, pbxes: Mapping[str, Pbx]) -> Pbx | None:
    """The account's PBX; None when it names one that is not configured."""
    if account.pbx is not None:
        return pbxes.get(account.pbx)
    if account.registrar is None:
        return None
    # Not a configured name: those have no colon.
    return Pbx(key=account.registrar, registrar=account.registrar)


@lru_cache(maxsize=4096)  # asked for every account, of the same few PBXs
def endpoint(uri: str, *, said: str | None = None, default: str | None = None) -> Endpoint:
    """Where a registrar's or proxy's URI points. Raises `uri.MalformedUri`.

    ``said`` is a transport that overrules the URI's, ``default`` one for a URI without; but
    ``sips`` is TLS whatever they say. Without any, a literal address or a port means UDP
    (RFC 3263 §4.1) and a bare name leaves it to DNS.
    """
    parsed = SipUri.parse(uri)
    if parsed.scheme == "sips":
        transport: str | None = "tls"
    else:
        transport = said or parsed.params.get("transport", "").lower() or default
    if transport is None and (parsed.port is not None or is_literal(parsed.host)):
        transport = "udp"
    # A final dot means no other name, and certificates do not carry it.
    return Endpoint(parsed.host.rstrip("."), parsed.port, transport)


def next_hop(account: Account, pbx: Pbx) -> Endpoint | None:
    """Where this account's requests toward the PBX go (RFC 3261 §8.1.2).

    Its outbound proxy, else the registrar, else the first peer that is a single address.
    """
    ends = _ends(account, pbx)
    if ends:
        return ends[0]
    for peer in pbx.peers:
        if "/" not in peer:
            return Endpoint(peer, None, pbx.transport or "udp")
    return None


def trusted_ends(account: Account, pbx: Pbx) -> tuple[Endpoint, ...]:
    """Servers that this account's PBX calls from, besides its peers."""
    return _ends(account, pbx)


def server_name(account: Account, pbx: Pbx, end: Endpoint) -> str:
    """What the certificate of the account's next hop must carry; empty: its address.

    An outbound proxy is another server than the PBX that ``server_name`` is set for.
    """
    if pbx.server_name and account.outbound_proxy is None:
        return pbx.server_name
    return "" if is_literal(end.host) else end.host


@lru_cache(maxsize=4096)
def is_literal(host: str) -> bool:
    """Whether ``host`` is an IP address: nothing to resolve."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ends(account: Account, pbx: Pbx) -> tuple[Endpoint, ...]:
    """Outbound proxy and registrar, as far as there are any."""
    # A configured PBX has its own transport; the account's goes with the account's own URIs.
    said = account.transport if account.registrar is not None else None
    return tuple(
        endpoint(uri, said=said, default=pbx.transport)
        for uri in (account.outbound_proxy, pbx.registrar)
        if uri is not None
    )
