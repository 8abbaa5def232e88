"""``cluster``: this node among others that share one Redis."""

import base64
import binascii
from pathlib import Path
from typing import Annotated

from pydantic import Field

from .cluster.membership import MembershipRules
from .core.model import Address
from .errors import ConfigurationError
from .settings_section import Seconds, Section
from .settings_types import CommaList, SipListen, parse_sip_listen

KEY_BYTES = 32


class ClusterSection(Section):
    """``cluster``: it exists where ``redis.url`` is configured."""

    lease_s: Annotated[Seconds, Field(ge=1, le=60)] = 6.0
    heartbeat_s: Annotated[Seconds, Field(gt=0, le=30)] = 2.0
    sip: SipListen | None = None
    token_keys: Annotated[tuple[Path, ...], CommaList] = ()

    @property
    def sip_address(self) -> Address | None:
        """Where other nodes reach this one's SIP, if it was said."""
        return None if self.sip is None else parse_sip_listen(self.sip)

    def rules(self) -> MembershipRules:
        """As the membership takes them."""
        return MembershipRules(lease_s=self.lease_s, heartbeat_s=self.heartbeat_s)

    def read_token_keys(self) -> tuple[bytes, ...]:
        """The keys in ``token_keys``; none: the store's is used.

        Raises `errors.ConfigurationError` when a file cannot be read or holds no key.
        """
        return tuple(_key(path) for path in self.token_keys)


def node_sip(section: ClusterSection, listening: tuple[Address, ...], *, host: str) -> Address:
    """Where other nodes reach us: as configured, else at ``host`` by the first udp, tcp or tls."""
    if section.sip_address is not None:
        return section.sip_address
    for transport in ("udp", "tcp", "tls"):
        for address in listening:
            if address.transport == transport:
                return Address(host, address.port, transport)
    raise ConfigurationError("sip.listen: nothing is listened on; give at least one address")


def _key(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cluster.token_keys: cannot read {path}: {error.strerror}"
        ) from None
    text = content.strip()
    for decode in (binascii.unhexlify, _base64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == KEY_BYTES:
            return key
    if len(content) == KEY_BYTES:
        return content
    raise ConfigurationError(
        f"cluster.token_keys: {path} holds no key of {KEY_BYTES} bytes; make one with "
        "'openssl rand -hex 32', the same file on every node"
    )


def _base64(text: bytes) -> bytes:
    return base64.b64decode(text, validate=True)
