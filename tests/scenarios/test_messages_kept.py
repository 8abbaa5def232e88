"""`messages: {policy: accept}`: 202 at once, kept sealed, handed over in order, each once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.pbx import Pbx
from tests.lab.phone import Phone
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_message import Message

from .conftest import WEBHOOK_KEY, Extension
from .messages import WORDS, register, send, taken

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def accepting() -> Iterator[LabService]:
    """A service that accepts messages and names nobody in its pushes."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    options = ServiceOptions(
        webhook_url=f"http://127.0.0.1:{free_port()}/push",
        webhook_key=WEBHOOK_KEY,
        listen=("udp", "tcp"),
        extra={"messages": {"policy": "accept"}, "privacy": "ids_only"},
    )
    service = LabService(directory / "service", options)
    yield service
    service.kill()
    Process.started.discard(service.process)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def own(accepting: LabService, pbx: Pbx) -> AsyncIterator[Extension]:
    """An extension with two devices, asleep; its account is new for each test."""
    if not accepting.process.running:
        await accepting.start()
    mark = accepting.process.output_size()
    url = accepting.options.webhook_url or ""
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with PushSink(key=WEBHOOK_KEY, port=port) as sink:
        ext = Extension(
            service=accepting, pbx=pbx, sink=sink, user=str(free_port()), registrar=pbx.uri
        )
        await ext.put()
        for name in ("handset", "tablet"):
            await ext.put_device(name, instance_id=f"urn:x-lab:{name}")
        await pbx.registered(ext.user)
        yield ext
        ext.leave()
        await erased(ext)
    await accepting.close()
    assert "Traceback" not in accepting.process.output(since=mark)


async def erased(ext: Extension) -> None:
    """The account, as soon as the store is there."""

    async def erase() -> dict[str, Any]:
        status, _ = await ext.service.request("DELETE", f"/v1/accounts/{ext.account}")
        return {"status": status}

    await ext.service.eventually(
        erase, lambda answer: answer["status"] != 503, within=10, what="store"
    )


async def accepted(ext: Extension, body: bytes = WORDS, **more: Any) -> Message:
    """The PBX has got its 202."""
    sent = await send(ext, body=body, **more)
    assert (await sent.final(within=3)).status == 202
    return sent.message


async def take(phone: Phone, status: int = 200) -> bytes:
    """The phone answers its next message; what was in it."""
    got = await taken(phone)
    phone.agent.respond(got, status, "As It Is", to_tag="phone")
    return got.body


async def nothing_more(phone: Phone) -> None:
    """Another REGISTER brings nothing."""
    await register(phone)
    await phone.agent.expect_nothing(within=0.4, method="MESSAGE")


async def results(ext: Extension) -> dict[str, float]:
    """The counter, by result."""
    text = await ext.service.expect("GET", "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("push_proxy_messages_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


async def test_accepted_and_handed_over(own: Extension) -> None:
    """202 before anybody wakes; each device is pushed; who registers gets the MESSAGE as its
    sender made it, as a request of ours; then it is gone, also for the other one.
    """
    before = await results(own)
    sent = await accepted(own, headers=(("Subject", "hello"), ("P-Asserted-Identity", "<sip:1@x>")))
    pushes = await own.pushed(2, kind="message")
    assert all(WORDS not in push.body and b"caller" not in push.body for push in pushes)
    phone = own.phone("handset")
    await register(phone)
    got = await taken(phone)
    assert (got.body, got.uri) == (WORDS, phone.contact)
    assert got.header("From").startswith('"Ann" <sip:200@pbx.test>;tag=')
    assert (got.header("To"), got.cseq) == (f"<{own.aor}>", 1)
    assert got.call_id != sent.call_id
    assert (got.header("Subject"), got.header("P-Asserted-Identity")) == ("hello", "<sip:1@x>")
    assert got.header("Content-Type") == "text/plain;charset=utf-8"
    assert got.header("Date").endswith(" GMT")
    for name in ("Route", "Record-Route", "Contact"):
        assert got.all(name) == []
    phone.agent.respond(got, 200, "OK", to_tag="phone")
    await nothing_more(phone)
    await nothing_more(own.phone("tablet"))
    after = await results(own)
    assert {name: after[name] - before.get(name, 0) for name in ("kept", "delivered")} == {
        "kept": 1,
        "delivered": 1,
    }


async def test_in_order_each_once(own: Extension) -> None:
    """Ten messages arrive in the order in which they were sent, the next after the answer; one
    that comes meanwhile is the last.
    """
    for number in range(10):
        await accepted(own, b"%d" % number)
    phone = own.phone("tablet")
    await register(phone)
    first = await taken(phone)
    assert len({m.call_id for m in phone.agent.received(method="MESSAGE")}) == 1
    await accepted(own, b"10")
    phone.agent.respond(first, 200, "OK", to_tag="phone")
    assert [first.body, *[await take(phone) for _ in range(10)]] == [
        b"%d" % number for number in range(11)
    ]
    await nothing_more(phone)


async def test_over_a_restart(own: Extension) -> None:
    """Killed after its 202: the phone that registers afterwards gets it, once, and the PBX that
    had not heard the 202 and repeats the MESSAGE makes no second one of it. On disk it is sealed.
    """
    sent = await send(own, body=b"the very private words")
    assert (await sent.final()).status == 202
    own.service.kill()
    disk = (own.service.directory / "data").rglob("*")
    stored = b"".join(path.read_bytes() for path in disk if path.is_file())
    assert own.account.encode() in stored
    assert b"very private" not in stored
    await own.service.start()
    await own.pbx.registered(own.user)
    sent.again()
    assert (await sent.final()).status == 202
    phone = own.phone("handset")
    await register(phone)
    assert await take(phone) == b"the very private words"
    await nothing_more(phone)


async def test_refusals(own: Extension) -> None:
    """A "not now" is asked again at the next REGISTER; what the phone will never take is dropped,
    and the next one follows.
    """
    await accepted(own, b"first")
    await accepted(own, b"second")
    phone = own.phone("handset")
    await register(phone)
    assert await take(phone, 480) == b"first"
    await phone.agent.expect_nothing(within=0.3, method="MESSAGE")
    await register(phone)
    assert await take(phone, 415) == b"first"
    assert await take(phone) == b"second"
    await nothing_more(phone)
    assert (await results(own))["dropped"] >= 1


async def test_not_now_for_ever(own: Extension) -> None:
    """A phone that never takes one cannot keep the others from it: dropped at the fifth time."""
    await accepted(own, b"first")
    await accepted(own, b"second")
    phone = own.phone("handset")
    for _ in range(5):
        await register(phone)
        assert await take(phone, 500) == b"first"
    assert await take(phone) == b"second"
    await nothing_more(phone)


async def test_an_awake_phone_gets_it_at_once(own: Extension) -> None:
    """No push: the phone has it, and the PBX its 202, whatever the phone says."""
    phone = own.phone("handset")
    await register(phone)
    await accepted(own)
    assert await take(phone) == WORDS
    await nothing_more(phone)
    assert own.pushes() == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_phone_that_has_gone(own: Extension, transport: str) -> None:
    """It seemed awake and does not answer: pushed, and handed over where it registers then."""
    phone = own.phone("handset", transport=transport)
    await register(phone)
    phone.sleep()
    await accepted(own)
    await own.pushed(2, kind="message", within=4)
    await register(phone)
    assert await take(phone) == WORDS
    await nothing_more(phone)


async def test_its_time_is_over(own: Extension) -> None:
    """`Expires`: nobody gets it after that (RFC 3428 §8)."""
    before = (await results(own)).get("expired", 0)
    await accepted(own, headers=(("Expires", "1"),))
    await asyncio.sleep(1.1)
    await nothing_more(own.phone("handset"))
    assert (await results(own))["expired"] == before + 1


async def test_too_many(own: Extension) -> None:
    """Those beyond a hundred are refused with Retry-After; one that is taken makes room."""
    for _ in range(100):
        await accepted(own, b"x")
    final = await (await send(own)).final()
    assert (final.status, final.get("Retry-After")) == (480, "600")
    phone = own.phone("handset")
    await register(phone)
    got = await taken(phone)
    phone.agent.respond(got, 200, "OK", to_tag="phone")
    await phone.agent.expect(method="MESSAGE", within=3, where=lambda m: m.call_id != got.call_id)

    async def another() -> dict[str, Any]:
        return {"status": (await (await send(own)).final()).status}

    await own.service.eventually(
        another, lambda answer: answer["status"] == 202, within=5, what="room"
    )


async def test_without_the_store_it_is_held(own: Extension) -> None:
    """The store hangs: the PBX waits for the phone's own answer, as with `hold`."""
    pid = int((own.service.directory / "data" / "valkey.lock").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        sent = await send(own)
        await own.pushed(2, kind="message")
        assert sent.answers == []
        phone = own.phone("handset")
        await register(phone)
        got = await taken(phone)
        assert got.call_id == sent.message.call_id
        phone.agent.respond(got, 200, "OK", to_tag="phone")
        assert (await sent.final()).status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
