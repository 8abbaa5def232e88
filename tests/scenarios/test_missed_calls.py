"""Calls that nobody took: pushed once, kept until somebody has seen them."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.lab.pbx import Pbx
from tests.lab.process import poll_until
from tests.lab.push_sink import Push, PushSink, Reply
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_call import OutgoingCall

from .conftest import WEBHOOK_KEY, Extension, MakeExtension

DAY_S = 86_400
AWAY = Reply(status=503)
NamedDevices = tuple[str, str]
TWO: NamedDevices = ("handset", "tablet")


async def missed(ext: Extension, **fields: Any) -> str:
    """A call that wakes nobody, and that its caller gives up; its id."""
    before = len(ext.pushes("call"))
    call = ext.call(**fields)
    (push, *_) = (await ext.pushed(before + 1))[before:]
    await call.cancel()
    assert push.call_id
    return push.call_id


async def unseen(ext: Extension) -> list[dict[str, Any]]:
    """The list, and the account's status says the same number."""
    answer = await ext.service.expect("GET", f"/v1/accounts/{ext.account}/missed-calls")
    found: list[dict[str, Any]] = answer["missed_calls"]
    account = await ext.service.expect("GET", f"/v1/accounts/{ext.account}")
    assert account["status"]["missed_calls"] == len(found)
    return found


async def kept(ext: Extension, *calls: str) -> None:
    """Exactly these are in the list, in this order."""
    assert [one["call_id"] for one in await unseen(ext)] == list(calls)


async def see(ext: Extension, **body: Any) -> None:
    path = f"/v1/accounts/{ext.account}/missed-calls/seen"
    status, answer = await ext.service.request("POST", path, body)
    assert status == 204, answer


def told(ext: Extension, call: str | None = None) -> list[tuple[str, str]]:
    """Which devices were pushed which missed calls, sorted; a resend counts as nothing new."""
    pushes = {push.payload["push_id"]: push for push in ext.pushes("missed")}
    return sorted(
        (push.call_id or "", push.payload["device"])
        for push in pushes.values()
        if call in (None, push.call_id)
    )


async def refused_pushes(service: LabService) -> float:
    """How many missed pushes providers have not taken."""
    text = await service.expect("GET", "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("push_proxy_pushes_total{")]
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if 'type="missed"' in line and 'result="accepted"' not in line
    )


async def missed_while_the_backend_fails(ext: Extension, *, devices: int = 1) -> str:
    """A missed call whose pushes nobody took, as the service knows."""
    before = await refused_pushes(ext.service)

    async def fails(push: Push) -> None:
        ext.sink.reply = AWAY

    ext.sink.hook = fails
    call = await missed(ext)
    # The call pushes of further devices may have failed as well: what counts is the end.
    await ext.service.eventually(
        lambda: _count(ext.service), lambda found: found["refused"] - before >= devices,
        within=8, what="refused missed pushes",
    )  # fmt: skip
    ext.sink.hook = None
    ext.sink.reply = Reply()
    return call


async def _count(service: LabService) -> dict[str, Any]:
    return {"refused": await refused_pushes(service)}


async def nothing_more(ext: Extension, register: Callable[[], Awaitable[Any]]) -> None:
    """A REGISTER leads to no push about a missed call that was not there before."""
    before = told(ext)
    assert (await register()).status == 200
    assert not await poll_until(lambda: told(ext) != before, within_s=0.4)


async def test_each_device_is_pushed_once(extension: MakeExtension) -> None:
    """A call that nobody took: one `missed` push to each device, good for a day, with the caller;
    the call is in the list, and a REGISTER afterwards brings no second push.
    """
    ext = await extension(*TWO)
    call = await missed(ext, caller="0301234")
    pushes = await ext.pushed(2, kind="missed")
    assert told(ext) == [(call, "handset"), (call, "tablet")]
    for push in pushes:
        assert push.signature_error == ""
        assert push.payload["caller_number"] == "0301234"
        sent, ends, began = (
            datetime.fromisoformat(push.payload[name])
            for name in ("sent_at", "expires_at", "started_at")
        )
        assert (ends - sent).total_seconds() == DAY_S
        assert began < sent
    (shown,) = await unseen(ext)
    assert (shown["call_id"], shown["caller_number"]) == (call, "0301234")
    assert (shown["verdict"], shown["video"]) == ("caller_cancelled", False)
    assert shown["started_at"] == pushes[0].payload["started_at"]
    for name in TWO:
        await nothing_more(ext, ext.phone(name).register)


async def test_what_was_seen_leaves_the_list(extension: MakeExtension) -> None:
    """By name or all up to one, once or twice: nobody hears of it again."""
    ext = await extension()
    calls = [await missed(ext) for _ in range(3)]
    await ext.pushed(3, kind="missed")
    await kept(ext, *reversed(calls))
    for _ in range(2):
        await see(ext, up_to=calls[1])
        await kept(ext, calls[2])
    for _ in range(2):
        await see(ext, ids=[calls[2]])
        await kept(ext)
    await nothing_more(ext, ext.phone().register)


async def test_who_did_not_take_it_gets_it_after_its_register(extension: MakeExtension) -> None:
    """The backend failed: each device gets the very same push after its own next REGISTER, once."""
    ext = await extension(*TWO)
    call = await missed_while_the_backend_fails(ext, devices=2)
    ids = {push.payload["push_id"] for push in ext.pushes("missed")}
    assert len(ids) == 2
    for name in TWO:
        before = len(ext.pushes("missed"))
        phone = ext.phone(name)
        assert (await phone.register()).status == 200
        again = (await ext.pushed(before + 1, kind="missed"))[before:]
        assert [(push.call_id, push.payload["device"]) for push in again] == [(call, name)]
        assert again[0].payload["push_id"] in ids
        await nothing_more(ext, phone.register)
        assert len(ext.pushes("missed")) == before + 1
    await kept(ext, call)


async def test_seen_before_the_register(extension: MakeExtension) -> None:
    """The backend failed, and the person saw the call on another device: nothing to push."""
    ext = await extension()
    call = await missed_while_the_backend_fails(ext)
    await see(ext, ids=[call])
    before = len(ext.pushes("missed"))
    await nothing_more(ext, ext.phone().register)
    assert len(ext.pushes("missed")) == before


async def test_a_phone_that_was_declined_on_knows(extension: MakeExtension) -> None:
    """It rang, the person refused (486): it is not told; the other one, which slept on, is."""
    ext = await extension(*TWO, wake={"deadline_s": 5, "repush_after_s": None})
    call = ext.call()
    await ext.pushed(2)
    incoming = await ext.rung(ext.phone("handset"))
    incoming.ring()
    await call.expect(180)
    incoming.reject(486, "Busy Here")
    assert (await call.final(within=8)).status == 486
    record = await ext.record(call)
    await ext.pushed(kind="missed")
    assert told(ext) == [(record["id"], "tablet")]
    await nothing_more(ext, ext.phone("handset").register)


async def declined(ext: Extension) -> OutgoingCall:
    """On the only device."""
    call, incoming = await ext.woken()
    incoming.ring()
    await call.expect(180)
    incoming.reject(603, "Decline")
    await call.final()
    return call


async def taken_elsewhere(ext: Extension) -> OutgoingCall:
    """By another phone at the PBX."""
    call = ext.call()
    await ext.pushed()
    reason = 'SIP;cause=200;text="Call completed elsewhere"'
    call.send_cancel(headers=(("Reason", reason),))
    await call.final()
    return call


@pytest.mark.parametrize(
    ("how", "verdict"), [(declined, "declined"), (taken_elsewhere, "answered_elsewhere")]
)
async def test_what_is_not_missed(
    extension: MakeExtension, how: Callable[[Extension], Awaitable[OutgoingCall]], verdict: str
) -> None:
    """Declined, or answered at another phone: neither kept nor pushed."""
    ext = await extension()
    record = await ext.record(await how(ext))
    assert record["verdict"] == verdict
    await kept(ext)
    await nothing_more(ext, ext.phone().register)
    assert told(ext) == []


async def test_a_caller_who_asked_for_privacy(extension: MakeExtension) -> None:
    """`Privacy: id`: neither the push nor the list names the caller (RFC 3325 §9.3)."""
    ext = await extension()
    await missed(ext, caller="0301234", headers=(("Privacy", "id"),))
    (push,) = await ext.pushed(kind="missed")
    (shown,) = await unseen(ext)
    for said in (push.payload, shown):
        assert (said["caller_number"], said["caller_name"]) == ("", "")


@pytest.fixture
async def own(workdir: Path, pbx: Pbx, push_sink: PushSink) -> AsyncIterator[Extension]:
    """An extension at a service of its own, which pushes without names."""
    options = ServiceOptions(
        webhook_url=push_sink.url, webhook_key=WEBHOOK_KEY, extra={"privacy": "ids_only"}
    )
    async with LabService(workdir / "own", options) as service:
        ext = Extension(
            service=service, pbx=pbx, sink=push_sink, user="901", registrar=f"sip:{pbx.domain}"
        )
        await ext.put()
        await ext.put_device()
        await pbx.registered(ext.user)
        yield ext
        ext.leave()


async def test_over_a_restart(own: Extension) -> None:
    """Killed and started again: what was taken is not pushed again, what was not is, after the
    REGISTER; both are in the list until they are seen. With `ids_only` the push names nobody.
    """
    taken = await missed(own, caller="0301234")
    (push,) = await own.pushed(kind="missed")
    assert "caller_number" not in push.payload
    owed = await missed_while_the_backend_fails(own)
    await kept(own, owed, taken)
    own.service.kill()
    await own.service.start()
    await own.pbx.registered(own.user)
    await kept(own, owed, taken)
    before = len(own.pushes("missed"))
    phone = own.phone()
    assert (await phone.register()).status == 200
    again = (await own.pushed(before + 1, kind="missed"))[before:]
    assert [one.call_id for one in again] == [owed]
    await nothing_more(own, phone.register)
    await see(own, up_to=owed)
    await kept(own)


async def test_while_the_store_is_away(own: Extension) -> None:
    """It hangs: the push leaves all the same, list and `seen` are refused; when it is back, the
    call is in the list.
    """
    pid = int((own.service.directory / "data" / "valkey.lock").read_text())
    path = f"/v1/accounts/{own.account}/missed-calls"
    os.kill(pid, signal.SIGSTOP)
    try:
        call = await missed(own)
        await own.pushed(kind="missed")
        assert (await own.service.request("GET", path))[0] == 503
        assert (await own.service.request("POST", f"{path}/seen", {"ids": [call]}))[0] == 503
    finally:
        os.kill(pid, signal.SIGCONT)

    async def listed() -> dict[str, Any]:
        status, answer = await own.service.request("GET", path)
        return {"calls": answer["missed_calls"] if status == 200 else []}

    await own.service.eventually(
        listed,
        lambda found: [one["call_id"] for one in found["calls"]] == [call],
        within=10,
        what="missed call in the list",
    )
    await nothing_more(own, own.phone().register)
