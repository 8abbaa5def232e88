"""Several devices of one account: all wake, each rings once, the first answer wins."""

import asyncio

from tests.lab.push_sink import Reply
from tests.lab.sip_call import IncomingCall
from tests.lab.sip_message import Message

from .conftest import Extension, MakeExtension

ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


async def act(ext: Extension, call_id: str, device: str, action: str) -> tuple[int, dict[str, str]]:
    return await ext.service.request(
        "POST", f"/v1/calls/{call_id}/actions", {"action": action, "device": device}
    )


async def test_first_answer_wins(extension: MakeExtension) -> None:
    """Three devices are pushed and rung once each; the first answer goes to the PBX, the others
    get CANCEL with Reason "Call completed elsewhere".
    """
    ext = await extension("a", "b", "c")
    call = ext.call()
    pushes = await ext.pushed(3)
    assert {push.payload["device"] for push in pushes} == {"a", "b", "c"}
    assert len({push.call_id for push in pushes}) == 1
    ringing: list[IncomingCall] = []
    for device in ("a", "b", "c"):
        incoming = await ext.rung(ext.phone(device))
        incoming.ring()
        ringing.append(incoming)
    ringing[1].accept()
    dialog = await call.answered()
    await ringing[1].expect_ack()
    for loser in (ringing[0], ringing[2]):
        assert (await loser.expect_cancel()).all("Reason") == [ELSEWHERE]
    for phone in ext.phones:
        assert len(phone.agent.received(method="INVITE")) == 1
    assert len({incoming.invite.branch for incoming in ringing}) == 3
    assert len(ext.pbx.agent.received(method="INVITE", status=200)) == 1
    dialog.send("BYE")
    await ringing[1].dialog().expect_bye()
    assert len(ext.pushes()) == 3, "those who hear SIP need no terminal push"


async def test_answered_while_another_still_wakes(extension: MakeExtension) -> None:
    """A answers while B wakes: B is told by push, and gets no INVITE when it registers later
    (race 9).
    """
    ext = await extension("a", "b")
    call = ext.call()
    await ext.pushed(2)
    incoming = await ext.rung(ext.phone("a"))
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    (farewell,) = await ext.pushed(kind="answered_elsewhere")
    assert farewell.payload["device"] == "b"
    late = ext.phone("b")
    assert (await late.register()).status == 200
    await late.agent.expect_nothing(within=0.3, method="INVITE")
    assert ext.pushes("cancel") == []


async def test_failing_farewell_does_not_hurt_the_call(extension: MakeExtension) -> None:
    """B's terminal push fails: A's call goes on all the same."""
    ext = await extension("a", "b")
    call = ext.call()
    await ext.pushed(2)
    incoming = await ext.rung(ext.phone("a"))
    await ext.sink.stop()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    incoming.dialog().send("BYE")
    await dialog.expect_bye()
    assert (await ext.record(call))["verdict"] == "answered"


async def test_one_refuses_while_another_wakes(extension: MakeExtension) -> None:
    """A device's 486 waits: the other may still come, and its answer wins."""
    ext = await extension("a", "b")
    call = ext.call()
    await ext.pushed(2)
    busy = await ext.rung(ext.phone("a"))
    busy.reject(486, "Busy Here")
    await busy.expect_ack()
    await ext.pbx.agent.expect_nothing(within=0.2, status=486)
    incoming = await ext.rung(ext.phone("b"))
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()


async def test_all_refuse(extension: MakeExtension) -> None:
    """When all have refused the PBX gets the best answer, at once."""
    ext = await extension("a", "b")
    call = ext.call()
    await ext.pushed(2)
    for device, status, reason in (("a", 480, "Temporarily"), ("b", 486, "Busy Here")):
        incoming = await ext.rung(ext.phone(device))
        incoming.ring()
        incoming.reject(status, reason)
        await incoming.expect_ack()
    final = await call.final()
    assert final.status in (480, 486)
    assert (await ext.record(call))["verdict"] == "busy"


async def test_declined_everywhere(extension: MakeExtension) -> None:
    """A 603 from one device ends the call for all: the other stops ringing."""
    ext = await extension("a", "b")
    call = ext.call()
    await ext.pushed(2)
    ringing = await ext.rung(ext.phone("a"))
    ringing.ring()
    declining = await ext.rung(ext.phone("b"))
    declining.reject(603, "Decline")
    await declining.expect_ack()
    await ringing.expect_cancel()
    assert (await call.final()).status == 603
    assert (await ext.record(call))["verdict"] == "declined"


async def test_decline_from_the_push_screen(extension: MakeExtension) -> None:
    """POST decline ends the only device's part before SIP is up: 603 to the PBX at once, and the
    phone that registers later gets no INVITE.
    """
    ext = await extension()
    call = ext.call()
    (push,) = await ext.pushed()
    status, fate = await act(ext, push.call_id, "handset", "decline")
    assert (status, fate["taken"]) == (202, True)
    final = await call.final()
    assert (final.status, final.get("X-Push-Reason")) == (603, "declined")
    phone = ext.phone()
    await phone.register()
    await phone.agent.expect_nothing(within=0.2, method="INVITE")
    assert (await act(ext, push.call_id, "handset", "busy"))[0] == 409
    assert (await ext.record(call))["verdict"] == "declined"


async def test_busy_on_one_leaves_the_other(extension: MakeExtension) -> None:
    """POST busy ends one device's part; the other is rung when it comes."""
    ext = await extension("a", "b")
    call = ext.call()
    (push, _) = await ext.pushed(2)
    assert (await act(ext, push.call_id, "a", "busy"))[0] == 202
    incoming = await ext.rung(ext.phone("b"))
    refused = ext.phone("a")
    await refused.register()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    assert refused.agent.received(method="INVITE") == []


async def test_one_push_fails_another_device_comes(extension: MakeExtension) -> None:
    """A rejected token of one device does not end the call for the other."""
    ext = await extension("a", "b")
    ext.sink.replies.append(Reply(status=410))
    call = ext.call()
    pushes = await ext.pushed(2)
    survivor = pushes[1].payload["device"]
    incoming = await ext.rung(ext.phone(survivor))
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()


async def test_ringing_phones_answers_are_heard_by_the_caller(extension: MakeExtension) -> None:
    """180s of several phones reach the PBX with their own To-tags; the 200 has its phone's."""
    ext = await extension("a", "b", wake={"ringing": "device_rings"})
    call = ext.call()
    await ext.pushed(2)
    tags: list[str] = []
    for device in ("a", "b"):
        incoming = await ext.rung(ext.phone(device))
        incoming.ring()
        heard: Message = await call.expect(180)
        tags.append(heard.to_tag)
    assert len(set(tags)) == 2
    incoming.accept()
    response = await call.final(ack=False)
    assert response.to_tag == tags[1]
    call.dialog(response).ack(response)
    await incoming.expect_ack()


async def test_registers_at_the_same_time(extension: MakeExtension) -> None:
    """Two devices register in the same instant: both are rung."""
    ext = await extension("a", "b")
    call = ext.call()
    await ext.pushed(2)
    first, second = await asyncio.gather(ext.rung(ext.phone("a")), ext.rung(ext.phone("b")))
    first.ring()
    second.accept()
    await call.answered()
    await second.expect_ack()
    await first.expect_cancel()


async def test_together(extension: MakeExtension) -> None:
    """Ring mode ``together``: the phone that is awake is called when the other has woken, not
    before; then each has one INVITE, and who loses is told.
    """
    ext = await extension("a", "b", wake={"ring_mode": "together"})
    desk, mobile = ext.phone("a"), ext.phone("b")
    assert (await desk.register()).status == 200
    call = ext.call()
    (push,) = await ext.pushed(1)
    assert push.payload["device"] == "b"
    await desk.agent.expect_nothing(within=0.3, method="INVITE")
    woken = await ext.rung(mobile)
    beside = await desk.incoming()
    woken.ring()
    beside.ring()
    beside.accept()
    dialog = await call.answered()
    await beside.expect_ack()
    assert (await woken.expect_cancel()).all("Reason") == [ELSEWHERE]
    for phone in (desk, mobile):
        assert len(phone.agent.received(method="INVITE")) == 1
    dialog.send("BYE")
    await beside.dialog().expect_bye()


async def test_together_and_the_other_does_not_come(extension: MakeExtension) -> None:
    """After ``together_s`` the phone that is awake rings alone."""
    ext = await extension("a", "b", wake={"ring_mode": "together", "together_s": 1})
    desk = ext.phone("a")
    assert (await desk.register()).status == 200
    call = ext.call()
    await ext.pushed(1)
    incoming = await desk.incoming()
    waited_s = incoming.invite.arrived_s - ext.pushes()[0].arrived_s
    assert waited_s > 0.8, "called before the other had its time"
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
