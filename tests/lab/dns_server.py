"""A small DNS server: records from a zone text, over UDP, as slow or broken as a test wants."""

from __future__ import annotations

import asyncio
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.zone

from .ports import free_port


class DnsServer(asyncio.DatagramProtocol):
    """Authoritative for one zone. Use as an async context manager."""

    def __init__(self, origin: str, records: str = "", *, ttl_s: int = 60) -> None:
        self.origin = dns.name.from_text(origin)
        self.ttl_s = ttl_s
        self.silent = False
        self.failing = False
        self.questions: list[tuple[str, str]] = []
        """Name and type of each question, in order."""
        self._transport: asyncio.DatagramTransport | None = None
        self.set(records)

    def set(self, records: str) -> None:
        """Replace all records: lines like ``_sip._udp SRV 10 0 5060 one``."""
        head = (
            f"$TTL {self.ttl_s}\n@ SOA ns.invalid. admin.invalid. 1 60 60 60 60\n@ NS ns.invalid.\n"
        )
        self.zone = dns.zone.from_text(head + records, origin=self.origin, relativize=False)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Bind the socket."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(host, port or free_port())
        )

    def stop(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    @property
    def hostport(self) -> str:
        """The same as the configuration takes it."""
        return "{}:{}".format(*self.address)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One question."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.questions.append((question.name.to_text(), dns.rdatatype.to_text(question.rdtype)))
        if self.silent or self._transport is None:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif not question.name.is_subdomain(self.origin):
            response.set_rcode(dns.rcode.REFUSED)
        elif self.zone.get_node(question.name) is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif (found := self.zone.get_rrset(question.name, question.rdtype)) is not None:
            response.answer.append(found)
        self._transport.sendto(response.to_wire(), addr)
