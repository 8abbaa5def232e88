"""The phones of a soak: asleep until a push, over UDP or TCP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from typing import Protocol, cast

from push_proxy.tasks import spawn

from .end import End, Leg
from .end import World as Ends
from .played import Played, Ring
from .wire import REALM, digest, number, request, value

EXPIRES_S = 600
AWAKE = ("awake", "caller")
"""Accounts whose phones never sleep."""
_AGAIN_S = 1.0
_BACK_S = 0.2
_RESET = struct.pack("ii", 1, 0)


class World(Ends, Protocol):
    """What phones ask of the soak besides."""

    def report(self, call_id: str, name: str) -> None:
        """The app of this phone tells the API that a push came."""

    def decline(self, call_id: str, name: str) -> None:
        """The person declines on the push screen."""

    def rotate(self, name: str) -> None:
        """The app hands in a new token."""


class Phone(End):
    """One device of one account; ``name`` is ``account/device``."""

    world: World

    def __init__(self, world: World, name: str, service: tuple[str, int]) -> None:
        super().__init__(world, name, service)
        self.user, _, self.device = name.partition("/")
        self.instance = f"urn:uuid:{number():08x}-0000-4000-8000-000000000000"
        self.registered_at = 0.0
        self._pending: dict[bytes, tuple[float, bytes]] = {}
        self._cseq = 0
        self._told: set[str] = set()
        self._awake: set[str] = set()
        self._rotated: set[str] = set()

    # pushes

    def pushed(self, call: Played, proxy_call: str) -> None:
        """A call push came."""
        acts = call.acts.get(self.name)
        if acts is None or call.call_id in self._told:
            return
        if acts.rotates and call.call_id not in self._rotated:
            self._rotated.add(call.call_id)
            self.world.rotate(self.name)
            return
        self._told.add(call.call_id)
        if acts.reports:
            self.world.report(proxy_call, self.name)
        if acts.declines_by_api:
            self.world.decline(proxy_call, self.name)
        if acts.wakes_s is not None:
            loop = asyncio.get_running_loop()
            for extra in range(3 if acts.burst else 1):
                loop.call_later(acts.wakes_s, self._wake, call, f"-{call.call_id}-{extra}")

    def _wake(self, call: Played, dialog: str) -> None:
        self._awake.add(call.call_id)
        self.register(dialog)

    def forget(self, call: Played) -> None:
        """The call is long over."""
        for calls in (self._told, self._awake, self._rotated):
            calls.discard(call.call_id)

    # registering

    def register(self, dialog: str = "", *, expires_s: int = EXPIRES_S) -> None:
        """REGISTER; its challenge is answered by itself."""
        call_id = f"reg-{self.name}{dialog}"
        self._register(call_id, "", expires_s)

    def _register(self, call_id: str, authorization: str, expires_s: int) -> None:
        self._cseq += 1
        identity = (
            f"From: <sip:{self.user}@{REALM}>;tag=r\r\nTo: <sip:{self.user}@{REALM}>\r\n"
            f"Call-ID: {call_id}\r\n"
        ).encode()
        extra = f'Contact: <{self.contact}>;+sip.instance="<{self.instance}>"\r\n'
        extra += f"Expires: {expires_s}\r\n{authorization}"
        message = request(
            "REGISTER",
            f"sip:{REALM}",
            via=self.via,
            branch=f"z9hG4bK-r{number()}",
            identity=identity,
            cseq=self._cseq,
            extra=extra,
        )
        self._pending[call_id.encode()] = (time.monotonic(), message)
        self.send(message)

    def take(self, message: bytes) -> None:
        """Answers to REGISTER, and calls; while it sleeps nothing of calls."""
        if message.startswith(b"INVITE ") and not self._is_awake(message):
            return
        if message.startswith(b"SIP/2.0 ") and value(message, b"CSeq").endswith(b"REGISTER"):
            self._registered(message, int(message[8:11]))
        else:
            super().take(message)

    def _is_awake(self, message: bytes) -> bool:
        call = self.world.calls.get(value(message, b"Call-ID"))
        if self.user.startswith(AWAKE) or call is None or call.call_id in self._awake:
            return True
        # Of two calls at once the push of one may have woken it for both.
        return call.kind.twice and bool(self._awake)

    def _registered(self, message: bytes, status: int) -> None:
        call_id = value(message, b"Call-ID")
        pending = self._pending.get(call_id)
        if pending is None or status < 200:
            return
        if value(pending[1], b"CSeq") != value(message, b"CSeq"):
            return
        del self._pending[call_id]
        challenged = status == 401 and b"\r\nAuthorization:" not in pending[1]
        stale = status == 401 and b"stale=true" in message.lower()
        if challenged or stale:
            proof = digest(
                message,
                user=self.user,
                password=f"pw-{self.user}",
                method="REGISTER",
                uri=f"sip:{REALM}",
            )
            expires_s = int(value(pending[1], b"Expires"))
            self._register(call_id.decode(), f"Authorization: {proof}\r\n", expires_s)
        elif status == 200:
            self.registered_at = time.monotonic()

    def credentials(self, challenge: bytes, leg: Leg) -> str | None:
        """The service asks who calls."""
        return digest(
            challenge, user=self.user, password=f"pw-{self.user}", method="INVITE", uri=leg.uri
        )

    def repeat(self, now: float) -> None:
        """REGISTERs too; a phone that never sleeps refreshes its own in time."""
        super().repeat(now)
        if self.registered_at and now - self.registered_at > EXPIRES_S / 2:
            self.registered_at = now
            if self.user.startswith(AWAKE):
                self.register()
        for call_id, (sent_at, message) in list(self._pending.items()):
            if now - sent_at > 10:
                del self._pending[call_id]
            elif now - sent_at > _AGAIN_S:
                self.send(message)

    # its own calls

    def call_out(self, call: Played) -> None:
        """To a number behind the PBX."""
        identity = (
            f"From: <sip:{self.user}@{REALM}>;tag=o{number()}\r\nTo: <sip:900@{REALM}>\r\n"
            f"Call-ID: {call.call_id}\r\n"
        ).encode()
        self.place(call, f"sip:900@{REALM}", identity)


class UdpPhone(Phone, asyncio.DatagramProtocol):
    """A phone behind a socket of its own."""

    _transport: asyncio.DatagramTransport | None = None

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
        """One message."""
        self.take(data)


class _Connection(asyncio.Protocol):
    """Frames what comes on a phone's connection."""

    def __init__(self, phone: TcpPhone) -> None:
        self._phone = phone
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._phone.connected(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer.startswith(b"\r\n"):
            self._buffer = self._buffer.removeprefix(b"\r\n")
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            start = self._buffer.lower().find(b"\r\ncontent-length:", 0, end)
            line = self._buffer[start + 17 : self._buffer.find(b"\r\n", start + 2)]
            size = end + 4 + int(line or b"0")
            if len(self._buffer) < size:
                return
            message, self._buffer = self._buffer[:size], self._buffer[size:].lstrip(b"\r\n")
            self._phone.take(message)


class TcpPhone(Phone):
    """A phone that registers over TCP: a new connection whenever the last one is gone."""

    transport_name = "TCP"
    _stream: asyncio.Transport | None = None
    _opening = False

    def connected(self, stream: asyncio.Transport) -> None:
        """The connection stands."""
        self._stream, self._opening = stream, False
        self.flow += 1
        self.port = stream.get_extra_info("sockname")[1]

    def send(self, message: bytes) -> None:
        """On its connection; without one it is lost."""
        if self._stream is not None and not self._stream.is_closing():
            self._stream.write(message)

    def register(self, dialog: str = "", *, expires_s: int = EXPIRES_S) -> None:
        """On a connection, a new one if need be."""
        if self._stream is not None and not self._stream.is_closing():
            super().register(dialog, expires_s=expires_s)
        elif not self._opening:
            self._opening = True
            spawn(self._connect_and_register(dialog, expires_s), name=f"{self.name} connects")

    async def _connect_and_register(self, dialog: str, expires_s: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Connection(self), *self.service)
        except OSError:
            self._opening = False
            return
        super().register(dialog, expires_s=expires_s)

    def close(self) -> None:
        """Its connection."""
        if self._stream is not None:
            self._stream.close()

    def vanish(self) -> None:
        """Its connection is reset."""
        stream, self._stream = self._stream, None
        if stream is not None:
            sock = stream.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            stream.abort()

    def _ring(self, call: Played, ring: Ring) -> None:
        acts = self.acts(call)
        if acts.freezes:
            ring.over = True
        elif acts.vanishes and len(call.rings) == 1:
            ring.over = True
            self.vanish()
            asyncio.get_running_loop().call_later(_BACK_S, self.register, f"-{call.call_id}-back")
        else:
            super()._ring(call, ring)
