"""What kind of PBX Asterisk is: extensions, transports, a trunk."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.lab.certificates import TlsIdentity

PHONES = tuple(str(number) for number in range(100, 130))


@dataclass(frozen=True, slots=True)
class Extension:
    """An endpoint with its AOR and its password `pw-<user>`; defaults are Asterisk's own, unless
    said otherwise.
    """

    user: str
    max_contacts: int = field(default=10, kw_only=True)
    """Asterisk's own default is 0: nobody may register."""
    remove_existing: bool = field(default=False, kw_only=True)
    qualify_s: int = field(default=0, kw_only=True)
    qualify_timeout_s: float = field(default=3.0, kw_only=True)
    rewrite_contact: bool = field(default=False, kw_only=True)
    mailbox: str = field(default="", kw_only=True)
    """It has a mailbox that is told by NOTIFY: `unsolicited`, or to `subscribers` alone."""
    direct_media: bool = field(default=False, kw_only=True)
    """Asterisk's own default is yes: it takes itself out of the media by re-INVITEs."""
    rel100: str = field(default="yes", kw_only=True)
    """`no`, `yes`, `required` or `peer_supported`."""
    session_expires_s: int = field(default=1800, kw_only=True)
    min_expires_s: int = field(default=60, kw_only=True)
    max_expires_s: int = field(default=7200, kw_only=True)


@dataclass(frozen=True, slots=True)
class Trunk:
    """Calls for some users go to a SIP peer, which is known by its address (over UDP: and port)."""

    host: str
    port: int
    users: str
    """A dialplan pattern, such as `_2XX`."""
    transport: str = "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class AsteriskOptions:
    """What kind of PBX it is."""

    host: str = "127.0.0.1"
    realm: str = "pbx.test"
    extensions: tuple[Extension, ...] = tuple(Extension(user) for user in PHONES)
    trunk: Trunk | None = None
    tls: TlsIdentity | None = None
    """With it, there is a TLS transport too."""
    pjsip: str = ""
    """More of `pjsip.conf`, as an operator writes it."""
    dialplan: str = ""
    """More of the context `phones`, likewise."""
    impatient_s: int = 2
    """How long `8XXX` rings XXX."""
