"""SIP on TCP and TLS connections for the lab's agents: framing, flows, and ways to lose them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Callable
from typing import cast

from push_proxy.tasks import spawn

from .certificates import TlsIdentity

Address = tuple[str, int]
PING, PONG = b"\r\n\r\n", b"\r\n"
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_ABORTIVE = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """One TCP or TLS connection; TLS is up when it is `ready`."""

    def __init__(
        self,
        on_message: Callable[[bytes, Address], None],
        on_made: Callable[[Connection], None],
        *,
        incoming: bool,
    ) -> None:
        self.incoming = incoming
        """The other side opened it."""
        self.local: Address = ("", 0)
        self.remote: Address = ("", 0)
        self.closed = asyncio.Event()
        """The connection has ended, whoever ended it."""
        self.close_reason: Exception | None = None
        self.frozen = False
        self.pings = 0
        """Double CRLFs that arrived and were answered, RFC 5626 §4.4.1."""
        self.pongs = 0
        """Single CRLFs that arrived: answers to ours."""
        self.pong = asyncio.Event()
        self._on_message = on_message
        self._on_made = on_made
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent on it."""
        return self._transport is not None and not self.frozen and not self.closed.is_set()

    @property
    def peer_certificate(self) -> dict[str, object]:
        """What the other side showed, as `ssl` tells it; empty for none."""
        found = self._transport and self._transport.get_extra_info("peercert")
        return dict(found) if found else {}

    def write(self, data: bytes) -> None:
        """Send bytes; a frozen connection swallows them."""
        if self._transport is not None and not self.frozen:
            self._transport.write(data)

    def close(self) -> None:
        """An end that the other side sees as FIN. Idempotent."""
        if self._transport is None:
            return
        if self.frozen or self._transport.get_extra_info("ssl_object") is not None:
            # An orderly end of TLS waits for the other side's word.
            self._transport.abort()
        else:
            self._transport.close()

    def drop(self) -> None:
        """An abortive end: the other side gets a RST. Idempotent."""
        if self._transport is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
            self._transport.abort()

    def freeze(self) -> None:
        """From now on nothing is read and nothing sent, and it stays open.

        The kernel takes what arrives until its buffer is full.
        """
        self.frozen = True
        self.pause_reading()

    def pause_reading(self) -> None:
        """Take nothing more from the kernel; sending goes on."""
        if self._transport is not None:
            self._transport.pause_reading()

    def limit_buffers(self) -> None:
        """The smallest buffer for what arrives: a frozen peer's window is full soon."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    async def ping(self, *, within: float = 5.0) -> None:
        """Double CRLF; waits for the single one. Raises TimeoutError."""
        self.pong.clear()
        self.write(PING)
        await asyncio.wait_for(self.pong.wait(), within)

    @property
    def _socket(self) -> socket.socket:
        assert self._transport is not None, "not connected"
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio; over TLS after the handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self.local = transport.get_extra_info("sockname")[:2]
        self.remote = transport.get_extra_info("peername")[:2]
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._on_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.close_reason = exc
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: cut messages off the stream by Content-Length, RFC 3261 §18.3."""
        self._buffer += data
        while self._buffer and not self.frozen:
            if self._buffer.startswith(b"\r"):
                if not self._take_line_ends():
                    return
                continue
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(head + b"\r\n")
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self._buffer = rest[size:]
            self._on_message(head + end + rest[:size], self.remote)

    def _take_line_ends(self) -> bool:
        if self._buffer.startswith(PING):
            self._buffer = self._buffer[len(PING) :]
            self.pings += 1
            self.write(PONG)
        elif self._buffer == PONG or (
            self._buffer.startswith(PONG) and self._buffer[2:3] not in (b"", b"\r")
        ):
            self._buffer = self._buffer[len(PONG) :]
            self.pongs += 1
            self.pong.set()
        else:
            return False
        return True


class StreamSocket:
    """A listener and all connections of one agent."""

    def __init__(
        self, on_message: Callable[[bytes, Address], None], tls: TlsIdentity | None
    ) -> None:
        """With `tls` everything is TLS; without certificate in it nothing can be listened on."""
        self.connections: list[Connection] = []
        """All that ever stood, oldest first."""
        self.errors: list[Exception] = []
        """Why connections of ours were not made: refused, bad certificate."""
        self._on_message = on_message
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._host = ""
        self._is_closed = False
        self.address: Address = ("", 0)
        self._waiting: dict[Address, list[bytes]] = {}

    async def open(self, host: str, port: int) -> None:
        """Listen; a TLS agent without certificate has an address that nobody can reach."""
        loop = asyncio.get_running_loop()
        context = None
        self._is_closed = False
        if self._tls is not None:
            if self._tls.certificate is None:
                self._host, self.address = host, (host, port or 5061)
                return
            context = self._tls.server_context()
        # Whoever is cancelled while it serves already still has the listener to close.
        self._server = await loop.create_server(
            lambda: Connection(self._on_message, self._made, incoming=True),
            host, port, ssl=context, start_serving=False,
        )  # fmt: skip
        self._host = host
        self.address = self._server.sockets[0].getsockname()[:2]
        await self._server.start_serving()

    def close(self) -> None:
        """Close the listener and, in order, every connection; also one that is on its way."""
        self._is_closed = True
        self.stop_listening()
        for connection in self.connections:
            connection.close()

    def _made(self, connection: Connection) -> None:
        self.connections.append(connection)
        if self._is_closed:
            connection.close()

    def stop_listening(self) -> None:
        """New connections are refused; those that stand go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def find(self, remote: Address) -> Connection | None:
        """The newest open connection whose other end is `remote`."""
        open_ones = (c for c in reversed(self.connections) if c.is_open and c.remote == remote)
        return next(open_ones, None)

    async def connect(self, to: Address, *, server_name: str | None = None) -> Connection:
        """A new connection from our host. Raises OSError, or ssl.SSLError for its certificate."""
        loop = asyncio.get_running_loop()
        context = self._tls.client_context() if self._tls is not None else None
        _, connection = await loop.create_connection(
            lambda: Connection(self._on_message, self._made, incoming=False),
            *to,
            ssl=context,
            server_hostname=(server_name or to[0]) if context else None,
            local_addr=(self._host, 0),
        )
        return connection

    def send(self, data: bytes, to: Address) -> None:
        """On the connection with `to`; one is made when there is none."""
        connection = self.find(to)
        if connection is not None:
            connection.write(data)
        elif to in self._waiting:
            self._waiting[to].append(data)
        else:
            self._waiting[to] = [data]
            spawn(self._connect_and_send(to), name=f"connect to {to}")

    async def _connect_and_send(self, to: Address) -> None:
        try:
            connection = await self.connect(to)
        except (OSError, ssl.SSLError) as error:
            self.errors.append(error)
            self._waiting.pop(to)
            return
        for data in self._waiting.pop(to):
            connection.write(data)


async def closed(connection: Connection, *, within: float = 5.0) -> bool:
    """Whether the connection ends within seconds."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(connection.closed.wait(), within)
    return connection.closed.is_set()
