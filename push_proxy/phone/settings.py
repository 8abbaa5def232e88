"""What one simulated phone is told: its account, how it is woken and how it behaves."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ConfigurationError

TRANSPORTS = ("udp", "tcp", "tls")
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneSettings:
    """One phone. URIs are SIP URIs; times are seconds."""

    aor: str
    """Its address of record, such as `sip:101@pbx.example.com`."""
    password: str = ""
    auth_user: str | None = None
    """User name for digest; default: the user part of `aor`."""
    registrar: str | None = None
    """Default: `sip:` and the domain of `aor`."""
    proxy: str | None = None
    """Outbound proxy for everything, such as `sip:127.0.0.1:5060`; a loose route."""
    instance: str | None = None
    """URN for `+sip.instance` in the Contact."""
    bind: str = "127.0.0.1"
    """Address for SIP and RTP; the ports are free ones."""
    transport: str = "udp"
    """`udp`, `tcp` or `tls`; a URI that names another one says so for itself."""
    ca_file: Path | None = None
    """PEM file of the authorities believed over TLS; default: the system's."""
    verify: bool = True
    """Over TLS: refuse a server whose certificate does not verify or does not name it."""

    listen_host: str = "127.0.0.1"
    listen_port: int = 0
    """Where pushes are taken; port 0 is a free one, told in the event `listening`."""
    push_key: bytes | None = None
    """Key of the pushes' HMAC; without it signatures are not looked at."""

    call: str | None = None
    """Place a call to this URI at once, instead of waiting for a push."""
    register: bool = True
    """Register when awake (with `call` it may be left out)."""
    awake: bool = False
    """Never sleep: register at the start and stay registered."""
    unregister: bool = False
    """Say goodbye to the registrar before sleeping; a suspended app cannot."""
    expires_s: int = 300

    answer_code: int = 200
    """Final answer to an INVITE: 200, or 486, 603 and so on to turn it down."""
    answer_after_s: float = 0.2
    ring: bool = True
    """Send 180 before the answer."""
    hangup_after_s: float | None = None
    """Hang up so long after the answer; default: leave that to the other side."""
    tone_hz: int = 440
    wake_for_s: float = 30.0
    """Back to sleep when no INVITE came within this time of the push."""
    linger_s: float = 0.3
    """Stay awake so long after a call's end, as the last answer may have to be repeated."""
    calls: int | None = None
    """End after so many calls; default: at SIGTERM."""
    verbose: bool = False

    def __post_init__(self) -> None:
        if not self.aor.startswith(("sip:", "sips:")) or "@" not in self.aor:
            raise ConfigurationError(f"{self.aor!r} is no address of record: give sip:USER@DOMAIN")
        for name, uri in (
            ("registrar", self.registrar),
            ("proxy", self.proxy),
            ("call", self.call),
        ):
            if uri is not None and not uri.startswith(("sip:", "sips:")):
                raise ConfigurationError(f"{name} {uri!r} is no SIP URI: give sip:HOST[:PORT]")
        if self.transport not in TRANSPORTS:
            raise ConfigurationError(
                f"transport {self.transport!r} is not known: give {', '.join(TRANSPORTS)}"
            )
        if self.transport == "tls" and self.verify and not self.authorities.is_file():
            raise ConfigurationError(
                f"no authorities in {self.authorities}: give a PEM file (--ca-file), "
                "or do not verify (--no-verify)"
            )
        if not 200 <= self.answer_code <= 699:
            raise ConfigurationError(f"answer code {self.answer_code} is no final SIP status")

    @property
    def user(self) -> str:
        """The user part of the address of record."""
        return self.aor.partition(":")[2].partition("@")[0]

    @property
    def domain(self) -> str:
        """The host part of the address of record, with its port if it names one."""
        return self.aor.partition("@")[2].partition(";")[0]

    @property
    def registrar_uri(self) -> str:
        """Where REGISTER goes."""
        return self.by_transport(self.registrar or f"sip:{self.domain}")

    @property
    def proxy_route(self) -> str | None:
        """The outbound proxy as a loose route, or None."""
        if self.proxy is None:
            return None
        route = self.by_transport(self.proxy)
        return route if ";lr" in route else f"{route};lr"

    @property
    def authorities(self) -> Path:
        """The file of the authorities believed over TLS."""
        return self.ca_file or SYSTEM_AUTHORITIES

    def by_transport(self, uri: str) -> str:
        """`uri` with our transport, unless it names one or is UDP's."""
        if self.transport == "udp" or ";transport=" in uri.lower() or uri.startswith("sips:"):
            return uri
        return f"{uri};transport={self.transport}"


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT` as a pair. Raises ConfigurationError."""
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise ConfigurationError(f"{text!r} is no listen address: give HOST:PORT (port 0: any)")
    return parts.hostname, port
