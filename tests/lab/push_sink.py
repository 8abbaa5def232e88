"""A webhook receiver: records every push with its time, and misbehaves on command."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from .ports import free_port
from .process import poll_until

SIGNATURE_HEADER = "X-Push-Proxy-Signature"


@dataclass(frozen=True, slots=True)
class Push:
    """One webhook request as it arrived."""

    payload: dict[str, Any]
    body: bytes
    headers: dict[str, str]
    arrived_s: float
    """Monotonic clock."""
    arrived_at: float
    """Wall clock."""
    signature_error: str
    """Empty when the signature is right; else what is wrong with it."""

    @property
    def type(self) -> str:
        """Such as `call` or `cancel`."""
        return str(self.payload.get("type", ""))

    @property
    def call_id(self) -> str:
        """Our call UUID."""
        return str(self.payload.get("call_id", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How one push is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    """Answer so late."""
    hang: bool = False
    """Never answer, but keep the connection."""
    drop: bool = False
    """Close the connection without an answer."""


Hook = Callable[[Push], Awaitable["Reply | None"]]


class PushSink:
    """POST `url` is a push. `replies` are taken one by one, then `reply` answers all others.

    `hook` runs before the answer leaves: a phone that registers faster than the push returns.
    A reply that it returns is the answer.
    """

    def __init__(
        self, *, key: bytes = b"lab webhook key", port: int = 0, tolerance_s: float = 300
    ) -> None:
        self.key = key
        self.pushes: list[Push] = []
        self.replies: deque[Reply] = deque()
        self.reply = Reply()
        self.hook: Hook | None = None
        self._port = port or free_port()
        self._tolerance_s = tolerance_s
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on 127.0.0.1; after `stop` on the same port again."""
        app = web.Application()
        app.router.add_post("/push", self._take)
        self._stopping.clear()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        """Close the port and all connections. Idempotent."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """Where pushes go."""
        return f"http://127.0.0.1:{self._port}/push"

    async def wait(
        self, count: int = 1, *, kind: str | None = None, within: float = 5.0
    ) -> list[Push]:
        """All pushes (of type `kind`) as soon as there are `count`. Raises AssertionError."""

        def fitting() -> list[Push]:
            return [push for push in self.pushes if kind in (None, push.type)]

        if not await poll_until(lambda: len(fitting()) >= count, within_s=within):
            seen = [push.payload for push in self.pushes]
            raise AssertionError(
                f"wanted {count} pushes of type {kind or 'any'} in {within} s: {seen}"
            )
        return fitting()

    async def next(self, *, kind: str | None = None, within: float = 5.0) -> Push:
        """The next push (of type `kind`) that arrives after this call."""
        known = sum(1 for push in self.pushes if kind in (None, push.type))
        return (await self.wait(known + 1, kind=kind, within=within))[known]

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        arrived_s, arrived_at = time.monotonic(), time.time()
        try:
            payload = json.loads(body)
        except ValueError:
            payload = {}
        push = Push(
            payload=payload,
            body=body,
            headers=dict(request.headers),
            arrived_s=arrived_s,
            arrived_at=arrived_at,
            signature_error=self.signature_error(
                request.headers.get(SIGNATURE_HEADER, ""), body, now=arrived_at
            ),
        )
        self.pushes.append(push)
        reply = self.replies.popleft() if self.replies else self.reply
        if self.hook is not None:
            reply = await self.hook(push) or reply
        return await self._answer(request, reply)

    async def _answer(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        wait_s = None if reply.hang else reply.after_s
        if wait_s is None or wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
        if (reply.drop or reply.hang) and request.transport is not None:
            request.transport.abort()
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    def signature_error(self, header: str, body: bytes, *, now: float) -> str:
        """What is wrong with a signature header, or nothing."""
        fields = dict(part.partition("=")[::2] for part in header.split(","))
        if fields.keys() != {"t", "sha256"} or not fields["t"].isdigit():
            return f"not of the form t=<unix>,sha256=<hex>: {header!r}"
        signed = f"{fields['t']}.".encode() + body
        if not hmac.compare_digest(
            hmac.new(self.key, signed, hashlib.sha256).hexdigest(), fields["sha256"]
        ):
            return "the HMAC is of another key, time or body"
        if abs(now - int(fields["t"])) > self._tolerance_s:
            return f"too old or from the future: {fields['t']} at {now}"
        return ""
