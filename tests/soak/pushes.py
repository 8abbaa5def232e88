"""Where the service's pushes go: HTTP/1.1 with keep-alive, and the troubles of the script."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Protocol, cast

from .played import Played

_LENGTH = re.compile(rb"[Cc]ontent-[Ll]ength: *(\d+)")
_SLOW_S = 1.2


class World(Protocol):
    """What the receiver asks of the soak."""

    calls: dict[bytes, Played]

    def deliver(self, push: dict[str, Any]) -> None:
        """A call push reaches its phone."""


class PushReceiver(asyncio.Protocol):
    """One connection of the service."""

    open: set[PushReceiver] = set()  # noqa: RUF012 - all connections there are

    def __init__(self, world: World) -> None:
        self._world = world
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """One more."""
        self._transport = cast("asyncio.Transport", transport)
        PushReceiver.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """One less."""
        PushReceiver.open.discard(self)

    def abort(self) -> None:
        """The provider is away."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer each whole request as its call's script says."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._buffer, 0, end)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < size:
                return
            body, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
            self._take(json.loads(body))

    def _take(self, push: dict[str, Any]) -> None:
        call = self._world.calls.get(push.get("sip_call_id", "").encode())
        does = call.kind.provider if call is not None and push["type"] == "call" else "ok"
        if does in {"410", "500"}:
            self._answer(int(does))
            return
        if does == "reset":
            self.abort()
            return
        if does == "hang":
            return
        delay_s = _SLOW_S if does == "slow" else 0.0
        asyncio.get_running_loop().call_later(delay_s, self._answer, 200)
        if call is not None and push["type"] == "call":
            call.pushes += 1
            self._world.deliver(push)

    def _answer(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
