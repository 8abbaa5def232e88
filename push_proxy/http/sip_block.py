"""What an app must know to register with us."""

from collections.abc import Sequence

from pydantic import Field

from ..core.model import Account, Address
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
    aor, credentials, app_auth = SipUri.parse(account.aor), account.credentials, account.app_auth
    if app_auth is not None:
        user, realm = app_auth.user, app_auth.realm
    else:
        user = account.auth_user or aor.user
        realm = (credentials.realm if credentials else None) or aor.host
    return SipBlock(
        aor=account.aor,
        registrar=f"sip:{host}:{port}",
        outbound_proxy=f"sip:{host}:{port};lr",
        transports=sorted({bound.transport for bound in listening}) or ["udp"],
        realm=realm,
        user=user,
    )
