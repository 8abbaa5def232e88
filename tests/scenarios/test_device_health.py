"""A device that used to wake, and stops: seen in its history, told by event and metric."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.lab.pbx import Pbx
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .conftest import WEBHOOK_KEY, Extension, MakeExtension

EVENTS_KEY = b"key of the events' receiver"
GAUGE = "push_proxy_devices_not_waking"


@pytest.fixture
async def receiver() -> AsyncIterator[PushSink]:
    """The operator's system that hears of events."""
    async with PushSink(key=EVENTS_KEY) as sink:
        yield sink


@pytest.fixture
async def own(
    workdir: Path, pbx: Pbx, push_sink: PushSink, receiver: PushSink
) -> AsyncIterator[Extension]:
    """An extension at a service of its own: devices without a sign of life are given up soon."""
    key_file = workdir / "events.key"
    key_file.write_bytes(EVENTS_KEY)
    events = {
        "url": receiver.url,
        "hmac_key_file": str(key_file),
        "allow_private": True,
        "types": ["device.stopped_waking", "device.wakes_again"],
    }
    options = ServiceOptions(
        webhook_url=push_sink.url,
        webhook_key=WEBHOOK_KEY,
        wake={"ack_s": 0.5},
        extra={"events": {"webhooks": [events]}},
    )
    async with LabService(workdir / "own", options) as service:
        ext = Extension(
            service=service, pbx=pbx, sink=push_sink, user="902", registrar=f"sip:{pbx.domain}"
        )
        await ext.put()
        await ext.put_device(vendor="Xiaomi", platform="android")
        await pbx.registered(ext.user)
        yield ext
        ext.leave()


async def wakes(ext: Extension) -> str:
    """A call that wakes the phone, which declines it; its id."""
    phone = ext.phone()
    before = len(ext.pushes("call"))
    call = ext.call()
    push = (await ext.pushed(before + 1))[before]
    incoming = await ext.rung(phone)
    incoming.reject(603, "Decline")
    await call.final()
    assert (await phone.unregister()).status == 200
    phone.sleep()
    return push.call_id


async def sleeps_on(ext: Extension) -> str:
    """A call that the phone sleeps through; its id."""
    before = len(ext.pushes("call"))
    call = ext.call()
    push = (await ext.pushed(before + 1))[before]
    assert (await call.final()).status == 480
    return push.call_id


async def history(ext: Extension, count: int) -> dict[str, Any]:
    """The device's wakes, as soon as there are so many."""
    path = f"/v1/accounts/{ext.account}/devices/handset/wakes"

    async def ask() -> dict[str, Any]:
        found: dict[str, Any] = await ext.service.expect("GET", path)
        return found

    return await ext.service.eventually(
        ask, lambda found: len(found["wakes"]) == count, within=5, what=f"{count} wakes"
    )


async def stored(ext: Extension, call: str) -> None:
    """Waits until the wake for this call is in the store: it is written behind the call."""
    path = ext.service.directory / "data" / "valkey.sock"
    client = Redis(unix_socket_path=str(path))
    try:
        end = time.monotonic() + 5
        while True:
            for key in [each async for each in client.scan_iter(match="*:wakes")]:
                if call.encode() in b"".join((await client.hgetall(key)).values()):
                    return
            assert time.monotonic() < end, "the wake was not written"
            await asyncio.sleep(0.02)
    finally:
        await client.aclose()


async def test_a_device_stops_waking_and_returns(own: Extension, receiver: PushSink) -> None:
    """Three wakes and three failures in a row: one event, also if we were killed in between;
    the second wake after that: the other one. History and gauge are there after the restart.
    """
    woke = [await wakes(own) for _ in range(3)]
    slept = [await sleeps_on(own) for _ in range(2)]
    seen = await history(own, 5)
    assert [each["call_id"] for each in seen["wakes"]] == [*reversed(slept), *reversed(woke)]
    assert [each["result"] for each in seen["wakes"]] == ["failed"] * 2 + ["woke"] * 3
    assert (seen["standing"], seen["counted"], seen["woken"]) == ("wakes", 5, 3)
    assert (seen["rate"], seen["last_failure"]["verdict"]) == (0.6, "not_woken")
    assert 0 < seen["p50_ms"] <= seen["p95_ms"] < 5000
    assert receiver.pushes == []

    await stored(own, slept[-1])
    own.service.kill()
    await own.service.start()
    await own.pbx.registered(own.user)
    slept.append(await sleeps_on(own))
    (stopped,) = await receiver.wait(1, kind="device.stopped_waking")
    assert stopped.payload["device"] == "handset"
    assert stopped.payload["account"] == own.account
    assert stopped.payload["call_id"] == slept[-1]
    assert stopped.payload["failed_in_a_row"] == "3"
    assert stopped.payload["vendor"] == "Xiaomi"
    assert await own.service.metric(GAUGE) == 1
    health = (await own.service.device_status(own.account))["health"]
    assert (health["standing"], health["failed_in_a_row"]) == ("stopped", 3)

    await own.service.stop()
    await own.service.start()
    await own.pbx.registered(own.user)
    await own.service.eventually(
        lambda: gauge(own), lambda found: found["now"] == 1, within=5, what="gauge after a restart"
    )
    await sleeps_on(own)
    await wakes(own)
    await wakes(own)
    await receiver.wait(1, kind="device.wakes_again")
    await history(own, 9)
    assert [push.type for push in receiver.pushes] == [
        "device.stopped_waking",
        "device.wakes_again",
    ]
    assert await own.service.metric(GAUGE) == 0


async def gauge(ext: Extension) -> dict[str, Any]:
    return {"now": await ext.service.metric(GAUGE)}


async def test_callers_without_patience_are_no_evidence(extension: MakeExtension) -> None:
    """Given up within a second: the wake is listed and counts for nothing."""
    ext = await extension()
    for number in range(1, 5):
        call = ext.call()
        await ext.pushed(number)
        await call.cancel()
    seen = await history(ext, 4)
    assert {(each["result"], each["verdict"]) for each in seen["wakes"]} == {
        ("no_evidence", "caller_cancelled")
    }
    assert (seen["counted"], seen["rate"], seen["standing"]) == (0, None, "new")


async def test_no_call_waits_for_the_history(own: Extension) -> None:
    """With the store stopped calls are pushed, woken and given up all the same; what happened
    is in the history when it is back.
    """
    await wakes(own)
    pid = int((own.service.directory / "data" / "valkey.lock").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.wait_for(wakes(own), 5)
        await asyncio.wait_for(sleeps_on(own), 5)
    finally:
        os.kill(pid, signal.SIGCONT)

    async def ask() -> dict[str, Any]:
        path = f"/v1/accounts/{own.account}/devices/handset/wakes"
        _, answer = await own.service.request("GET", path)
        return {"results": [each["result"] for each in answer.get("wakes", ())]}

    await own.service.eventually(
        ask,
        lambda found: found["results"] == ["failed", "woke", "woke"],
        within=15,
        what="history after the store's return",
    )
