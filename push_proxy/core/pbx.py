"""PBXs as accounts name them: where to register, whom to believe."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from .model import Account
from .uri import SipUri

DEFAULT_PORT = 5060
DEFAULT_EXPIRES_S = 600
DEFAULT_RATE = 200.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Host and port of a SIP server, before its name is resolved."""

    host: str
    """Name or IP literal, without brackets."""
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pbx:
    """One PBX: configured by name, or what an account says itself."""

    key: str
    """Unique: the configured name, or the account's registrar URI."""
    registrar: str | None = None
    """``sip:host[:port]``."""
    peers: tuple[str, ...] = ()
    """IP addresses and networks whose requests are believed, whatever their port."""
    registrations_per_second: float = DEFAULT_RATE
    expires_s: int = DEFAULT_EXPIRES_S


def pbx_of(account: Account, pbxes: Mapping[str, Pbx]) -> Pbx | None:
    """The account's PBX; None when it names one that is not configured."""
    if account.pbx is not None:
        return pbxes.get(account.pbx)
    if account.registrar is None:
        return None
    # Not a configured name: those have no colon.
    return Pbx(key=account.registrar, registrar=account.registrar)


@lru_cache(maxsize=4096)  # asked for every account each minute, of the same few PBXs
def endpoint(uri: str) -> Endpoint:
    """Where a registrar's or proxy's URI points. Raises `uri.MalformedUri`."""
    parsed = SipUri.parse(uri)
    return Endpoint(parsed.host, parsed.port or DEFAULT_PORT)


def next_hop(account: Account, pbx: Pbx) -> Endpoint | None:
    """Where this account's requests toward the PBX go (RFC 3261 §8.1.2).

    Its outbound proxy, else the registrar, else the first peer that is a single address.
    """
    for uri in (account.outbound_proxy, pbx.registrar):
        if uri is not None:
            return endpoint(uri)
    for peer in pbx.peers:
        if "/" not in peer:
            return Endpoint(peer, DEFAULT_PORT)
    return None


def trusted_ends(account: Account, pbx: Pbx) -> tuple[Endpoint, ...]:
    """Servers that this account's PBX calls from, besides its peers."""
    return tuple(
        endpoint(uri) for uri in (pbx.registrar, account.outbound_proxy) if uri is not None
    )
