"""One of the double's two addresses (production, sandbox), with the ways in which it can fail."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Literal

from tests.lab.ports import free_port

from .h2_line import H2Line

HOST = "127.0.0.1"
Mode = Literal["open", "refusing", "mute", "rude"]


class ApnsListener:
    """A port. `mode` is how it takes connections; those that exist are not touched by a change."""

    def __init__(
        self, environment: str, tls: ssl.SSLContext, make_line: Callable[[str], H2Line]
    ) -> None:
        self.environment = environment
        # Not one that the kernel hands out: while this is closed, a client could get it.
        self.port = free_port()
        self.mode: Mode = "refusing"
        self._tls = tls
        self._make_line = make_line
        self._server: asyncio.Server | None = None
        self._strangers: set[asyncio.StreamWriter] = set()
        self.knocks = 0
        """Connections that came while it was mute or rude."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return HOST, self.port

    @property
    def base_url(self) -> str:
        """Such as `https://127.0.0.1:40000`."""
        return f"https://{HOST}:{self.port}"

    async def listen(self, mode: Mode) -> None:
        """`open`: as APNs. `refusing`: the port is closed. `mute`: takes connections and says
        nothing, no TLS either. `rude`: takes connections and resets them.
        """
        await self.close()
        self.mode = mode
        loop = asyncio.get_running_loop()
        if mode == "open":
            self._server = await loop.create_server(
                lambda: self._make_line(self.environment),
                HOST,
                self.port,
                ssl=self._tls,
                reuse_address=True,
            )
        elif mode != "refusing":
            self._server = await asyncio.start_server(
                self._stranger, HOST, self.port, reuse_address=True
            )

    async def close(self) -> None:
        """Stop taking connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._strangers:
            writer.transport.abort()
        self._strangers.clear()
        # Not wait_closed: from Python 3.12 on it waits for the connections, which go on.
        await asyncio.sleep(0)

    async def _stranger(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        self._strangers.add(writer)
        if self.mode == "mute":
            with contextlib.suppress(OSError):
                while await reader.read(4096):
                    pass
        writer.transport.abort()
        self._strangers.discard(writer)
