"""Our own names: what a URI may call us by."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from .model import Address


@dataclass(frozen=True, slots=True)
class OwnNames:
    """Hosts that mean this service, and the addresses that it sends from."""

    hosts: frozenset[str]
    """Names and addresses, lower case, IPv6 without brackets."""
    listening: tuple[Address, ...]
    """As bound, in the order of the configuration."""
    node_host: str = field(default="127.0.0.1")
    """What our Contact at PBXs names (``sip.cluster_address``, else ``sip.node_address``)."""

    @classmethod
    def of(cls, hosts: Iterable[str], *, node_host: str, listening: Iterable[Address]) -> Self:
        """From configured names (public and node address) and bound addresses."""
        bound = tuple(listening)
        names = {host.lower() for host in (*hosts, node_host)}
        names.update(a.host for a in bound if not ipaddress.ip_address(a.host).is_unspecified)
        return cls(frozenset(names), bound, node_host)

    def is_us(self, host: str) -> bool:
        """Whether ``host`` (lower case) names this service, as the domain of an AOR may."""
        return host in self.hosts

    def is_ours(self, host: str, port: int | None) -> bool:
        """Whether a Route to this host and port leads here; no port: the default, or NAT's."""
        return host in self.hosts and (
            port is None or any(address.port == port for address in self.listening)
        )

    def can_reach(self, host: str) -> bool:
        """Whether we listen in this IP literal's family, so that answers can come back."""
        return any((":" in address.host) == (":" in host) for address in self.listening)

    def local_for(self, host: str, transport: str = "udp") -> Address:
        """The listening address that requests toward ``host``, an IP literal, leave from.

        Of its transport and IP family; without such a listener of its family: the connection is
        ours, and what comes back comes on it.
        """
        six = ":" in host
        family = [address for address in self.listening if (":" in address.host) == six]
        for address in family:
            if address.transport == transport:
                return address
        return family[0] if family else self.listening[0]
