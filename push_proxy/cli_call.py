"""``push-proxy call ID``: a call's story, got by the HTTP API."""

from typing import Any
from urllib.parse import quote

import aiohttp

from .cli_http import ask


async def fetch_call(url: str, key: str, call_id: str) -> dict[str, Any]:
    """The call as the API shows it. Raises as `cli_http.ask`."""
    async with aiohttp.ClientSession() as session:
        return await ask(session, "GET", url, f"/v1/calls/{quote(call_id, safe='')}", key=key)


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
