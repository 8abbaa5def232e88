"""Single DNS questions, asked without blocking."""

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from ..core.pbx import is_literal

NO_TTL_S = 60.0
"""How long an answer of the system's resolver, or the absence of one, holds: neither tells."""
_TIMEOUT_S = 3.0


class DnsUnavailable(OSError):
    """No name server answered; it says nothing about the name."""


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """Records of one question, none where there are none."""

    records: tuple[Any, ...] = ()
    ttl_s: float = NO_TTL_S


class DnsClient:
    """Asks the given name servers, or whomever this machine is configured to ask.

    Addresses come from the system's resolver when no name server is given: it also knows
    ``/etc/hosts`` and whatever else the machine is told to look at.
    """

    def __init__(self, nameservers: Iterable[tuple[str, int]] = ()) -> None:
        self._given = tuple(nameservers)
        self._resolver = _resolver(self._given)

    async def records(self, name: str, kind: str) -> DnsAnswer:
        """Records of this ``kind`` (``SRV``, ``NAPTR``…). Raises `DnsUnavailable`."""
        if self._resolver is None:
            return DnsAnswer()
        try:
            answer = await self._resolver.resolve(name, kind, lifetime=_TIMEOUT_S)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return DnsAnswer()
        except (dns.exception.DNSException, OSError) as error:
            raise DnsUnavailable(f"{name} {kind}: {error}") from error
        rrset = answer.rrset
        return DnsAnswer() if rrset is None else DnsAnswer(tuple(rrset), float(rrset.ttl))

    async def addresses(self, host: str) -> DnsAnswer:
        """A and AAAA addresses as text, most wanted first; at least one. Raises `OSError`."""
        if is_literal(host):
            return DnsAnswer((host,))
        if not self._given:
            return DnsAnswer(await system_addresses(host))
        four, six = await asyncio.gather(self.records(host, "A"), self.records(host, "AAAA"))
        found = tuple(str(record.address) for record in (*four.records, *six.records))
        if not found:
            raise OSError(f"{host}: no address (A or AAAA) on record")
        return DnsAnswer(found, min(a.ttl_s for a in (four, six) if a.records))


async def system_addresses(host: str) -> tuple[str, ...]:
    """A and AAAA by the system's resolver, its order kept. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _resolver(nameservers: tuple[tuple[str, int], ...]) -> dns.asyncresolver.Resolver | None:
    try:
        resolver = dns.asyncresolver.Resolver(configure=not nameservers)
    except dns.resolver.NoResolverConfiguration:
        return None  # a machine without name servers has no SRV records either
    if nameservers:
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(host, port) for host, port in nameservers
        ]
    resolver.timeout = 1.0
    return resolver
