"""Sends recorded messages to a collector (Homer) as they come, and never waits for it.

UDP from a socket that does not block: the queue is the socket's own buffer, what does not fit is
counted and gone. A collector that is away costs nothing but what it does not get.
"""

import asyncio
import contextlib
import ipaddress
import socket
import time
from dataclasses import dataclass

import structlog

from ..core.model import Address
from ..signaling.captured import Captured
from ..tasks import spawn
from .hep_packet import packet

_log = structlog.get_logger(__name__)
_LOOK_UP_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HepTarget:
    """Where to, and who we are there."""

    host: str
    """Name or IP address."""
    port: int
    capture_id: int = 2001
    password: bytes = b""


class HepExport:
    """One collector."""

    def __init__(self, target: HepTarget) -> None:
        """Nothing is opened before the first message."""
        self.target = target
        self.sent = 0
        self.dropped = 0
        self._socket: socket.socket | None = None
        self._looked_up_at = -_LOOK_UP_EVERY_S
        self._looking: asyncio.Task[None] | None = None
        self._complained = False

    def send(self, message: Captured) -> None:
        """Send a message; returns at once."""
        now = time.monotonic()
        if now - self._looked_up_at >= _LOOK_UP_EVERY_S:
            self._looked_up_at = now
            self._look_up()
        ends = (message.local, message.peer) if message.sent else (message.peer, message.local)
        source, target = ends
        data = packet(
            message.raw,
            at=message.at,
            source=source,
            target=target,
            correlation_id=message.call_id,
            capture_id=self.target.capture_id,
            password=self.target.password,
        )
        if self._socket is None or data is None:
            self.dropped += 1
            return
        try:
            self._socket.send(data)
            self.sent += 1
        except OSError:
            # Its buffer is full, or the collector's host said that nobody listens there.
            self.dropped += 1

    def close(self) -> None:
        """Send nothing more."""
        if self._looking is not None:
            self._looking.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _look_up(self) -> None:
        """Again from time to time: a collector may move."""
        host, port = self.target.host, self.target.port
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            if self._socket is None:
                self._open(Address(host, port))
            return
        if self._looking is None or self._looking.done():
            self._looking = spawn(self._resolve(), name=f"address of the HEP collector {host}")

    async def _resolve(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self.target.host, self.target.port
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            self._complain(f"{host} has no address: {error}")
            return
        self._open(Address(str(found[0][4][0]), port))

    def _open(self, address: Address) -> None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.settimeout(0)
            opened.connect((address.host, address.port))
        except OSError as error:
            opened.close()
            self._complain(f"{address} cannot be reached: {error}")
            return
        if self._socket is not None:
            self._socket.close()
        self._socket = opened
        self._complained = False

    def _complain(self, what: str) -> None:
        if not self._complained:
            _log.warning("SIP is not exported: recorder.hep.address", fault=what)
        self._complained = True
