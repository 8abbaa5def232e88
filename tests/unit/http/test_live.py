"""The live stream, read as it is written."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from push_proxy.core.ids import Instant
from push_proxy.core.model import CallRecord, CallState, TimelineEntry
from push_proxy.http import live
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.live_feed import LiveFeed
from push_proxy.tasks import spawn
from tests.lab.process import poll_until

from .conftest import Api


@pytest.fixture
def feed(api: Api) -> LiveFeed:
    """On a clock that runs: its timers are the loop's."""
    made = LiveFeed(api.calls, SystemClock())
    object.__setattr__(api.deps, "live", made)
    return made


class Stream:
    """One open request."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.stuck = False
        self.rest = b""

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        await self.sent.put(message)

    async def start(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), 5)

    async def line(self) -> dict[str, Any]:
        while b"\n" not in self.rest:
            message = await asyncio.wait_for(self.sent.get(), 5)
            assert message["more_body"], "the stream has ended"
            self.rest += message["body"]
        line, _, self.rest = self.rest.partition(b"\n")
        return dict(json.loads(line))

    async def end(self) -> None:
        while (await asyncio.wait_for(self.sent.get(), 5))["more_body"]:
            pass


@asynccontextmanager
async def reading(api: Api, key: str = "calls") -> AsyncIterator[Stream]:
    stream = Stream()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/live",
        "raw_path": b"/v1/live",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {key}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
        "root_path": "",
        "http_version": "1.1",
    }
    task = spawn(api.app(scope, stream.receive, stream.send), name="a request")
    try:
        yield stream
    finally:
        stream.gone.set()
        await asyncio.wait_for(task, 5)


def change(api: Api, record: CallRecord, **fields: Any) -> None:
    changed = dataclasses.replace(record, **fields)
    api.calls[changed.id] = changed
    for tell in api.calls.watchers:
        tell(changed)


async def test_first_what_goes_on_then_each_change(api: Api, feed: LiveFeed) -> None:
    """One object per line; each call as `GET /v1/calls/{id}` shows it."""
    await api.account()
    record = await api.call_record()
    api.calls[record.id] = record
    async with reading(api) as stream:
        start = await stream.start()
        assert start["status"] == 200
        assert (b"content-type", b"application/x-ndjson") in start["headers"]
        first = await stream.line()
        assert (first["type"], [call["id"] for call in first["calls"]]) == ("snapshot", ["call-1"])
        entry = TimelineEntry(Instant(record.started_at + 0.25), "push_sent", None)
        change(api, record, state=CallState.RINGING, timeline=(entry,))
        told = await stream.line()
        assert told["type"] == "call"
        assert told["call"] == (await api.call("GET", "/v1/calls/call-1")).json()
        assert (told["call"]["state"], told["call"]["timeline"][0]["ms"]) == ("ringing", 250.0)


async def test_silence_is_broken_by_a_ping(
    api: Api, feed: LiveFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that both ends notice when the other is gone."""
    monkeypatch.setattr(live, "PING_S", 0.01)
    async with reading(api) as stream:
        await stream.start()
        assert [(await stream.line())["type"] for _ in range(3)] == ["snapshot", "ping", "ping"]


async def test_it_ends_when_the_key_is_withdrawn(
    api: Api, feed: LiveFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload takes keys away also from those who are reading."""
    monkeypatch.setattr(live, "PING_S", 0.01)
    async with reading(api) as stream:
        await stream.start()
        await stream.line()
        api.deps.callers.set_operators(())
        await stream.end()
    assert feed.readers == 0


async def test_it_ends_with_its_client_and_with_the_service(api: Api, feed: LiveFeed) -> None:
    """Whichever goes first; then nobody gets in."""
    async with reading(api) as stream:
        await stream.start()
        assert feed.readers == 1
    assert feed.readers == 0
    async with reading(api) as stream:
        await stream.start()
        await stream.line()
        feed.close()
        await stream.end()
    refused = await api.call("GET", "/v1/live")
    assert refused.status_code == 503


async def test_a_client_that_takes_nothing_is_dropped(
    api: Api, feed: LiveFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is left unfinished, for which the server closes the connection."""
    monkeypatch.setattr(live, "_SLOW_S", 0.05)
    record = await api.call_record()
    async with reading(api) as stream:
        await stream.start()
        await stream.line()
        stream.stuck = True
        change(api, record)
        assert await poll_until(lambda: feed.readers == 0, within_s=5)
