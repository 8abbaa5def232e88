"""An HTTP server that plays a push platform: rules of its own, and faults on demand."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.lab.ports import free_port

Deliver = Callable[[dict[str, Any]], Awaitable[None]]
"""What a phone does with a push; an empty one only wakes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One request's fate instead of an answer by the rules."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    by_the_rules: bool = False
    """Answer by the rules after all, just late."""
    after_s: float = 0.0
    silent: bool = False
    """Never answer, but keep the connection."""
    drop: bool = False
    """Close the connection instead of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRequest:
    """A push as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    said: dict[str, Any]
    """What the phone can read of it."""
    fault: str
    """What the rules say against it; empty: a phone gets it."""


class HttpPlatform:
    """Listens on loopback. `plays` are taken one by one, others are answered by the rules."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[PlatformRequest] = []
        """Pushes; what is asked of other paths is not here."""
        self.plays: deque[Play] = deque()
        self.delivered: list[dict[str, Any]] = []
        self._tls = tls
        self._port = port or free_port()
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on 127.0.0.1; after `stop` on the same port again."""
        app = web.Application(client_max_size=1 << 20)
        self.add_routes(app)
        self._stopping.clear()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()

    async def stop(self) -> None:
        """Close the port and all connections. Idempotent."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """Base of all its addresses."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}"

    def add_routes(self, app: web.Application) -> None:
        """What a platform listens to."""
        raise NotImplementedError

    async def play(self, request: web.Request) -> web.Response | None:
        """Do what was asked for; None: answer by the rules."""
        if not self.plays:
            return None
        play = self.plays.popleft()
        wait_s = None if play.silent else play.after_s
        if wait_s is None or wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
        if (play.drop or play.silent) and request.transport is not None:
            request.transport.abort()
        if play.by_the_rules:
            return None
        return web.Response(status=play.status, body=play.body, headers=play.headers)

    async def give(self, said: dict[str, Any], deliver: Deliver | None) -> None:
        """A phone gets it."""
        self.delivered.append(said)
        if deliver is not None:
            await deliver(said)
