"""baresip's control channel: JSON in netstrings over TCP, answers by token, events unasked."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast


class ControlChannel(asyncio.Protocol):
    """One connection to the module ctrl_tcp."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        """Every event so far, such as `{"type": "REGISTER_OK", …}`, oldest first."""
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, port: int) -> ControlChannel:
        """Connect on loopback. Raises OSError while nobody listens."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(cls, "127.0.0.1", port)
        return channel

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._transport is not None:
            self._transport.close()

    async def command(self, name: str, parameters: str = "", *, within: float = 10.0) -> str:
        """Run a command; its printed text. Raises RuntimeError when it fails, or TimeoutError."""
        if self._transport is None:
            raise RuntimeError("baresip's control channel is not connected")
        token = str(len(self._answers))
        answer = asyncio.get_running_loop().create_future()
        self._answers[token] = answer
        data = json.dumps({"command": name, "params": parameters, "token": token}).encode()
        self._transport.write(b"%d:%s," % (len(data), data))
        reply: dict[str, Any] = await asyncio.wait_for(answer, within)
        if not reply["ok"]:
            raise RuntimeError(f"baresip refused {name} {parameters}: {reply['data']}")
        return str(reply["data"])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: cut netstrings off the stream."""
        self._buffer += data
        while b":" in self._buffer:
            length, _, rest = self._buffer.partition(b":")
            size = int(length)
            if len(rest) <= size:
                return
            self._buffer = rest[size + 1 :]
            self._take(json.loads(rest[:size]))

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("event"):
            self.events.append(message)
            return
        answer = self._answers.get(str(message.get("token")))
        if answer is not None and not answer.done():
            answer.set_result(message)
