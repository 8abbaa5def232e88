"""The double's one port: TLS, and HTTP/2 or HTTP/1.1 as the client likes."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

from tests.lab.ports import free_port

from .h2_line import H2Line, Headers
from .h11_line import H11Line

HOST = "127.0.0.1"
Line = H2Line | H11Line


class Owner(Protocol):
    """Whom lines of both kinds tell what happens: `h2_line.LineOwner`, `h11_line.H11Owner`."""

    def line_opened(self, line: Line) -> bool: ...
    def line_closed(self, line: Line) -> None: ...
    def request_arrived(self, line: Line, stream: int, headers: Headers, body: bytes) -> None: ...
    def stream_cancelled(self, line: H2Line, stream: int) -> None: ...


class FcmListener:
    """A port that can be closed and opened again."""

    def __init__(self, tls: ssl.SSLContext, owner: Owner, *, streams: int) -> None:
        # Not one that the kernel hands out: while this is closed, a client could get it.
        self.port = free_port()
        self.knocks = 0
        """Connections that came while it was mute."""
        self._tls = tls
        self._owner = owner
        self._streams = streams
        self._server: asyncio.Server | None = None
        self._mute: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return HOST, self.port

    @property
    def base_url(self) -> str:
        """Such as `https://127.0.0.1:40000`."""
        return f"https://{HOST}:{self.port}"

    async def listen(self, *, mute: bool = False) -> None:
        """Take connections; `mute`: and then say nothing, no TLS either."""
        await self.close()
        loop = asyncio.get_running_loop()
        if mute:
            self._server = await asyncio.start_server(self._stranger, HOST, self.port)
        else:
            self._server = await loop.create_server(
                lambda: _Chooser(self._owner, self._streams), HOST, self.port, ssl=self._tls
            )

    async def close(self) -> None:
        """Refuse connections; those that exist go on."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._mute:
            writer.transport.abort()
        self._mute.clear()
        # Not wait_closed: from Python 3.12 on it waits for the connections, which go on.
        await asyncio.sleep(0)

    async def _stranger(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        self._mute.add(writer)


class _Chooser(asyncio.Protocol):
    """Gives the connection to whoever speaks what TLS agreed on."""

    def __init__(self, owner: Owner, streams: int) -> None:
        self._owner = owner
        self._streams = streams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        spoken = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        line: Line
        if spoken == "h2":
            line = H2Line(self._owner, allowed=self._streams, environment="")
        else:
            line = H11Line(self._owner)
        transport.set_protocol(line)
        line.connection_made(transport)
