"""How a connection to APNs is opened: a fresh name lookup, the fastest address, TLS, HTTP/2."""

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import aiohappyeyeballs

from ..tasks import spawn
from .apns_request import NoConnection

_SECOND_ADDRESS_S = 0.25
_Addresses = Sequence[tuple[Any, Any, int, str, tuple[Any, ...]]]
_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


class Opener:
    """Opens connections to one server, one at a time."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        """``tls``: offers ``h2``."""
        self.host = host
        self.port = port
        self._tls = tls
        self._lookup: asyncio.Task[_Addresses] | None = None

    async def open(self, make: Callable[[], _Protocol], *, timeout_s: float) -> _Protocol:
        """A connection that speaks HTTP/2. Raises `NoConnection`."""
        with _named():
            async with asyncio.timeout(timeout_s):
                found = await aiohappyeyeballs.start_connection(
                    await self._addresses(),
                    happy_eyeballs_delay=_SECOND_ADDRESS_S,
                    interleave=1,
                )
                transport, protocol = await self._speak(make, found)
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            transport.abort()
            raise NoConnection("no_http2")
        return protocol

    async def aclose(self) -> None:
        """End what is under way."""
        if self._lookup is not None:
            self._lookup.cancel()
            await asyncio.wait([self._lookup])

    async def _speak(
        self, make: Callable[[], _Protocol], found: socket.socket
    ) -> tuple[asyncio.Transport, _Protocol]:
        """TLS over a connected socket."""
        loop = asyncio.get_running_loop()

        async def handshake() -> tuple[asyncio.Transport, _Protocol] | Exception:
            try:
                return await loop.create_connection(
                    make, sock=found, ssl=self._tls, server_hostname=self.host
                )
            except OSError as error:
                found.close()
                return error

        opening = spawn(handshake(), name="TLS with APNs")
        try:
            opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # asyncio never closes a transport that is given up before its protocol knows it.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
            raise
        if isinstance(opened, Exception):
            raise opened
        return opened

    async def _addresses(self) -> _Addresses:
        """As DNS says now, in random order: Apple has many servers.

        A resolver that hangs holds one thread, however often it is asked.
        """
        if self._lookup is None or self._lookup.done():
            self._lookup = spawn(self._look_up(), name="look up APNs")
        addresses = list(await asyncio.shield(self._lookup))
        if not addresses:
            raise NoConnection("dns_failed")
        random.shuffle(addresses)
        return addresses

    async def _look_up(self) -> _Addresses:
        loop = asyncio.get_running_loop()
        try:
            return await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            return ()


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Whatever goes wrong, as `NoConnection` with a reason."""
    try:
        yield
    except TimeoutError:
        raise NoConnection("connect_timeout") from None
    except ssl.SSLError:
        raise NoConnection("tls_failed") from None
    except OSError:
        raise NoConnection("connect_failed") from None
