"""One HTTP/1.1 connection as a server sees it, with the same face as `h2_line.H2Line`."""

from __future__ import annotations

import asyncio
from typing import Protocol

import h11

Headers = list[tuple[str, str]]


class H11Owner(Protocol):
    """Whom a line tells what happens on it."""

    def line_opened(self, line: H11Line) -> bool:
        """After the handshake; False: close it at once."""

    def line_closed(self, line: H11Line) -> None:
        """It is gone, whoever closed it."""

    def request_arrived(self, line: H11Line, stream: int, headers: Headers, body: bytes) -> None:
        """A whole request, not yet answered; headers with HTTP/2's `:method` and `:path`."""


class H11Line(asyncio.Protocol):
    """Server side of one connection; requests are numbered, from 1."""

    http = "1.1"

    def __init__(self, owner: H11Owner) -> None:
        self.owner = owner
        self.number = 0
        """Given by the owner."""
        self.deaf = False
        self._h11 = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport | None = None
        self._requests = 0
        self._headers: Headers = []
        self._body = bytearray()

    @property
    def open(self) -> bool:
        """Whether it can still carry anything."""
        return self._transport is not None and not self._transport.is_closing()

    def respond(self, stream: int, status: int, headers: Headers, body: bytes = b"") -> None:
        """Answer."""
        if not self.open or stream != self._requests:
            return
        fields = [*headers, ("content-length", str(len(body)))]
        self._send(h11.Response(status_code=status, headers=fields))
        self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())
        if self._h11.our_state is h11.MUST_CLOSE:
            self.close()
        else:
            self._h11.start_next_cycle()
            self._take()

    def reset(self, stream: int) -> None:  # noqa: ARG002 - HTTP/2's face
        """There are no streams: the connection breaks."""
        self.drop()

    def go_away(self) -> None:
        """HTTP/1.1 has no such thing: nothing happens."""

    def close(self) -> None:
        """Close politely."""
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Break the connection in the middle of whatever goes on."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self.owner.line_opened(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        self._h11.receive_data(data)
        self._take()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._transport = None
        self.owner.line_closed(self)

    def _take(self) -> None:
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError:
                self.close()
                return
            match event:
                case h11.Request():
                    self._headers = [
                        (":method", event.method.decode()),
                        (":path", event.target.decode()),
                        *(
                            (name.decode(), value.decode("latin-1"))
                            for name, value in event.headers
                        ),
                    ]
                    self._body = bytearray()
                case h11.Data():
                    self._body += event.data
                case h11.EndOfMessage():
                    self._requests += 1
                    self.owner.request_arrived(
                        self, self._requests, self._headers, bytes(self._body)
                    )
                case _:
                    return

    def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data and self._transport is not None:
            self._transport.write(data)
