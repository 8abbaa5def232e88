"""A re-INVITE, and an INVITE that replaces a call, push nobody: not even to phones that sleep."""

from __future__ import annotations

import pytest

from tests.lab import sdp
from tests.lab.phone import Phone
from tests.lab.sip_call import IncomingCall
from tests.lab.sip_dialog import Dialog

from .conftest import Extension, MakeExtension


async def talking(ext: Extension, device: str | None = None) -> tuple[Dialog, IncomingCall, Phone]:
    """A woken call that has been answered: the PBX's half, the phone's, and the phone."""
    call = ext.call()
    await ext.pushed()
    phone = ext.phone(device)
    incoming = await ext.rung(phone)
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    return dialog, incoming, phone


async def pushed_for_the_call(ext: Extension) -> list[tuple[str, str]]:
    """What was pushed once the PBX's request has had time to lead to a push."""
    await ext.pbx.agent.expect_nothing(within=1.2, method="nothing")
    return sorted({(push.type, push.payload["device"]) for push in ext.pushes()})


async def test_reinvite_to_a_phone_that_has_gone(extension: MakeExtension) -> None:
    """It lost its socket in the call: the re-INVITE is repeated toward it, and nothing pushed."""
    ext = await extension()
    dialog, _, phone = await talking(ext)
    phone.sleep()
    dialog.send("INVITE", body=sdp.HOLD)
    assert await pushed_for_the_call(ext) == [("call", "handset")]
    assert len(ext.pushes()) == 1


@pytest.mark.parametrize("named", ["its own call", "a call that nobody knows"])
async def test_replaces_while_phones_sleep(extension: MakeExtension, named: str) -> None:
    """The phone in the call has lost its socket, the other one never came: neither is pushed for
    the INVITE with Replaces, whatever call it names.
    """
    ext = await extension("handset", "tablet")
    dialog, incoming, phone = await talking(ext, "handset")
    phone.sleep()
    called = dialog.call_id if named == "its own call" else "nobody@nowhere"
    tags = f"to-tag={incoming.tag};from-tag={incoming.invite.from_tag}"
    call = ext.call(headers=(("Replaces", f"{called};{tags}"), ("Require", "replaces")))
    await pushed_for_the_call(ext)
    pushes = ext.pushes()
    # The first call's push to the tablet may be later than the handset's answer.
    called_by = [push.payload for push in pushes if push.type == "call"]
    times = {(payload["device"], payload["push_id"]) for payload in called_by}
    assert len(times) == len({device for device, _ in times}), "pushed again"
    assert {push.call_id for push in pushes} == {pushes[0].call_id}, "about the first call alone"
    call.send_cancel()


async def test_replaces_with_nobody_registered(extension: MakeExtension) -> None:
    """No dialog of ours to replace: 481 at once (RFC 3891 §3), and all sleep on."""
    ext = await extension("handset", "tablet")
    call = ext.call(headers=(("Replaces", "x@y;to-tag=1;from-tag=2"),))
    assert (await call.final()).status == 481
    assert ext.pushes() == []
