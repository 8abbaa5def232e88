"""What an app must know to register with us."""

from collections.abc import Sequence

from pydantic import Field

from ..core.model import Account, Address
from ..core.trust import app_asker
from ..core.uri import SipUri
from ..settings import Settings
from .fields import View


class SipBlock(View):
    """The app's SIP account, without the secret."""

    aor: str = Field(examples=["sip:101@pbx.example.com"])
    registrar: str = Field(examples=["sip:push.example.com:5060"])
    outbound_proxy: str = Field(examples=["sip:push.example.com:5060;lr"])
    transports: list[str] = Field(examples=[["udp"]])
    realm: str
    user: str


def sip_block(account: Account, settings: Settings, listening: Sequence[Address]) -> SipBlock:
    """Registrar and outbound proxy are ourselves; the realm is what REGISTER is challenged in."""
    address = settings.public_address
    host = f"[{address}]" if ":" in address else address
    port = listening[0].port if listening else settings.sip.listen_addresses[0].port
    aor = SipUri.parse(account.aor)
    # A staged account may have no secret yet: then it says what a password would be asked for.
    asker = app_asker(account, host)
    return SipBlock(
        aor=account.aor,
        registrar=f"sip:{host}:{port}",
        outbound_proxy=f"sip:{host}:{port};lr",
        transports=sorted({bound.transport for bound in listening}) or ["udp"],
        realm=asker.realm if asker else aor.host,
        user=asker.user if asker else account.auth_user or aor.user,
    )
