"""Calls whose phone loses its connection: what the tests of restarts and of networks share."""

from __future__ import annotations

from tests.lab import sdp
from tests.lab.phone import Caller, Phone
from tests.lab.sip_dialog import Dialog

from .conftest import Extension
from .methods import answer_to, cross, hold_and_resume

ELSEWHERE = "127.0.0.9"
"""Another network of the phone's."""


async def talk(ext: Extension, caller: Caller, phone: Phone) -> tuple[Dialog, Dialog]:
    """A call to a phone that is woken for it: the caller's side and the phone's."""
    ext.wake_on_push(phone.register)
    call = caller.call(ext.aor)
    incoming = await phone.incoming()
    incoming.accept()
    far = await call.answered()
    await incoming.expect_ack()
    return far, incoming.dialog()


async def hold_from_both_sides(far: Dialog, near: Dialog) -> None:
    for one, other in ((far, near), (near, far)):
        for offer in hold_and_resume():
            await cross(one, other, "INVITE", body=offer, answer=sdp.ANSWER)


async def reinvite_reaches_it_after_register(far: Dialog, near: Dialog, phone: Phone) -> None:
    """A re-INVITE that is sent while the phone has no connection waits for its REGISTER."""
    sent = far.send("INVITE", body=sdp.HOLD)
    await answer_to(far, sent, 100)
    await phone.agent.expect_nothing(within=0.5, method="INVITE")
    assert (await phone.register()).status == 200
    invite = await near.expect("INVITE")
    assert invite.body == sdp.HOLD
    contact = ("Contact", f"<{phone.contact}>")
    phone.agent.respond(invite, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=sdp.ANSWER)
    far.ack(await answer_to(far, sent, 200))
    await near.expect("ACK")
