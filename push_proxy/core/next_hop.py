"""Where a request toward a PBX goes next, and how it gets there."""

from dataclasses import dataclass

from .model import Address


@dataclass(frozen=True, slots=True)
class NextHop:
    """One server of a PBX: what `signaling.contract.Rewrite` needs to reach it."""

    destination: Address
    local: Address
    """The listening address that the request leaves from."""
    server_name: str = ""
    """TLS: the name its certificate must carry, as the operator wrote it and never what DNS made
    of it (RFC 5922 §4); empty: its address."""
    tls_profile: str = ""
    """TLS: which of ``StackSettings.tls_clients``."""
