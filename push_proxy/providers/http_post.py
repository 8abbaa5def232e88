"""One HTTP POST, and what it says about the push: the part of webhooks that touches the wire."""

import asyncio
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from ..errors import ConfigurationError
from ..ports import TokenFate
from .attempt import ACCEPTED, MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt

_BODY_LIMIT = 4096
_BODY_S = 0.05
_KEEP_ALIVE_S = 75.0
_DNS_S = 30
_PAUSE_S = 0.2


class HttpPoster:
    """A pool of connections that are kept open between pushes."""

    def __init__(self, *, ca_file: Path | None = None) -> None:
        """``ca_file``: certificates to trust instead of the system's.

        Raises `errors.ConfigurationError` when it cannot be read.
        """
        self._tls = tls_context(ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: dict[str, str], *, timeout_s: float
    ) -> Attempt:
        """POST and judge the answer; never raises for what the other side does."""
        if self._session is None:
            self._session = self._open()
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._session.post(
                    url, data=body, headers=headers, allow_redirects=False
                )
        except TimeoutError:
            return Attempt(UNAVAILABLE, "timeout", again=True)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            return Attempt(MISCONFIGURED, "tls_failed")
        except aiohttp.ClientConnectorDNSError:
            return Attempt(UNAVAILABLE, "dns_failed", again=True, pause_s=_PAUSE_S)
        except aiohttp.ClientConnectorError:
            return Attempt(UNAVAILABLE, "connect_failed", again=True, pause_s=_PAUSE_S)
        except aiohttp.ServerDisconnectedError:
            # Most often a kept connection that the server has just given up.
            return Attempt(UNAVAILABLE, "disconnected", again=True)
        except aiohttp.InvalidURL:
            return Attempt(MISCONFIGURED, "bad_url")
        except (aiohttp.ClientError, OSError, ValueError):
            return Attempt(UNAVAILABLE, "http_error", again=True)
        attempt = judge(response.status)
        await _finish(response)
        return attempt

    async def connect_fault(self, url: str, *, timeout_s: float) -> str:
        """Why no connection to the URL's host can be made, as a reason; empty: it can."""
        parts = urlsplit(url)
        tls = self._tls if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
        except TimeoutError:
            return "timeout"
        except ssl.SSLError:
            return "tls_failed"
        except socket.gaierror:
            return "dns_failed"
        except OSError:
            return "connect_failed"
        writer.close()
        return ""

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ssl=self._tls, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=_DNS_S
            ),
            # Each attempt has a deadline of its own, around connecting and waiting alike.
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_BODY_LIMIT,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            headers={"User-Agent": "push-proxy", "Content-Type": "application/json"},
        )


def judge(status: int) -> Attempt:
    """What a status says about the push."""
    reason = f"http_{status}"
    if 200 <= status < 300:
        return Attempt(ACCEPTED, reason)
    if status in {404, 410}:
        # The receiver answers for the token.
        return Attempt(REJECTED, reason, token=TokenFate.DEAD)
    if status in {408, 425, 429}:
        return Attempt(UNAVAILABLE, reason)
    if status >= 500:
        return Attempt(UNAVAILABLE, reason, again=True, pause_s=_PAUSE_S)
    return Attempt(MISCONFIGURED, reason)


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Free the connection: reuse it after a short body, close it on a long or slow one."""
    try:
        async with asyncio.timeout(_BODY_S):
            read = 0
            while read <= _BODY_LIMIT and (chunk := await response.content.readany()):
                read += len(chunk)
    except (TimeoutError, aiohttp.ClientError):
        response.close()
        return
    if response.content.at_eof():
        response.release()
    else:
        response.close()


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What servers are trusted. Raises `errors.ConfigurationError` when ``ca_file`` is unusable."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"ca_file {ca_file}: cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
