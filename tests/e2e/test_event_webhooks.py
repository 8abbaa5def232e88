"""Event webhooks of a real service: calls go on whatever their receiver does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.kamailio import Kamailio
from tests.lab.process import Process
from tests.lab.push_sink import Push, PushSink, Reply
from tests.lab.service import LabService, ServiceOptions

from .conftest import Extension, StartService

EVENTS_KEY = b"key of the events' receiver"
WAKE = {"deadline_s": 5.0}


@pytest.fixture
async def receiver() -> AsyncIterator[PushSink]:
    """The operator's system that hears of events."""
    async with PushSink(key=EVENTS_KEY) as sink:
        yield sink


@pytest.fixture
async def extension(
    start_service: StartService,
    kamailio: Kamailio,
    push_sink: PushSink,
    receiver: PushSink,
    workdir: Path,
) -> Extension:
    """Extension 101 of a service of its own, which tells its events to `receiver`."""
    service = await start_service(
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            wake=WAKE,
            extra={"events": {"webhooks": [entry(receiver, workdir)]}},
        )
    )
    found = Extension(service=service, pbx=kamailio, sink=push_sink, user="101")
    await found.provision()
    return found


def entry(receiver: PushSink, folder: Path, **more: Any) -> dict[str, Any]:
    key_file = folder / "events.key"
    key_file.write_bytes(receiver.key)
    return {
        "url": receiver.url,
        "hmac_key_file": str(key_file),
        "allow_private": True,
        **more,
    }


async def miss_a_call(ext: Extension) -> str:
    """The phone sleeps on, and the caller gives up; our call id."""
    async with ext.caller() as caller:
        known = sum(push.type == "call" for push in ext.sink.pushes)
        call = caller.call(ext.aor)
        pushes = await ext.sink.wait(known + 1, kind="call")
        await call.expect(180)
        await call.cancel()
    return pushes[known].call_id


async def take_a_call(ext: Extension) -> str:
    """The phone is woken and answers; the call's Call-ID."""
    async with ext.caller() as caller, ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
        await phone.unregister()
    ext.sink.hook = None
    return str(call.invite.call_id)


async def events(receiver: PushSink, kind: str, count: int = 1, within: float = 8.0) -> list[Push]:
    return await receiver.wait(count, kind=kind, within=within)


async def test_a_missed_call_is_told_once(extension: Extension, receiver: PushSink) -> None:
    """Signed, with the caller and the verdict that the API shows; an answered one is not told."""
    missed = await miss_a_call(extension)
    await take_a_call(extension)
    (event,) = await events(receiver, "call.missed")
    record = await extension.service.expect("GET", f"/v1/calls/{missed}")
    assert event.signature_error == ""
    assert event.headers["X-Push-Proxy-Event-Id"] == event.payload["id"]
    told = event.payload
    assert (told["tenant"], told["account"], told["device"]) == ("demo", extension.account, None)
    assert told["call_id"] == missed
    assert told["verdict"] == record["verdict"] == "caller_cancelled"
    assert told["sip_call_id"] == record["sip_call_id"]
    assert told["started_at"] == record["started_at"]
    assert told["caller_number"] == "9000"
    await miss_a_call(extension)
    await metric_is(extension.service, "push_proxy_events_total", 2)
    assert len(receiver.pushes) == 2


async def test_privacy_holds_for_events(extension: Extension, receiver: PushSink) -> None:
    """A caller who asks for it is not named."""
    async with extension.caller() as caller:
        call = caller.call(extension.aor, headers=(("Privacy", "id"),))
        await call.expect(180)
        await call.cancel()
    (event,) = await events(receiver, "call.missed")
    assert b"9000" not in event.body


async def test_a_receiver_that_is_away_costs_no_call_and_no_event(
    extension: Extension, receiver: PushSink
) -> None:
    """While nobody listens calls are missed and taken as ever; killed and started again, the
    service tells what was missed when the receiver is back, with the same id at each attempt.
    """
    await receiver.stop()
    missed = [await miss_a_call(extension), await miss_a_call(extension)]
    await take_a_call(extension)
    await metric_is(extension.service, "push_proxy_events_waiting", 2)
    extension.service.kill()
    receiver.reply = Reply(status=503)
    await receiver.start()
    await extension.service.start()
    await events(receiver, "call.missed", 2)
    receiver.reply = Reply()
    await metric_is(extension.service, "push_proxy_events_waiting", 0)
    by_id = {push.payload["id"]: push.payload["call_id"] for push in receiver.pushes}
    assert sorted(by_id.values()) == sorted(missed)


async def test_a_receiver_that_hangs_is_in_nobodys_way(
    extension: Extension, receiver: PushSink
) -> None:
    """It keeps every request open; calls are missed and taken, and the API answers."""
    receiver.reply = Reply(hang=True)
    for _ in range(3):
        await miss_a_call(extension)
    await events(receiver, "call.missed")
    taken = await take_a_call(extension)
    record = await extension.record(sip_call_id=taken)
    assert record["verdict"] == "answered"


async def test_tokens_that_end_or_move_are_told(extension: Extension, receiver: PushSink) -> None:
    """A token that its backend calls dead, and one that another account's phone has now."""
    service = extension.service
    other = {"registrar": extension.pbx.uri("udp"), "password": "pw-102"}
    await service.put_account("ext-102", "sip:102@pbx.test", **other)
    await service.put_device("ext-102", token="shared")
    await service.put_device(extension.account, token="shared")
    (moved,) = await events(receiver, "device.moved")
    assert (moved.payload["account"], moved.payload["device"]) == ("ext-102", "handset")
    assert moved.payload["to_account"] == extension.account
    extension.sink.reply = Reply(status=410)
    async with extension.caller() as caller:
        call = caller.call(extension.aor)
        await call.final()
    (dead,) = await events(receiver, "token.invalid")
    assert (dead.payload["account"], dead.payload["device"]) == (extension.account, "handset")
    assert all(b"shared" not in push.body for push in receiver.pushes)


async def test_a_lost_registration_is_told(extension: Extension, receiver: PushSink) -> None:
    """Refused for good: told with the PBX's answer; registered again: told, too."""
    fields = {"registrar": extension.pbx.uri("udp")}
    await asyncio.sleep(3)  # it is looked at every second
    await extension.service.put_account(
        extension.account, extension.aor, password="wrong", **fields
    )
    (lost,) = await events(receiver, "registration.lost")
    assert (lost.payload["account"], lost.payload["state"]) == (extension.account, "rejected")
    assert lost.payload["status"] in {"401", "403"}
    await extension.service.put_account(
        extension.account, extension.aor, password=extension.password, **fields
    )
    (restored,) = await events(receiver, "registration.restored")
    assert restored.payload["account"] == extension.account


async def test_dead_letters_are_replayed_by_the_command_line(
    extension: Extension, receiver: PushSink, workdir: Path
) -> None:
    """Shown with the last answer; delivered with the id that they had; then there are none."""
    receiver.reply = Reply(status=404)
    await miss_a_call(extension)
    (refused,) = await events(receiver, "call.missed")

    async def dead() -> dict[str, Any]:
        found: dict[str, Any] = await extension.service.expect("GET", "/v1/events/dead-letters")
        return found

    await extension.service.eventually(
        dead, lambda page: len(page["dead_letters"]) == 1, within=5, what="dead letter"
    )
    await metric_is(extension.service, "push_proxy_event_dead_letters", 1)
    shown = await command(extension.service, workdir, "dead-letters")
    assert "http_404, 1 attempt" in shown
    assert refused.payload["call_id"] in shown
    receiver.reply = Reply()
    assert "1 on their way again" in await command(extension.service, workdir, "replay")
    again = (await events(receiver, "call.missed", 2))[1]
    assert again.payload == refused.payload
    await metric_is(extension.service, "push_proxy_event_dead_letters", 0)
    assert "None" in await command(extension.service, workdir, "dead-letters")


async def test_a_reload_takes_a_new_receiver(
    extension: Extension, receiver: PushSink, workdir: Path
) -> None:
    """SIGHUP: from then on another system is told, by its own key; the old one is not."""
    service = extension.service
    async with PushSink(key=b"key of the second receiver") as second:
        config = yaml.safe_load(service.config.read_text())
        config["events"]["webhooks"] = [entry(second, workdir, types=["call.missed"])]
        service.config.write_text(yaml.safe_dump(config))
        seen = service.process.output_size()
        os.kill(service.process.pid, signal.SIGHUP)
        await service.process.wait_for("configuration reloaded", within_s=5, since=seen)
        await miss_a_call(extension)
        (event,) = await events(second, "call.missed")
        assert event.signature_error == ""
    assert receiver.pushes == []


async def metric_is(service: LabService, name: str, wanted: float) -> None:
    async def ask() -> dict[str, Any]:
        return {"value": await service.metric(name)}

    await service.eventually(ask, lambda found: found["value"] == wanted, within=8, what=name)


async def command(service: LabService, folder: Path, *words: str) -> str:
    """What `push-proxy events …` prints."""
    process = Process(
        [sys.executable, "-m", "push_proxy", "events", *words],
        name=f"events {words[0]}",
        log=folder / f"events-{words[0]}.log",
        env={"PUSH_PROXY_URL": service.url, "PUSH_PROXY_API_KEY": service.api_key},
    )
    seen = process.output_size()
    process.start()
    assert await process.wait_exit(within_s=20) == 0, process.output()
    return process.output(since=seen)
