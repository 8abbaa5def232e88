"""``push-proxy push --account A``: test pushes by the HTTP API, and what providers said."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import aiohttp

from .cli_http import ask

_PUSH_S = 75.0
"""Longer than wake.deadline_s may be: a provider may ask for patience."""


async def send_pushes(
    url: str, key: str, *, account: str, device: str | None, kind: str
) -> list[dict[str, Any]]:
    """Push to the device, or one after the other to all of the account; the API's answers.

    Each has ``device`` beside what the API says. Raises as `cli_http.ask`.
    """
    of_account = f"/v1/accounts/{quote(account, safe='')}/devices"
    answers = []
    async with aiohttp.ClientSession() as session:
        names = [device] if device else await _names(session, url, key, of_account)
        for name in names:
            path = f"{of_account}/{quote(name, safe='')}/pushes"
            answer = await ask(
                session, "POST", url, path, key=key, body={"type": kind}, timeout_s=_PUSH_S
            )
            answers.append({"device": name, **answer})
    return answers


async def _names(session: aiohttp.ClientSession, url: str, key: str, of_account: str) -> list[str]:
    found = await ask(session, "GET", url, of_account, key=key)
    return [each["device"] for each in found["devices"]]


def pushes_text(answers: list[dict[str, Any]]) -> str:
    """For people: a block for each device."""
    if not answers:
        return "The account has no device: let the app register one."
    return "\n\n".join("\n".join(_lines(answer)) for answer in answers)


def pushes_json(answers: list[dict[str, Any]]) -> str:
    """For programs: one line."""
    return json.dumps({"ok": all_taken(answers), "pushes": answers})


def all_taken(answers: list[dict[str, Any]]) -> bool:
    """Whether there were any and each was accepted."""
    return bool(answers) and all(answer["outcome"] == "accepted" for answer in answers)


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    target = " ".join(filter(None, (answer["provider"], answer["app_id"])))
    yield f"{answer['device']}  {target or 'no push target'}  {answer['type']}"
    requests = "1 request" if answer["attempts"] == 1 else f"{answer['attempts']} requests"
    said = f"{answer['outcome']} ({answer['reason']})" if answer["reason"] else answer["outcome"]
    if answer["attempts"]:
        yield f"  said     {said}, {requests}, {answer['elapsed_ms']:.0f} ms"
    else:
        yield f"  not sent {said}"
    if answer["provider_id"]:
        yield f"  its id   {answer['provider_id']}"
    yield f"  token    {answer['token']}"
    if answer["call_id"]:
        yield f"  call     {answer['call_id']}"
    yield f"  advice   {answer['advice']}"
