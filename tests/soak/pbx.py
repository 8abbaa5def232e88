"""The PBX of a soak: trunk peer, registrar of a few accounts, and callee of outgoing calls."""

from __future__ import annotations

import asyncio
from typing import cast

from .end import End, World
from .played import Played
from .wire import REALM, headers, number, value

NAME = "pbx"
BUSY_S, RESTING_S = 60, 3600
"""How long registrations last: short ones are refreshed all the time, long ones leave silence."""


class Pbx(End, asyncio.DatagramProtocol):
    """One of its sockets; `silent`: it hears nothing of what is asked of it."""

    def __init__(self, world: World, service: tuple[str, int]) -> None:
        super().__init__(world, NAME, service)
        self.silent = False
        self.grants_s = BUSY_S
        self.contacts: dict[str, str] = {}
        """Request-URIs of users that have registered here."""
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn where we are."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def send(self, message: bytes) -> None:
        """To the service."""
        if self._transport is not None:
            self._transport.sendto(message, self.service)

    def close(self) -> None:
        """Its socket."""
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
        """Registrations are taken as they come; the rest is calls."""
        if data.startswith((b"REGISTER ", b"OPTIONS ", b"INVITE ")) and self.silent:
            return
        if data.startswith(b"REGISTER "):
            self._register(data)
        else:
            self.take(data)

    def _register(self, message: bytes) -> None:
        contact = headers(message, b"Contact")
        if contact:
            uri = value(message, b"Contact").partition(b"<")[2].partition(b">")[0].decode()
            user = value(message, b"To").partition(b"sip:")[2].partition(b"@")[0].decode()
            self.contacts[user] = uri
            contact = f"Contact: <{uri}>;expires={self.grants_s}\r\n".encode()
        self.reply(message, b"200 OK", contact)

    def call(self, call: Played) -> None:
        """A call to one of the service's accounts."""
        uri = self.contacts.get(call.user) or f"sip:{call.user}@127.0.0.1:{self.service[1]}"
        identity = (
            f"From: <sip:caller@{REALM}>;tag=c{number()}\r\nTo: <sip:{call.user}@{REALM}>\r\n"
            f"Call-ID: {call.call_id}\r\n"
        ).encode()
        self.place(call, uri, identity)
