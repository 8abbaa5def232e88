"""``push-proxy push``: test pushes, and what the providers said, for people and for programs."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from push_proxy.cli_push import pushes_text

TAKEN: dict[str, Any] = {
    "provider": "fcm",
    "app_id": "com.example.phone",
    "type": "call",
    "call_id": "4b1f0a52",
    "outcome": "accepted",
    "reason": "200",
    "provider_id": "projects/p/messages/1",
    "attempts": 1,
    "elapsed_ms": 84.2,
    "token": "good",
    "advice": "The provider took it.",
}
REFUSED: dict[str, Any] = {
    **TAKEN,
    "provider": "apns",
    "outcome": "rejected",
    "reason": "Unregistered",
    "provider_id": "",
    "call_id": None,
    "attempts": 2,
    "token": "dead",
    "advice": "The app was removed.",
}


class Service:
    """Two devices, each with its answer; the pushes that were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.url = ""

    async def devices(self, _: web.Request) -> web.Response:
        return web.json_response({"devices": [{"device": "one"}, {"device": "two"}]})

    async def push(self, request: web.Request) -> web.Response:
        if request.headers["Authorization"] != "Bearer k":
            return web.json_response({"detail": "this key lacks the scope devices"}, status=403)
        name = request.match_info["device"]
        self.asked.append((name, await request.json()))
        return web.json_response(TAKEN if name == "one" else REFUSED)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    app = web.Application()
    app.router.add_get("/v1/accounts/101/devices", made.devices)
    app.router.add_post("/v1/accounts/101/devices/{device}/pushes", made.push)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    yield made
    await runner.cleanup()


async def run(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if "PUSH_PROXY" not in name}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "push_proxy", "push", "--account", "101", *arguments],
        env={**clean, "PUSH_PROXY_URL": service.url, "PUSH_PROXY_API_KEY": "k", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_every_device_is_pushed_to_and_what_was_said_is_shown(service: Service) -> None:
    """One refusal makes the exit status 1; each has its provider's words and advice."""
    shown = await run(service, "--type", "call")
    assert service.asked == [("one", {"type": "call"}), ("two", {"type": "call"})]
    assert shown.returncode == 1, shown.stderr
    assert shown.stdout.splitlines() == [
        "one  fcm com.example.phone  call",
        "  said     accepted (200), 1 request, 84 ms",
        "  its id   projects/p/messages/1",
        "  token    good",
        "  call     4b1f0a52",
        "  advice   The provider took it.",
        "",
        "two  apns com.example.phone  call",
        "  said     rejected (Unregistered), 2 requests, 84 ms",
        "  token    dead",
        "  advice   The app was removed.",
    ]


async def test_one_device_as_json(service: Service) -> None:
    """A refresh by default, nothing but one JSON object, exit 0 when it was taken."""
    shown = await run(service, "--device", "one", "--json")
    assert service.asked == [("one", {"type": "refresh"})]
    assert shown.returncode == 0
    assert json.loads(shown.stdout) == {"ok": True, "pushes": [{"device": "one", **TAKEN}]}


async def test_a_refused_key_is_one_line(service: Service) -> None:
    """As with every command: what was wrong, no traceback."""
    refused = await run(service, "--device", "one", "--key", "wrong")
    assert refused.returncode == 1
    assert refused.stderr == "push-proxy: this key lacks the scope devices (HTTP 403)\n"


def test_what_was_not_sent_says_so() -> None:
    """A provider that was not asked has said nothing: its circuit is open, or nothing fits."""
    kept_back = {**REFUSED, "outcome": "misconfigured", "reason": "Forbidden", "attempts": 0}
    text = pushes_text([{"device": "one", **kept_back}])
    assert "  not sent misconfigured (Forbidden)\n" in text
    assert "said" not in text
