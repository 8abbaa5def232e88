"""HTTP/2 connections to FCM by httpx, none of which a late answer spoils for others.

What httpx does to its connections, and why it is done otherwise here:

- A read that times out fails every request on the connection, and one that is cancelled may
  leave half a frame behind. So no request is ever cancelled: whoever waits goes away, the
  connection takes no new requests and is closed when those on it are done.
- More than 100 requests wait in line for the first 100. So a burst gets more connections, up to a
  number of pushes that can be answered in time: beyond it all of them would come too late.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

# httpx loads the other two at its first request: calls would stop for 90 ms meanwhile.
import anyio._backends._asyncio  # noqa: F401
import httpcore  # noqa: F401
import httpx

from ..tasks import spawn

MOST = 90
"""Requests on one connection; Google allows 100, and httpx as many."""
AT_ONCE = 2 * MOST
"""Pushes on all connections; more wait for their turn, first come, first served."""
_DRAIN_S = 10.0
_IDLE_S = 180.0
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.LocalProtocolError)
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 45), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]
"""Keeps addresses in NATs, and finds peers that are gone before a push does."""


class Lines:
    """As many connections as the pushes in flight need."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._room = asyncio.Semaphore(AT_ONCE)
        self._open: list[_Line] = []
        self._closing: dict[asyncio.Task[None], _Line] = {}

    @asynccontextmanager
    async def turn(self, *, timeout_s: float) -> AsyncIterator[None]:
        """Around a push: its turn among too many. After ``timeout_s`` it goes without."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._room.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._room.release()

    async def post(
        self, url: str, *, headers: Mapping[str, str], json: object, timeout_s: float
    ) -> httpx.Response:
        """POST; a redirect is an answer like any other. Raises `httpx.HTTPError`.

        `httpx.ReadTimeout` also stands for a connection that was not made in time.
        """
        line = self._line()
        request = line.client.build_request("POST", url, headers=dict(headers), json=json)
        asked = line.ask(request)
        try:
            done, _ = await asyncio.wait({asked}, timeout=timeout_s)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(timeout_s, self._give_up, line, asked)
            raise
        if not done:
            self._retire(line)
            raise httpx.ReadTimeout("no answer in time", request=request)
        if asked.cancelled():
            raise httpx.ReadError("the connection was closed", request=request)
        answer = asked.result()
        if isinstance(answer, Exception):
            if isinstance(answer, _BROKEN):
                self._retire(line)
            raise answer
        return answer

    async def aclose(self) -> None:
        """Close all connections, whatever waits on them."""
        closing, self._closing = self._closing, {}
        lines, self._open = [*self._open, *closing.values()], []
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for line in lines:
            await line.aclose()

    def _line(self) -> "_Line":
        for line in self._open:
            if line.busy < MOST:
                return line
        line = _Line(self._tls)
        self._open.append(line)
        return line

    def _give_up(self, line: "_Line", asked: "asyncio.Task[httpx.Response | Exception]") -> None:
        """After whoever waited was cancelled: an answer that has not come by now counts as none."""
        if not asked.done():
            self._retire(line)

    def _retire(self, line: "_Line") -> None:
        """Nothing new goes there."""
        if line not in self._open:
            return
        self._open.remove(line)
        closing = spawn(line.drain(), name="close a connection to FCM")
        self._closing[closing] = line
        closing.add_done_callback(lambda done: self._closing.pop(done, None))


class _Line:
    """One connection, as far as the server speaks HTTP/2."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=tls,
                http2=True,
                limits=httpx.Limits(
                    max_connections=None,
                    max_keepalive_connections=None,
                    keepalive_expiry=_IDLE_S,
                ),
                socket_options=_KEEPALIVE,
            ),
            timeout=None,  # noqa: S113 - whoever waits has a deadline
            headers={"User-Agent": "push-proxy", "Accept": "application/json"},
            follow_redirects=False,
            trust_env=False,
        )
        self._asked: set[asyncio.Task[httpx.Response | Exception]] = set()

    @property
    def busy(self) -> int:
        """Requests without an answer."""
        return len(self._asked)

    def ask(self, request: httpx.Request) -> "asyncio.Task[httpx.Response | Exception]":
        """Send it in the background; the task never fails."""
        asked = spawn(self._ask(request), name="a request to FCM")
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        return asked

    async def drain(self) -> None:
        """Close when all is answered, or after a while."""
        if self._asked:
            await asyncio.wait(tuple(self._asked), timeout=_DRAIN_S)
        await self.aclose()

    async def aclose(self) -> None:
        """Close at once; again is fine."""
        for asked in tuple(self._asked):
            asked.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        await self.client.aclose()

    async def _ask(self, request: httpx.Request) -> httpx.Response | Exception:
        try:
            return await self.client.send(request)
        except Exception as error:  # noqa: BLE001 - told to whoever waits, if anybody still does
            return error
