"""MESSAGE from the PBX to an account that sleeps: held until a device comes, or gives it up."""

from __future__ import annotations

import pytest

from tests.lab.push_sink import Reply
from tests.lab.sip_message import Header

from .conftest import MakeExtension
from .messages import WORDS, register, send, taken

QUICK = {"deadline_s": 5, "repush_after_s": None}
TWO = ("handset", "tablet")


async def test_a_message_wakes_the_phone(extension: MakeExtension) -> None:
    """A `message` push that says who but not what; the phone that registers gets the very bytes
    of the MESSAGE, and the PBX the phone's own answer. Retransmissions lead to nothing more.
    """
    ext = await extension()
    sent = await send(ext)
    (push,) = await ext.pushed(kind="message")
    assert (push.payload["caller_number"], push.payload["caller_name"]) == ("200", "Ann")
    assert "call_id" not in push.payload
    assert WORDS not in push.body
    sent.again()
    phone = ext.phone()
    await register(phone)
    got = await taken(phone)
    assert got.body == WORDS
    assert (got.uri, got.header("Content-Type")) == (phone.contact, "text/plain;charset=utf-8")
    assert (got.call_id, got.from_tag) == (sent.message.call_id, sent.message.from_tag)
    assert got.all("P-Called-Party-ID") == [f"<{ext.aor}>"]
    assert got.all("Record-Route") == []
    sent.again()
    answer: tuple[Header, ...] = (("X-Lab", "from the phone"),)
    phone.agent.respond(got, 200, "OK", headers=answer, to_tag="phone")
    final = await sent.final()
    assert (final.status, final.get("X-Lab"), final.to_tag) == (200, "from the phone", "phone")
    sent.again()
    await phone.agent.expect_nothing(within=0.4, method="MESSAGE")
    assert set(sent.answers) == {200}
    assert len(ext.pushes()) == 1


async def test_nobody_comes(extension: MakeExtension) -> None:
    """480 at the account's wake deadline, with a 100 on the way there and not before; whoever
    registers later gets nothing.
    """
    ext = await extension(wake=QUICK)
    sent = await send(ext)
    await ext.pushed(kind="message")
    trying = await ext.pbx.agent.expect(within=4.5, call_id=sent.message.call_id)
    assert trying.status == 100
    final = await sent.final()
    assert (final.status, final.get("X-Push-Reason")) == (480, "not_woken")
    assert 4.8 < final.arrived_s - trying.arrived_s + 3.5 < 7
    phone = ext.phone()
    await register(phone)
    await phone.agent.expect_nothing(within=0.4, method="MESSAGE")


async def test_an_awake_phone_is_not_pushed(extension: MakeExtension) -> None:
    """To the one that was heard last, at once; its refusal is the PBX's answer."""
    ext = await extension(*TWO)
    handset, tablet = ext.phone("handset"), ext.phone("tablet")
    await register(handset)
    await register(tablet)
    sent = await send(ext)
    tablet.agent.respond(await taken(tablet), 415, "Unsupported Media Type", to_tag="x")
    final = await sent.final()
    assert (final.status, final.reason) == (415, "Unsupported Media Type")
    await handset.agent.expect_nothing(within=0.3, method="MESSAGE")
    assert ext.pushes() == []


async def test_the_first_of_several_gets_it(extension: MakeExtension) -> None:
    """All are pushed; the first that registers has it, the second gets nothing."""
    ext = await extension(*TWO)
    sent = await send(ext)
    await ext.pushed(2, kind="message")
    tablet, handset = ext.phone("tablet"), ext.phone("handset")
    await register(tablet)
    got = await taken(tablet)
    await register(handset)
    tablet.agent.respond(got, 202, "Accepted", to_tag="x")
    assert (await sent.final()).status == 202
    await handset.agent.expect_nothing(within=0.4, method="MESSAGE")


async def test_a_phone_that_does_not_answer(extension: MakeExtension) -> None:
    """It was heard a moment ago and is gone: all are pushed after two seconds, and it gets the
    MESSAGE where it registers then.
    """
    ext = await extension()
    phone = ext.phone()
    await register(phone)
    phone.sleep()
    sent = await send(ext)
    await ext.pushed(kind="message", within=4)
    await register(phone)
    phone.agent.respond(await taken(phone), 200, "OK", to_tag="x")
    assert (await sent.final()).status == 200


async def test_nobody_to_wake(extension: MakeExtension) -> None:
    """No device that could be woken, or a push that is refused: 480 at once."""
    ext = await extension(register="always")
    await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}/devices/handset")
    final = await (await send(ext)).final(within=2)
    assert (final.status, final.get("X-Push-Reason")) == (480, "no_device")
    await ext.put_device("other")
    ext.sink.reply = Reply(status=410)
    final = await (await send(ext)).final(within=2)
    assert (final.status, final.get("X-Push-Reason")) == (480, "not_woken")


async def test_too_many_of_one_account(extension: MakeExtension) -> None:
    """Those beyond the limit are refused at once with Retry-After; the others wait on."""
    ext = await extension(wake=QUICK)
    messages = [await send(ext) for _ in range(33)]
    final = await messages[-1].final(within=2)
    assert (final.status, final.get("Retry-After")) == (480, "30")
    assert [each.answers for each in messages[:-1]] == [[]] * 32
    phone = ext.phone()
    phone.agent.handlers.append(
        lambda m: m.method == "MESSAGE" and bool(phone.agent.respond(m, 200, "OK", to_tag="x"))
    )
    await register(phone)
    assert [(await each.final()).status for each in messages[:-1]] == [200] * 32


async def test_a_sender_who_wants_privacy(extension: MakeExtension) -> None:
    """`Privacy: id`: the push names nobody, the phone gets no P-Asserted-Identity."""
    ext = await extension()
    asserted = (("Privacy", "id"), ("P-Asserted-Identity", "<sip:0301234@pbx.test>"))
    sent = await send(ext, headers=asserted)
    (push,) = await ext.pushed(kind="message")
    assert (push.payload["caller_number"], push.payload["caller_name"]) == ("", "")
    phone = ext.phone()
    await register(phone)
    got = await taken(phone)
    assert got.all("P-Asserted-Identity") == []
    phone.agent.respond(got, 200, "OK", to_tag="x")
    await sent.final()


async def test_it_expires_with_its_sender_s_wish(extension: MakeExtension) -> None:
    """The MESSAGE's own Expires ends the waiting (RFC 3428 §8)."""
    ext = await extension()
    sent = await send(ext, headers=(("Expires", "1"),))
    assert (await sent.final(within=3)).status == 480


@pytest.mark.parametrize("method", ["SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "INFO", "FROB"])
async def test_other_requests_wake_nobody(extension: MakeExtension, method: str) -> None:
    """Outside a dialog, to a sleeping phone: 480 at once, and no push."""
    ext = await extension()
    sent = await send(ext, method=method, headers=(("Event", "presence"),))
    final = await sent.final(within=2)
    assert final.status == 480
    assert ext.pushes() == []


async def test_a_call_meanwhile(extension: MakeExtension) -> None:
    """A call and a message for the same sleeping phone: each its push, each at its REGISTER."""
    ext = await extension()
    sent = await send(ext)
    call = ext.call()
    await ext.pushed(kind="message")
    await ext.pushed(kind="call")
    phone = ext.phone()
    incoming = await ext.rung(phone)
    phone.agent.respond(await taken(phone), 200, "OK", to_tag="x")
    assert (await sent.final()).status == 200
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
