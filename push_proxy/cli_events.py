"""``push-proxy events``: events that could not be delivered, by the HTTP API."""

import asyncio
import json
from typing import Annotated, Any
from urllib.parse import quote

import aiohttp
import typer

from .cli_errors import clear_errors
from .cli_http import ask

_LIST = "/v1/events/dead-letters"
_PAGE = 100
_FIXED = frozenset({"id", "type", "at", "tenant", "account", "device"})

Url = Annotated[str, typer.Option(envvar="PUSH_PROXY_URL", help="Where the service's HTTP API is.")]
Key = Annotated[
    str, typer.Option(envvar="PUSH_PROXY_API_KEY", help="An API key with the scope accounts.")
]
_URL = "http://127.0.0.1:8080"

events = typer.Typer(
    help="Events that no webhook took: show them, deliver them once more.",
    no_args_is_help=True,
)


@events.command("dead-letters")
def dead_letters(
    url: Url = _URL,
    key: Key = "",
    limit: Annotated[int, typer.Option(min=1, help="Show that many, the newest.")] = 50,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show events that could not be delivered, newest first."""
    with clear_errors():
        found = asyncio.run(fetch_letters(url, key, limit=limit))
        show = json.dumps if as_json else letter_text
        for letter in found:
            typer.echo(show(letter))
        if not found and not as_json:
            typer.echo("None: every event was delivered, or is on its way.")


@events.command()
def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which. Default: all.")
    ] = None,
    url: Url = _URL,
    key: Key = "",
) -> None:
    """Deliver dead letters once more; what fails again comes back."""
    with clear_errors():
        typer.echo(replayed_text(asyncio.run(send_replay(url, key, ids or []))))


async def fetch_letters(url: str, key: str, *, limit: int) -> list[dict[str, Any]]:
    """Up to ``limit`` as the API shows them, newest first. Raises as `cli_http.ask`."""
    found: list[dict[str, Any]] = []
    cursor = ""
    async with aiohttp.ClientSession() as session:
        while len(found) < limit:
            query = f"?limit={min(limit - len(found), _PAGE)}"
            query += f"&cursor={quote(cursor, safe='')}" if cursor else ""
            page = await ask(session, "GET", url, _LIST + query, key=key)
            found += page["dead_letters"]
            if not (cursor := page["next_cursor"] or ""):
                break
    return found


async def send_replay(url: str, key: str, ids: list[str]) -> dict[str, Any]:
    """Deliver these once more, or all; what it came to. Raises as `cli_http.ask`."""
    body: dict[str, Any] = {"ids": ids} if ids else {}
    async with aiohttp.ClientSession() as session:
        return await ask(session, "POST", url, f"{_LIST}/replay", key=key, body=body)


def letter_text(letter: dict[str, Any]) -> str:
    """One dead letter for people, on two lines."""
    event = letter["event"]
    device = f"/{event['device']}" if event["device"] else ""
    rest = " ".join(f"{name}={value}" for name, value in event.items() if name not in _FIXED)
    tries = "1 attempt" if letter["attempts"] == 1 else f"{letter['attempts']} attempts"
    return (
        f"{letter['id']}  {letter['webhook']}: {letter['last_error']}, {tries}, given up "
        f"{letter['died_at']}\n"
        f"  {event['at']}  {event['type']}  {event['account']}{device}  {rest}".rstrip()
    )


def replayed_text(done: dict[str, Any]) -> str:
    """What a replay came to."""
    text = f"{done['replayed']} on their way again"
    if done["skipped"]:
        text += f", {done['skipped']} left: their webhook is not configured any more"
    return text
