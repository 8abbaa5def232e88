"""A TCP relay between a real phone and the service: its network, which a test can take away."""

from __future__ import annotations

import asyncio
from typing import Self

from push_proxy.tasks import spawn

Address = tuple[str, int]


class TcpRelay:
    """Passes bytes on, both ways; connections can be cut, and the next ones work again.

    It listens at another loopback address (`host`), on the port of its target.
    """

    def __init__(self, target: Address, *, host: str) -> None:
        self.target = target
        self.address = host, target[1]
        self.accepted = 0
        """Connections so far."""
        self._open: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Near(self), *self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Every connection ends, on both sides, in the middle of whatever it carries."""
        for transport in tuple(self._open):
            transport.abort()

    def keep(self, transport: asyncio.BaseTransport) -> asyncio.Transport:
        """Called by its connections."""
        assert isinstance(transport, asyncio.Transport)
        self._open.add(transport)
        return transport

    def forget(self, transport: asyncio.Transport | None) -> None:
        """Called by its connections."""
        if transport is not None:
            self._open.discard(transport)


class _End(asyncio.Protocol):
    def __init__(self, relay: TcpRelay) -> None:
        self.relay = relay
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = self.relay.keep(transport)
        if self.waiting:
            self.transport.write(self.waiting)
            self.waiting = b""

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is not None and other.transport is not None:
            other.transport.write(data)
        elif other is not None:
            other.waiting += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.relay.forget(self.transport)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.abort()


class _Near(_End):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.relay.accepted += 1
        self.other = _End(self.relay)
        self.other.other = self
        self.task = spawn(self._connect(self.other), name="far end of a relay")

    async def _connect(self, far: _End) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, *self.relay.target)
        except OSError:
            if self.transport is not None:
                self.transport.abort()
