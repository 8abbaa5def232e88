"""HTTP to URLs that others have chosen: to public addresses alone, whatever their names say.

A name is resolved by us, each address is judged, and the connection goes to a judged address:
a name that resolves differently a moment later gains nothing. Redirects are not followed, and
proxies named by the environment are not asked.
"""

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from .providers.http_post import tls_context
from .public_addresses import is_odd_literal, is_public

BODY_LIMIT = 4096
_BODY_S = 1.0
_KEEP_ALIVE_S = 75.0
_DNS_S = 30
_LOOKUPS = 8


class AddressRefused(OSError):
    """A host has no address that may be reached."""


class Unanswered(Exception):
    """No answer came; ``reason`` is bounded and never names the URL.

    ``timeout``, ``dns_failed``, ``connect_failed``, ``tls_failed``, ``disconnected``,
    ``http_error``; and, where asking again cannot help, ``address_refused`` and ``bad_url``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes
    """At most `BODY_LIMIT` bytes."""


class PublicHttp:
    """A pool of kept connections; one for each purpose."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        ca_file: Path | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """``allow_private``: every address may be reached. ``ca_file``: instead of the system's.

        Raises `errors.ConfigurationError` when ``ca_file`` cannot be read.
        """
        self._allow_private = allow_private
        self._tls = tls_context(ca_file)
        self._resolver = Resolver(allow_private=allow_private, system=resolver)
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> Answer:
        """POST; a redirect is an answer like any other. Raises `Unanswered`."""
        if self._session is None:
            self._session = self._open()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(ends_at):
                response = await self._session.post(
                    url, data=body, headers=headers, allow_redirects=False
                )
        except TimeoutError:
            raise Unanswered("timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(_reason(error)) from None
        until = min(ends_at, loop.time() + _BODY_S)
        return Answer(response.status, response.headers, await _body(response, until=until))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._resolver.close()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                ssl=self._tls,
                keepalive_timeout=_KEEP_ALIVE_S,
                ttl_dns_cache=_DNS_S,
                resolver=self._resolver,
                # The last gate before a connection, and the only one for numeric hosts.
                socket_factory=None if self._allow_private else _public_socket,
            ),
            # Each request has a deadline of its own, around connecting and waiting alike.
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=BODY_LIMIT,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            headers={"User-Agent": "push-proxy"},
            trust_env=False,
        )


class Resolver(AbstractResolver):
    """The system's names, without the addresses that may not be reached."""

    def __init__(self, *, allow_private: bool, system: AbstractResolver | None = None) -> None:
        self._allow_private = allow_private
        self._system = system or _SystemResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of ``host``. Raises `AddressRefused` when there is none to be reached."""
        if is_odd_literal(host):
            raise AddressRefused("a number that is no plain address")
        found = await self._system.resolve(host, port, family)
        if self._allow_private:
            return found
        public = [one for one in found if is_public(one["host"])]
        if found and not public:
            raise AddressRefused("the name has private or reserved addresses only")
        return public

    async def close(self) -> None:
        """Nothing is kept open."""
        await self._system.close()


class _SystemResolver(AbstractResolver):
    """With threads of its own: one app's name servers that keep silent hold up nobody else."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="dns")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _look_up, host, port, family)

    async def close(self) -> None:
        if self._threads is not None:
            # Nobody waits for what is under way: it may take a minute.
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def _look_up(host: str, port: int, family: int) -> list[ResolveResult]:
    found = socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=kind,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, proto, _, address in found
    ]


def _public_socket(address: tuple[int, int, int, str, tuple[str | int, ...]]) -> socket.socket:
    family, kind, proto, _, where = address
    if not is_public(str(where[0])):
        raise AddressRefused("a private or reserved address")
    return socket.socket(family, kind, proto)


def _reason(error: Exception) -> str:
    refused = isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, AddressRefused
    )
    if refused:
        return "address_refused"
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason
    return "http_error"


_REASONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError), "tls_failed"),
    ((aiohttp.ClientConnectorDNSError,), "dns_failed"),
    ((aiohttp.ClientConnectorError,), "connect_failed"),
    # Most often a kept connection that the server has just given up.
    ((aiohttp.ServerDisconnectedError,), "disconnected"),
    ((aiohttp.InvalidURL,), "bad_url"),
)


async def _body(response: aiohttp.ClientResponse, *, until: float) -> bytes:
    """The start of the body; the connection is reused after a short one, else closed."""
    read = bytearray()
    try:
        async with asyncio.timeout_at(until):
            while len(read) <= BODY_LIMIT and (chunk := await response.content.readany()):
                read += chunk
    except (TimeoutError, aiohttp.ClientError):
        response.close()
        return bytes(read[:BODY_LIMIT])
    if response.content.at_eof():
        response.release()
    else:
        response.close()
    return bytes(read[:BODY_LIMIT])
