"""``push-proxy call ID``: a call's story, got by the HTTP API."""

import json
from typing import Any
from urllib.parse import quote

import aiohttp

from .errors import ConfigurationError, PushProxyError

_TIMEOUT_S = 10.0


class ApiFailed(PushProxyError):
    """The service did not give what was asked for."""


async def fetch_call(url: str, key: str, call_id: str) -> dict[str, Any]:
    """The call as the API shows it.

    Raises `errors.ConfigurationError` without a key or usable URL, `ApiFailed` when the
    service cannot be reached or refuses.
    """
    target = checked_target(url, key, f"/v1/calls/{quote(call_id, safe='')}")
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(target, headers={"Authorization": f"Bearer {key}"}) as response,
        ):
            status, body = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        why = str(error) or type(error).__name__
        raise ApiFailed(
            f"{url} does not answer ({why}); is the service running, and is --url right?"
        ) from None
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ApiFailed(f"{url} answered {status} without JSON; is it this service?")
    if status != 200:
        raise ApiFailed(f"{content.get('detail', 'refused')} (HTTP {status})")
    return content


def checked_target(url: str, key: str, path: str) -> str:
    """Where to ask. Raises `errors.ConfigurationError` without a key or usable URL."""
    if not key:
        raise ConfigurationError("no API key: give --key, or set PUSH_PROXY_API_KEY")
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--url {url!r} must begin with http:// or https://")
    return f"{url.rstrip('/')}{path}"


def call_text(call: dict[str, Any]) -> str:
    """The story for people: what it came to, then line by line with milliseconds."""
    caller = " ".join(filter(None, (call["caller_name"], call["caller_number"]))) or "anonymous"
    lines = [
        f"call     {call['id']}  ({call['direction']})",
        f"SIP      {call['sip_call_id']}",
        f"account  {call['account']}",
        f"caller   {caller}",
        f"began    {call['started_at']}",
        f"state    {call['state']}",
    ]
    if call["verdict"]:
        lines.append(
            f"verdict  {call['verdict']}, in phase {call['phase']}, ended by {call['ended_by']}; "
            f"fault: {call['fault']}"
        )
    if call.get("duration_s") is not None:
        lines.append(f"talked   {call['duration_s']:.1f} s")
    if call["advice"]:
        lines.append(f"advice   {call['advice']}")
    lines.append("")
    width = max((len(entry["event"]) for entry in call["timeline"]), default=0)
    for entry in call["timeline"]:
        rest = "  ".join(filter(None, (entry["device"], entry["detail"])))
        lines.append(f"{entry['ms']:>12.1f} ms  {entry['event']:<{width}}  {rest}".rstrip())
    return "\n".join(lines)
