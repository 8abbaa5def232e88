"""What else comes to a service in the network: scanners, monitors, apps that ask."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import aiohttp

from .wire import REALM, number, request

if TYPE_CHECKING:
    from .engine import Soak

_EVERY_S = 0.2
_JUNK = (
    b"\x00\x01\x02\x03",
    b"INVITE sip:x SIP/2.0\r\n\r\n",
    b"REGISTER sip:soak SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9\r\nCSeq: x\r\n\r\n",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n\r\n",
    b"INVITE sip:sleeper1@127.0.0.1 SIP/2.0\r\nContent-Length: 99999\r\n\r\nv=0",
    b"\r\n\r\n",
)


class Noise:
    """A few useless and a few useful messages a second."""

    def __init__(self, soak: Soak) -> None:
        self._soak = soak
        self._rng = soak.rng

    async def run(self) -> None:
        """Until cancelled."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.setblocking(False)
            while True:
                await asyncio.sleep(self._rng.uniform(0.5, 1.5) * _EVERY_S)
                await self._rng.choice((self._junk, self._phone, self._probe, self._api))(stranger)

    async def _junk(self, stranger: socket.socket) -> None:
        with contextlib.suppress(OSError):
            stranger.sendto(self._rng.choice(_JUNK), self._soak.service.sip_address)

    async def _probe(self, stranger: socket.socket) -> None:
        user = self._rng.choice(("sleeper0", "awake0", "nobody"))
        method = self._rng.choice(("OPTIONS", "SUBSCRIBE", "INFO"))
        port = stranger.getsockname()[1]
        identity = (
            f"From: <sip:probe@{REALM}>;tag=n{number()}\r\nTo: <sip:{user}@{REALM}>\r\n"
            f"Call-ID: noise-{number()}\r\n"
        ).encode()
        message = request(
            method,
            f"sip:{user}@127.0.0.1:{self._soak.service.sip_port}",
            via=f"UDP 127.0.0.1:{port}",
            branch=f"z9hG4bK-n{number()}",
            identity=identity,
            cseq=1,
            extra=f"Contact: <sip:probe@127.0.0.1:{port}>\r\nEvent: dialog\r\n",
        )
        with contextlib.suppress(OSError):
            stranger.sendto(message, self._soak.service.sip_address)

    async def _phone(self, _: socket.socket) -> None:
        """A phone in no call goes, or refreshes under a Call-ID of its own."""
        name = self._soak.idle_phone()
        if name is None:
            return
        phone = self._soak.phones[name]
        if name.startswith(("awake", "caller")):
            phone.register(f"-{number()}")
        else:
            phone.register(expires_s=0)

    async def _api(self, _: socket.socket) -> None:
        path = self._rng.choice(
            ("/v1/calls?limit=20", "/v1/accounts/sleeper0", "/readyz", "/v1/calls?verdict=busy")
        )
        with contextlib.suppress(aiohttp.ClientError):
            await self._soak.service.request("GET", path)
