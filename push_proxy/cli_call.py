"""``push-proxy call ID``: a call's story, got by the HTTP API from a running service."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from .cli_http import ApiFailed, ask

_OURS = re.compile(r"[0-9A-Za-z-]{1,64}")
"""What the API takes for a call's id; a SIP Call-ID may look like that, too."""
_CANDIDATES = 20


@dataclass(frozen=True, slots=True)
class Found:
    """The call, or several that one SIP Call-ID fits."""

    call: dict[str, Any] | None
    candidates: tuple[dict[str, Any], ...] = ()
    """Newest first, without their timelines."""


async def find_call(url: str, key: str, name: str, *, language: str | None = None) -> Found:
    """The call of this id (``call_id`` of the push, ``X-Push-ID``) or SIP Call-ID.

    ``language``: of the advice; None: the account's, or English. Raises as `cli_http.ask`, and
    `cli_http.ApiFailed` when there is no such call.
    """
    async with aiohttp.ClientSession() as session:
        if _OURS.fullmatch(name) and (call := await _call(session, url, key, name, language)):
            return Found(call)
        query = urlencode({"sip_call_id": name, "limit": _CANDIDATES})
        calls = (await ask(session, "GET", url, f"/v1/calls?{query}", key=key))["calls"]
        if len(calls) > 1:
            return Found(None, tuple(calls))
        if calls and (call := await _call(session, url, key, calls[0]["id"], language)):
            return Found(call)
    raise ApiFailed(
        f"no call has the id or SIP Call-ID {name!r}; is it complete, does the key belong to the "
        "call's tenant, and is the call not too old to be kept?"
    )


async def _call(
    session: aiohttp.ClientSession, url: str, key: str, call: str, language: str | None
) -> dict[str, Any] | None:
    path = f"/v1/calls/{quote(call, safe='')}"
    path += f"?{urlencode({'language': language})}" if language else ""
    try:
        return await ask(session, "GET", url, path, key=key)
    except ApiFailed as error:
        if error.status == 404:
            return None
        raise
