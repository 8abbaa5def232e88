"""The races that lost calls elsewhere, each on the wire."""

import asyncio
import time

from tests.lab.process import poll_until
from tests.lab.push_sink import Push, Reply
from tests.lab.sip_agent import new_call_id
from tests.lab.sip_message import Message

from .conftest import Extension, MakeExtension

RUNS = 15
DEADLINE_S = 5.0


async def test_register_before_the_push_is_answered(extension: MakeExtension) -> None:
    """The phone registers while the provider still handles the push: never lost (race 1)."""
    ext = await extension(wake={"fresh_s": 0})
    phone = ext.phone()

    async def register(push: Push) -> None:
        if push.type == "call":
            assert (await phone.register()).status == 200

    ext.sink.hook = register
    for run in range(RUNS):
        call = ext.call()
        incoming = await phone.incoming(within=2)
        assert incoming.invite.call_id == call.invite.call_id, run
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
        await ext.pbx.agent.expect(method="BYE", status=200, within=5)
        phone.sleep()
    assert len(phone.agent.received(method="INVITE")) == RUNS


async def test_register_just_before_the_invite(extension: MakeExtension) -> None:
    """The 200 to its REGISTER is still warm when the call comes: one INVITE, never none."""
    ext = await extension()
    phone = ext.phone()
    for _ in range(RUNS):
        assert (await phone.register()).status == 200
        call = ext.call()
        incoming = await phone.incoming(within=2)
        incoming.ring()
        call.send_cancel()
        await incoming.expect_cancel()
        assert (await call.final()).status == 487
    assert len(phone.agent.received(method="INVITE")) == RUNS


async def test_two_calls_while_waking(extension: MakeExtension) -> None:
    """Two calls come while the phone wakes: one REGISTER brings both, and each has a CANCEL of
    its own (race 4).
    """
    ext = await extension()
    first = ext.call(caller="200")
    await ext.pushed()
    second = ext.call(caller="201")
    pushes = await ext.pushed(2)
    assert len({push.call_id for push in pushes}) == 2
    phone = ext.phone()
    assert (await phone.register()).status == 200
    halves = {}
    for _ in range(2):
        incoming = await phone.incoming()
        incoming.ring()
        halves[incoming.invite.call_id] = incoming
    assert halves.keys() == {first.invite.call_id, second.invite.call_id}
    first.send_cancel()
    await halves[first.invite.call_id].expect_cancel()
    assert (await first.final()).status == 487
    kept = halves[second.invite.call_id]
    kept.accept()
    await second.answered()
    await kept.expect_ack()
    assert len(phone.agent.received(method="INVITE")) == 2


async def test_call_while_another_rings(extension: MakeExtension) -> None:
    """A second call to a phone that rings is a call of its own: it gets 486 as the phone says."""
    ext = await extension()
    first, ringing = await ext.woken()
    ringing.ring()
    await first.expect(180)
    second = ext.call(caller="201")
    waiting = await ext.phones[0].incoming()
    waiting.reject(486, "Busy Here")
    assert (await second.final()).status == 486
    ringing.accept()
    await first.answered()


async def test_register_burst(extension: MakeExtension) -> None:
    """An app that registers in a burst, unauthenticated, authenticated, repeated and with three
    Call-IDs, gets one INVITE, and only after a 200 (race 5).
    """
    ext = await extension("a")
    call = ext.call()
    await ext.pushed()
    phone = ext.phone("a")
    await phone.wake()
    unauthenticated = phone.register_request()
    response = await phone.agent.request(unauthenticated, ext.service.sip_address)
    assert response.status == 401
    await phone.agent.expect_nothing(within=0.1, method="INVITE")
    for _ in range(3):
        phone.registration_call_id = new_call_id()
        assert (await phone.register()).status == 200
        sent = phone.agent.sent[-1][1]
        phone.agent.send(sent, ext.service.sip_address)
    incoming = await phone.incoming()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    await phone.agent.expect_nothing(within=0.3, method="INVITE")


async def test_new_flow_of_a_phone_that_rings(extension: MakeExtension) -> None:
    """A phone that has rung and then registers from another port keeps its one INVITE."""
    ext = await extension("a")
    call, incoming = await ext.woken("a")
    incoming.ring()
    await call.expect(180)
    moved = ext.phone("a")
    assert (await moved.register()).status == 200
    await moved.agent.expect_nothing(within=0.3, method="INVITE")
    incoming.accept()
    await call.answered()


async def test_invite_moves_to_the_new_flow(extension: MakeExtension) -> None:
    """An INVITE that went into a dead flow without a word moves to where the phone registers
    now, in the same call (race 8, for UDP).
    """
    ext = await extension("a")
    old = ext.phone("a")
    await old.register()
    call = ext.call()
    await old.incoming()  # and is silent: suspended
    await ext.pushed(within=3)
    incoming = await ext.rung(ext.phone("a"))
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()


async def test_token_rotates_during_the_wake(extension: MakeExtension) -> None:
    """The app hands in a new token while the old one is being pushed: the new one is pushed for
    the same call, and the provider's 410 for the old one ends nothing (race 6).
    """
    ext = await extension()

    async def rotate(push: Push) -> None:
        if push.payload["token"] == "old":
            await ext.put_device(token="new")

    await ext.put_device(token="old")
    ext.sink.hook = rotate
    ext.sink.replies.append(Reply(status=410))
    call = ext.call()
    old, new = await ext.pushed(2)
    assert [push.payload["token"] for push in (old, new)] == ["old", "new"]
    assert old.call_id == new.call_id
    incoming = await ext.rung(ext.phone())
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    account = await ext.service.expect("GET", f"/v1/accounts/{ext.account}")
    assert [device["device"] for device in account["status"]["devices"]] == ["handset"]


async def test_register_at_the_deadline(extension: MakeExtension) -> None:
    """REGISTERs around the very end of the wake: each call has one final answer, a phone has an
    INVITE if and only if its call was answered, and nothing stays behind (race 7).
    """
    extensions = [await extension(wake={"deadline_s": DEADLINE_S}) for _ in range(7)]
    offsets_ms = (-50, -5, -1, 0, 1, 5, 50)
    await asyncio.gather(
        *(_at_the_deadline(*pair) for pair in zip(extensions, offsets_ms, strict=True))
    )
    await extensions[0].service.nothing_waits()


async def _at_the_deadline(ext: Extension, offset_ms: int) -> None:
    call = ext.call()
    begin = time.monotonic()
    await ext.pushed()
    phone = ext.phone()

    def rung() -> list[Message]:
        return phone.agent.received(method="INVITE")

    def finals() -> list[Message]:
        return [m for m in ext.pbx.agent.history if call.is_final(m)]

    moment = begin + DEADLINE_S + offset_ms / 1000
    await poll_until(lambda: time.monotonic() >= moment - 0.02, within_s=DEADLINE_S + 1)
    await asyncio.sleep(max(moment - time.monotonic(), 0))
    assert (await phone.register()).status == 200
    await poll_until(lambda: rung() or finals(), within_s=5)
    if rung():
        incoming = await phone.incoming()
        incoming.accept()
        await call.answered()
        await incoming.expect_ack()
    else:
        assert (await call.final()).status == 480
    assert len(finals()) == 1, finals()
    assert len(rung()) <= 1
