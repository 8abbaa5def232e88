"""The HTTP API as the command line asks it: one clear error for all that may go wrong."""

import json
from typing import Any

import aiohttp

from .errors import ConfigurationError, PushProxyError

TIMEOUT_S = 10.0


class ApiFailed(PushProxyError):
    """The service did not give what was asked for; ``status``: its answer's, if it answered."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    path: str,
    *,
    key: str,
    body: dict[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """The JSON object that the service at ``url`` answers with.

    Raises `errors.ConfigurationError` without a key or usable URL, `ApiFailed` when the
    service cannot be reached or refuses.
    """
    target = checked_target(url, key, path)
    try:
        async with session.request(
            method,
            target,
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            status, text = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        why = str(error) or type(error).__name__
        raise ApiFailed(
            f"{url} does not answer ({why}); is the service running, and is --url right?"
        ) from None
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ApiFailed(f"{url} answered {status} without JSON; is it this service?")
    if not 200 <= status < 300:
        detail = content.get("detail", "refused")
        raise ApiFailed(f"{detail} (HTTP {status})", status=status)
    return content


def checked_target(url: str, key: str, path: str) -> str:
    """Where to ask. Raises `errors.ConfigurationError` without a key or usable URL."""
    if not key:
        raise ConfigurationError("no API key: give --key, or set PUSH_PROXY_API_KEY")
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--url {url!r} must begin with http:// or https://")
    return f"{url.rstrip('/')}{path}"
