"""Serving an ASGI app on one address, inside the service's own loop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from ..errors import ConfigurationError
from ..tasks import spawn

_STARTED_POLL_S = 0.005


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the service has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class HttpServer:
    """One listening address. ``key`` is the configuration's name for it, for errors."""

    def __init__(self, app: ASGIApp, address: tuple[str, int], *, key: str) -> None:
        self._address = address
        self._key = key
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=30,
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def start(self) -> tuple[str, int]:
        """Bind and serve; returns the address really bound (port 0 takes a free one).

        Raises `errors.ConfigurationError` when the address cannot be bound.
        """
        self._socket = self._bind()
        name = f"HTTP on {self._key}"
        self._task = spawn(self._server.serve(sockets=[self._socket]), name=name)
        while not self._server.started:
            if self._task.done():
                raise ConfigurationError(f"{name} did not start; the log says why")
            await asyncio.sleep(_STARTED_POLL_S)
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    async def stop(self, *, grace_s: float = 2.0) -> None:
        """Take no more connections, let running requests end within ``grace_s``, then stop."""
        if self._task is None:
            return
        self._server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._task), grace_s)
        if not self._task.done():
            self._server.force_exit = True
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, 1.0)
        self._task = None

    def _bind(self) -> socket.socket:
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named because asyncio sets TCP_NODELAY only then; without it answers
        # on a kept connection wait 40 ms for the client's delayed ACK.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            bound.listen(2048)
            bound.setblocking(False)  # noqa: FBT003 - the standard library's signature
        except OSError as error:
            bound.close()
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise ConfigurationError(
                f"{self._key}: cannot listen on {shown}: {error.strerror}. Stop what uses it, "
                f"or set {self._key} to another address."
            ) from None
        return bound
