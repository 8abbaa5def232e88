"""What an app must know to register with us."""

from collections.abc import Sequence

from pydantic import Field

from ..core.model import Account, Address
from ..core.trust import app_asker
from ..core.uri import SipUri
from ..settings import Settings
from .fields import View

_WANTED = ("tls", "tcp", "udp")
"""A connection keeps a phone reachable through NAT with fewer packets than UDP does, and large
requests need no fragments."""


class SipBlock(View):
    """The app's SIP account, without the secret."""

    aor: str = Field(examples=["sip:101@pbx.example.com"])
    registrar: str = Field(
        description="The first of `registrars`.",
        examples=["sip:push.example.com:5061;transport=tls"],
    )
    outbound_proxy: str = Field(examples=["sip:push.example.com:5061;transport=tls;lr"])
    transports: list[str] = Field(
        description="Most wanted first: the app takes the first one that it can.",
        examples=[["tls", "udp"]],
    )
    registrars: list[str] = Field(
        description="One for each of `transports`, in their order.",
        examples=[["sip:push.example.com:5061;transport=tls", "sip:push.example.com:5060"]],
    )
    realm: str
    user: str


def sip_block(account: Account, settings: Settings, listening: Sequence[Address]) -> SipBlock:
    """Registrar and outbound proxy are ourselves; the realm is what REGISTER is challenged in."""
    address = settings.public_address
    host = f"[{address}]" if ":" in address else address
    ports: dict[str, int] = {}
    for bound in listening or settings.sip.listen_addresses:
        ports.setdefault(bound.transport, bound.port)
    transports = [transport for transport in _WANTED if transport in ports]
    registrars = [_uri(host, ports[transport], transport) for transport in transports]
    aor = SipUri.parse(account.aor)
    # A staged account may have no secret yet: then it says what a password would be asked for.
    asker = app_asker(account, host)
    return SipBlock(
        aor=account.aor,
        registrar=registrars[0],
        outbound_proxy=f"{registrars[0]};lr",
        transports=transports,
        registrars=registrars,
        realm=asker.realm if asker else aor.host,
        user=asker.user if asker else account.auth_user or aor.user,
    )


def _uri(host: str, port: int, transport: str) -> str:
    return f"sip:{host}:{port}" + ("" if transport == "udp" else f";transport={transport}")
