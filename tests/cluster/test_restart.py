"""Killed in mid-wake and started again under the same address: the caller notices a pause only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from push_proxy.tasks import spawn
from tests.lab import sdp
from tests.lab.cluster import Valkey
from tests.lab.pbx import Pbx
from tests.lab.phone import Phone
from tests.lab.push_sink import PushSink, Reply
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.scenarios.conftest import WEBHOOK_KEY, Extension

WAKE = {"deadline_s": 40, "repush_after_s": None}


class Mortal:
    """A service that can be killed, and one extension with one phone."""

    def __init__(self, service: LabService, pbx: Pbx, sink: PushSink) -> None:
        self.service = service
        self.pbx = pbx
        self.ext = Extension(
            service=service, pbx=pbx, sink=sink, user="900", registrar=f"sip:{pbx.domain}"
        )

    async def dies(self, *, down_s: float = 0.0) -> None:
        """Kill -9; the next life is ready on return."""
        self.service.kill()
        await self.service.close()
        await asyncio.sleep(down_s)
        await self.service.start()

    async def holds(self, call: OutgoingCall) -> None:
        """Waits until the INVITE is durable: on a busy machine its 100 leaves before that."""
        await self.service.eventually(
            lambda: self.ext.record(call, state="waking"),
            lambda record: "invite_stored" in self.service.events(record),
            within=5,
            what="held INVITE",
        )

    def finals(self, call: OutgoingCall) -> list[int]:
        """What the PBX got for this INVITE, retransmissions of one 2xx as one."""
        found = {(m.status, m.get("To")) for m in self.pbx.agent.history if call.is_final(m)}
        return sorted(status for status, _ in found)

    async def connects(self, call: OutgoingCall, incoming: IncomingCall) -> None:
        """The person answers, the two talk, the PBX hangs up; its record is one call's."""
        incoming.accept(sdp.ANSWER)
        dialog = await call.answered()
        await incoming.expect_ack()
        near = incoming.dialog()
        dialog.send("BYE")
        await near.expect_bye()
        record = await self.ext.record(call)
        assert record["verdict"] == "answered"
        assert "node_restarted" in self.service.events(record)
        assert self.finals(call) == [200]
        await self.service.nothing_waits()


def invites(phone: Phone) -> set[str]:
    """Branches of the INVITEs that the phone got: more than one would ring twice."""
    return {message.branch for message in phone.agent.received(method="INVITE")}


@pytest.fixture
async def mortal(workdir: Path, pbx: Pbx) -> AsyncIterator[Mortal]:
    """A service of the test's own, whose extension is registered at the PBX over UDP."""
    async with PushSink(key=WEBHOOK_KEY) as sink:
        options = ServiceOptions(webhook_url=sink.url, webhook_key=WEBHOOK_KEY, wake=WAKE)
        service = LabService(workdir / "service", options)
        try:
            await service.start()
            stage = Mortal(service, pbx, sink)
            await stage.ext.put()
            await stage.ext.put_device()
            await pbx.registered("900")
            yield stage
            stage.ext.leave()
        finally:
            await service.stop()


async def test_before_the_push_was_taken(mortal: Mortal) -> None:
    """100 has left and the push is under way, unanswered: it is sent again under its name, the
    phone wakes, rings and answers.
    """
    ext = mortal.ext
    ext.sink.replies.append(Reply(hang=True))
    call = ext.call()
    await call.expect(100)
    await ext.pushed()
    await mortal.holds(call)
    await mortal.dies()
    first, second = await ext.pushed(2)
    assert first.call_id == second.call_id
    incoming = await ext.rung(ext.phone())
    await mortal.connects(call, incoming)


async def test_after_the_push(mortal: Mortal) -> None:
    """The push was taken and the phone has not registered: the call waits for it on."""
    ext = mortal.ext
    call = ext.call()
    await ext.pushed()
    await call.expect(180)
    await mortal.holds(call)
    await mortal.dies()
    phone = ext.phone()
    incoming = await ext.rung(phone)
    await mortal.connects(call, incoming)
    assert len(invites(phone)) == 1


async def test_after_the_register(mortal: Mortal) -> None:
    """The phone has the INVITE and has said nothing: it gets it again as a retransmission."""
    ext = mortal.ext
    call, incoming = await ext.woken()
    phone = ext.phones[0]
    # Written behind: another write of the same account says that the binding has been stored.
    await ext.put_device(platform="android")
    await mortal.dies()
    await phone.agent.expect(method="INVITE", within=3)
    await mortal.connects(call, incoming)
    assert len(invites(phone)) == 1


async def test_right_after_the_register(mortal: Mortal) -> None:
    """Killed before the REGISTER was stored, perhaps: the phone registers again, as it does when it
    is pushed again, and the INVITE has the branch that it had.
    """
    ext = mortal.ext
    call, incoming = await ext.woken()
    phone = ext.phones[0]
    await mortal.dies()
    assert (await phone.register()).status == 200
    await phone.agent.expect(method="INVITE", within=3)
    await mortal.connects(call, incoming)
    assert len(invites(phone)) == 1


async def test_while_it_rings(mortal: Mortal) -> None:
    """The phone rings: it gets the INVITE once more with the same branch, says 180 again, and its
    answer goes to the PBX.
    """
    ext = mortal.ext
    call, incoming = await ext.woken()
    phone = ext.phones[0]
    incoming.ring()
    await ext.record(call, state="ringing")
    await mortal.dies()
    await phone.agent.expect(method="INVITE", within=3)
    incoming.ring()
    await mortal.connects(call, incoming)
    assert len(invites(phone)) == 1
    assert len(ext.pushes("call")) == 1


async def test_after_200_before_ack(mortal: Mortal) -> None:
    """Killed with the 200 at the PBX and no ACK yet: the phone repeats it, the ACK finds the
    phone, and the PBX has one answer.
    """
    ext = mortal.ext
    call, incoming = await ext.woken()
    incoming.accept(sdp.ANSWER)
    answer = await call.final()
    # What was written behind before this has been stored after it: the INVITE is released.
    await ext.put_device(platform="android")
    mortal.service.kill()
    await mortal.service.close()
    await mortal.service.start()
    incoming.accept(sdp.ANSWER)
    dialog = call.dialog(await call.final())
    dialog.ack(answer)
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    assert mortal.finals(call) == [200]
    await mortal.service.nothing_waits()


async def test_the_answer_was_not_stored(workdir: Path, pbx: Pbx) -> None:
    """The store ends before the phone registers, and the node with the phone's 200 at the PBX: the
    next life finds a call that waits, and no binding. The phone repeats its 200: the PBX gets it
    again, the call is on record as answered, and only the other device is told, that it was
    answered elsewhere.
    """
    valkey = Valkey(workdir / "valkey")
    async with PushSink(key=WEBHOOK_KEY) as sink:
        options = ServiceOptions(
            webhook_url=sink.url,
            webhook_key=WEBHOOK_KEY,
            wake=WAKE,
            extra={"redis": {"url": valkey.url}},
        )
        service = LabService(workdir / "service", options)
        try:
            await valkey.start()
            await service.start()
            mortal = Mortal(service, pbx, sink)
            ext = mortal.ext
            await ext.put()
            for device in ("handset", "tablet"):
                await ext.put_device(device, instance_id=f"urn:x-lab:{device}")
            await pbx.registered("900")
            call = ext.call()
            await ext.pushed(2)
            await mortal.holds(call)
            valkey.kill()
            incoming = await ext.rung(ext.phone("handset"))
            incoming.accept(sdp.ANSWER)
            await call.final()
            service.kill()
            await service.close()
            await valkey.start()
            await service.start()
            # The former life may have told the tablet, or not.
            told = len(ext.pushes("answered_elsewhere"))
            incoming.accept(sdp.ANSWER)
            dialog = await call.answered()
            await incoming.expect_ack()
            pushes = await ext.pushed(told + 1, kind="answered_elsewhere")
            assert {push.payload["device"] for push in pushes} == {"tablet"}
            await service.nothing_waits()
            dialog.send("BYE")
            await incoming.dialog().expect_bye()
            record = await ext.record(call)
            assert (record["verdict"], record["decided_by"]) == ("answered", "handset")
            events = service.events(record)
            assert events.index("node_restarted") < events.index("answered")
            missed = await service.expect("GET", f"/v1/accounts/{ext.account}/missed-calls")
            assert missed["missed_calls"] == []
            assert {push.type for push in ext.pushes()} == {"call", "answered_elsewhere"}
            assert mortal.finals(call) == [200]
            ext.leave()
        finally:
            await service.stop()
            await valkey.stop()


async def test_the_caller_gives_up_meanwhile(mortal: Mortal) -> None:
    """CANCEL is repeated by the PBX while nobody is there: the next life answers it with 200, and
    the INVITE with 487, once; the phone that shows the call is told.
    """
    ext = mortal.ext
    call = ext.call()
    await ext.pushed()
    await call.expect(180)
    mortal.service.kill()
    await mortal.service.close()

    async def repeat() -> None:
        while True:
            call.send_cancel()
            await asyncio.sleep(0.5)

    repeating = spawn(repeat(), name="CANCEL")
    await mortal.service.start()
    final = await call.final()
    repeating.cancel()
    assert final.status == 487
    await ext.pushed(kind="cancel")
    record = await ext.record(call)
    assert record["ended_by"] == "caller"
    assert mortal.finals(call) == [487]
    assert mortal.pbx.agent.received(status=481) == []


async def test_the_deadline_passes_meanwhile(workdir: Path, pbx: Pbx) -> None:
    """The wake's time is over when the next life begins: the caller is answered at once, and the
    verdict is what it would have been.
    """
    async with PushSink(key=WEBHOOK_KEY) as sink:
        options = ServiceOptions(
            webhook_url=sink.url, webhook_key=WEBHOOK_KEY, wake={**WAKE, "deadline_s": 5}
        )
        service = LabService(workdir / "service", options)
        try:
            await service.start()
            mortal = Mortal(service, pbx, sink)
            ext = mortal.ext
            await ext.put()
            await ext.put_device()
            await pbx.registered("900")
            call = ext.call()
            await ext.pushed()
            await call.expect(180)
            # The store is told once the push has been taken; without that it would be repeated.
            await asyncio.sleep(0.2)
            await mortal.dies(down_s=5.0)
            final = await call.final()
            assert (final.status, final.all("X-Push-Reason")) == (480, ["not_woken"])
            await ext.pushed(kind="cancel")
            record = await ext.record(call)
            assert (record["verdict"], record["fault"]) == ("not_woken", "phone_or_network")
        finally:
            await service.stop()


async def test_another_address(mortal: Mortal) -> None:
    """The node comes back elsewhere: no SIP of the call can reach it. It ends as lost with its
    PBX, is kept as missed, and the phone that shows it is told.
    """
    ext = mortal.ext
    call = ext.call()
    await ext.pushed()
    await call.expect(180)
    mortal.service.kill()
    await mortal.service.close()
    options = mortal.service.options
    mortal.service.options = ServiceOptions(
        webhook_url=options.webhook_url,
        webhook_key=options.webhook_key,
        wake=options.wake,
        extra={"sip": {"node_address": "127.0.0.9"}},
    )
    await mortal.service.start()
    await ext.pushed(kind="cancel")
    record = await ext.record(call)
    assert (record["verdict"], record["fault"], record["ended_by"]) == ("pbx_lost", "pbx", "pbx")
    assert "node_restarted" in mortal.service.events(record)
    missed = await mortal.service.expect("GET", f"/v1/accounts/{ext.account}/missed-calls")
    assert [each["verdict"] for each in missed["missed_calls"]] == ["pbx_lost"]
    await ext.pushed(kind="missed")
    assert mortal.finals(call) == []
