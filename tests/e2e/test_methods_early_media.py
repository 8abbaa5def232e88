"""Before the answer: reliable provisionals, forked early dialogs, and what travels in them."""

import pytest

from tests.lab import sdp
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Message

from .conftest import MakeExtension
from .methods import (
    WAYS,
    Way,
    begun,
    cross,
    desk,
    every_leg,
    every_way,
    hang_up,
)

RELIABLE = ("Require", "100rel")
SUPPORTED = ("Supported", "100rel, timer")


def early(body: bytes) -> bytes:
    """An answer that can be told from the others."""
    return sdp.ANSWER.replace(b"a=X-lab:answered", b"a=X-lab:" + body)


async def progress(call: OutgoingCall, tag: str, status: int = 183) -> Message:
    """The caller's provisional with this To tag."""
    return await call.agent.expect(
        within=5,
        where=lambda m: m.status == status and m.to_tag == tag and m.call_id == call.invite.call_id,
    )


async def acknowledge(call: OutgoingCall, callee: IncomingCall, told: Message) -> Dialog:
    """PRACK and its 200 (RFC 3262 §4); the caller's early dialog."""
    dialog = call.dialog(told)
    rack = ("RAck", f"{told.header('RSeq')} {told.cseq} INVITE")
    await cross(dialog, callee.dialog(), "PRACK", headers=(rack,))
    return dialog


@every_way
async def test_reliable_provisional(extension: MakeExtension, way: Way) -> None:
    """183 with Require: 100rel and RSeq crosses, PRACK and its 200 too, and UPDATE in the early
    dialog from both sides; then the call is answered in it.
    """
    async with begun(await extension(by=way.by), way, headers=(SUPPORTED,)) as new:
        call, incoming = new.call, new.incoming
        assert incoming.invite.listed("Supported") == ["100rel", "timer"]
        incoming.ring(183, "Session Progress", headers=(RELIABLE, ("RSeq", "77")), body=early(b"1"))
        told = await progress(call, incoming.tag)
        assert (told.body, told.listed("Require")) == (early(b"1"), ["100rel"])
        dialog = await acknowledge(call, incoming, told)
        callee = incoming.dialog()
        update = {"body": sdp.HOLD, "answer_headers": (sdp.CONTENT_TYPE,), "answer": sdp.ANSWER}
        await cross(dialog, callee, "UPDATE", **update)
        await cross(callee, dialog, "UPDATE", **update)
        incoming.ring(180, "Ringing", headers=(RELIABLE, ("RSeq", "78")))
        await acknowledge(call, incoming, await progress(call, incoming.tag, 180))
        incoming.accept()
        final = await call.final()
        dialog.ack(final)
        await incoming.expect_ack()
        await hang_up(callee, dialog)


INCOMING = [way for way in WAYS if way.kind != "outgoing"]


@every_leg
async def test_required_100rel(extension: MakeExtension, by: str, leg: str) -> None:
    """INVITE with Require: 100rel (RFC 3262 §3): we say nothing but 100 while the phone wakes,
    though its push was taken, until it answers reliably itself.
    """
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        phone.sleep()
        call = far.call(ext.aor, headers=(RELIABLE,))
        await ext.sink.wait(1, kind="call")
        await far.agent.expect_nothing(within=0.3, status=180)
        await phone.register()
        incoming = await phone.incoming()
        assert incoming.invite.listed("Require") == ["100rel"]
        incoming.ring(180, "Ringing", headers=(RELIABLE, ("RSeq", "1")))
        told = await progress(call, incoming.tag, 180)
        statuses = {m.status for m in far.agent.received(call_id=call.invite.call_id)}
        assert statuses == {100, 407, 180}
        assert ext.answers(call.invite.call_id, 180) == 1
        dialog = await acknowledge(call, incoming, told)
        incoming.accept()
        dialog.ack(await call.final())
        await incoming.expect_ack()
        await hang_up(dialog, incoming.dialog())


@every_way
async def test_forked_behind_one_end(extension: MakeExtension, way: Way) -> None:
    """One end answers with several early dialogs (a gateway, another proxy): each tag reaches
    the caller with its own media, each PRACK its own dialog, and the 200 may be any of them.
    """
    async with begun(await extension(by=way.by), way, headers=(SUPPORTED,)) as new:
        call, first = new.call, new.incoming
        branches = [first, *(IncomingCall(first.agent, first.invite) for _ in range(3))]
        dialogs = []
        for number, branch in enumerate(branches):
            body = early(str(number).encode())
            reliable = (RELIABLE, ("RSeq", str(number + 1)))
            branch.ring(183, "Session Progress", headers=reliable, body=body)
            told = await progress(call, branch.tag)
            assert told.body == body
            dialogs.append(await acknowledge(call, branch, told))
        await cross(dialogs[3], branches[3].dialog(), "UPDATE")
        branches[2].accept()
        response = await call.final()
        assert response.to_tag == branches[2].tag
        dialogs[2].ack(response)
        await branches[2].expect_ack()
        await hang_up(branches[2].dialog(), dialogs[2])


@pytest.mark.parametrize("way", INCOMING, ids=str)
async def test_forked_to_two_devices(extension: MakeExtension, way: Way) -> None:
    """Two devices with early media at once: two early dialogs reach the caller, and what it
    sends in each goes to the device of that one. The first to answer has the call, the other is
    cancelled.
    """
    ext = await extension(by=way.by)
    names = ("handset", "tablet")
    for name in names:
        await ext.service.put_device(ext.account, name, instance_id=f"urn:x-lab:{name}")
    phones = [
        ext.phone(way.leg, device=name, host=f"127.0.0.{3 + number}")
        for number, name in enumerate(names)
    ]
    async with desk(ext) as far, phones[0], phones[1]:
        await far.register()

        async def wake() -> None:
            for phone in phones:
                assert (await phone.register()).status == 200

        if way.kind == "woken":
            for phone in phones:
                phone.sleep()
            ext.wake_on_push(wake)
        else:
            await wake()
        call = far.call(ext.aor, headers=(SUPPORTED,))
        incoming = [await phone.incoming(within=10) for phone in phones]
        dialogs = []
        for number, each in enumerate(incoming):
            body = early(names[number].encode())
            each.ring(183, "Session Progress", headers=(RELIABLE, ("RSeq", "5")), body=body)
            told = await progress(call, each.tag)
            assert told.body == body
            dialogs.append(await acknowledge(call, each, told))
        for dialog, each in zip(dialogs, incoming, strict=True):
            await cross(dialog, each.dialog(), "INFO")
            await cross(each.dialog(), dialog, "UPDATE")
        incoming[1].accept()
        response = await call.final()
        assert response.to_tag == incoming[1].tag
        dialogs[1].ack(response)
        await incoming[1].expect_ack()
        cancel = await incoming[0].expect_cancel()
        assert "cause=200" in cancel.header("Reason")
        await hang_up(dialogs[1], incoming[1].dialog())


async def test_early_end(extension: MakeExtension) -> None:
    """BYE in an early dialog (RFC 3261 §15) ends that one alone; the other is answered."""
    async with begun(await extension(), Way("awake")) as new:
        call, first = new.call, new.incoming
        second = IncomingCall(first.agent, first.invite)
        dialogs = []
        for branch in (first, second):
            branch.ring(183, "Session Progress", body=sdp.ANSWER)
            dialogs.append(call.dialog(await progress(call, branch.tag)))
        await cross(dialogs[0], first.dialog(), "BYE")
        second.accept()
        dialogs[1].ack(await call.final())
        await second.expect_ack()
        await hang_up(dialogs[1], second.dialog())
