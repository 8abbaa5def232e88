"""The questions of RFC 3263, asked of DNS; `core.locating` judges the answers."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from ..core.locating import (
    TRANSPORTS,
    Located,
    Naptr,
    Srv,
    Target,
    plain_target,
    services,
    srv_name,
    targets_of,
)
from ..core.pbx import Endpoint, is_literal
from .dns_client import DnsAnswer, DnsClient, DnsUnavailable


class Locator(Protocol):
    """Finds the servers of an endpoint."""

    async def locate(self, end: Endpoint) -> Located:
        """Its servers.

        Raises `OSError` when they cannot be found out, `UnicodeError` when the name is none.
        """


class DnsLocator:
    """`Locator` by DNS."""

    def __init__(self, nameservers: Iterable[tuple[str, int]] = ()) -> None:
        self._dns = DnsClient(nameservers)

    async def locate(self, end: Endpoint) -> Located:
        """See `Locator.locate`. A literal address or a given port is no question for SRV."""
        if is_literal(end.host):
            return Located(plain_target(end, (end.host,)))
        certain = True
        if end.port is None and end.host != "localhost":
            try:
                found = await self._by_service(end)
            except DnsUnavailable:
                # A name that only this machine's own files know is still a name.
                found, certain = None, False
            if found is not None:
                return found
        answer = await self._dns.addresses(end.host)
        return Located(plain_target(end, answer.records), answer.ttl_s, certain)

    async def _by_service(self, end: Endpoint) -> Located | None:
        """By NAPTR and SRV records; None when there are none. Raises `OSError`."""
        ttls: list[float] = []
        names: tuple[tuple[str, str], ...]
        if end.transport is not None:
            names = ((end.transport, srv_name(end.host, end.transport)),)
        else:
            names = await self._naptr(end.host, ttls) or tuple(
                (transport, srv_name(end.host, transport)) for transport in TRANSPORTS
            )
        for transport, name in names:
            answer = await self._dns.records(name, "SRV")
            if answer.records:
                ttls.append(answer.ttl_s)
                targets = await self._targets(answer, transport, ttls)
                return Located(targets, min(ttls))
        return None

    async def _naptr(self, host: str, ttls: list[float]) -> tuple[tuple[str, str], ...]:
        answer = await self._dns.records(host, "NAPTR")
        if answer.records:
            ttls.append(answer.ttl_s)
        return services(
            Naptr(
                record.order,
                record.preference,
                record.flags.decode("ascii", "replace"),
                record.service.decode("ascii", "replace"),
                record.replacement.to_text(),
            )
            for record in answer.records
        )

    async def _targets(
        self, answer: DnsAnswer, transport: str, ttls: list[float]
    ) -> tuple[Target, ...]:
        records = [
            Srv(record.priority, record.weight, record.port, record.target.to_text())
            for record in answer.records
        ]
        hosts = sorted({record.host for record in records} - {""})
        answers = await asyncio.gather(
            *(self._dns.addresses(host) for host in hosts), return_exceptions=True
        )
        known: dict[str, tuple[str, ...]] = {}
        for host, found in zip(hosts, answers, strict=True):
            if isinstance(found, DnsAnswer):
                known[host] = found.records
                ttls.append(found.ttl_s)
            elif not isinstance(found, OSError):
                raise found
        if not known and hosts:
            raise OSError(f"none of {', '.join(hosts)} has an address")
        return targets_of(records, known, transport)
