"""A phone changes its network under a call, or its connection dies without a word."""

from __future__ import annotations

import time

import pytest

from tests.lab import sdp
from tests.lab.sip_call import OutgoingCall
from tests.lab.sip_stream import closed

from .conftest import MakeExtension
from .flows import ELSEWHERE, hold_from_both_sides, reinvite_reaches_it_after_register, talk
from .methods import answer_to, hang_up

STREAMS = ["tcp", "tls"]


@pytest.mark.parametrize("loss", ["silent", "told"])
@pytest.mark.parametrize("transport", ["udp", *STREAMS])
async def test_network_change(extension: MakeExtension, transport: str, loss: str) -> None:
    """From Wi-Fi to LTE in mid-call: after the REGISTER from the new address the PBX's requests
    come there, whether the old connection has ended or just died.
    """
    ext = await extension(by="tls")
    async with ext.caller() as caller, ext.phone(transport) as phone:
        far, near = await talk(ext, caller, phone)
        if loss == "told" and transport != "udp":
            phone.drop_flow()
        await phone.move(ELSEWHERE)
        assert (await phone.register()).status == 200
        await hold_from_both_sides(far, near)
        assert {message.source for message in phone.agent.received()} == {phone.proxy}
        await hang_up(far, near)
    assert (await ext.record())["ended_by"] == "caller"


@pytest.mark.parametrize("transport", STREAMS)
async def test_request_waits_for_the_phone(extension: MakeExtension, transport: str) -> None:
    """A re-INVITE that comes while the phone has no connection reaches it once it has registered
    from elsewhere.
    """
    ext = await extension(by="tls")
    async with ext.caller() as caller, ext.phone(transport) as phone:
        far, near = await talk(ext, caller, phone)
        flow = phone.flow
        phone.drop_flow()
        assert await closed(flow)
        await phone.move(ELSEWHERE)
        await reinvite_reaches_it_after_register(far, near, phone)
        await hang_up(far, near)


async def test_request_into_a_dead_connection(extension: MakeExtension) -> None:
    """A re-INVITE that went into a connection that had died unseen reaches the phone on its new
    one.
    """
    ext = await extension(by="tls")
    async with ext.caller() as caller, ext.phone("tls") as phone:
        far, near = await talk(ext, caller, phone)
        await phone.move(ELSEWHERE)
        sent = far.send("INVITE", body=sdp.HOLD)
        await answer_to(far, sent, 100)
        assert (await phone.register()).status == 200
        invite = await near.expect("INVITE", within=15)
        contact = ("Contact", f"<{phone.contact}>")
        phone.agent.respond(invite, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=sdp.ANSWER)
        far.ack(await answer_to(far, sent, 200))
        await near.expect("ACK")
        await hang_up(far, near)


@pytest.mark.slow
async def test_phone_that_does_not_return(extension: MakeExtension) -> None:
    """A re-INVITE for a phone that has no connection gets 430 after ten seconds (RFC 5626 §5.3)."""
    ext = await extension(by="tls")
    async with ext.caller() as caller, ext.phone("tls") as phone:
        far, _ = await talk(ext, caller, phone)
        flow = phone.flow
        phone.drop_flow()
        assert await closed(flow)
        begin = time.monotonic()
        again = OutgoingCall(caller.agent, far.send("INVITE", body=sdp.HOLD), far.next_hop)
        assert (await again.final(within=15)).status == 430
        assert time.monotonic() - begin > 9


async def test_frozen_phone_is_pushed(extension: MakeExtension) -> None:
    """A registered phone whose connection is half-open answers nothing: it is pushed, comes back
    from elsewhere, and gets the same call there.
    """
    ext = await extension(by="tls")
    async with ext.caller() as caller, ext.phone("tls") as phone:
        await phone.register()
        phone.freeze()

        async def return_elsewhere() -> None:
            await phone.move(ELSEWHERE)
            await phone.register()

        ext.wake_on_push(return_elsewhere)
        call = caller.call(ext.aor)
        incoming = await phone.incoming(within=15)
        incoming.accept()
        far = await call.answered()
        await incoming.expect_ack()
        await hang_up(far, incoming.dialog())
        assert len(phone.agent.received(method="INVITE")) == 1


@pytest.mark.slow
async def test_half_open_connection_is_found(extension: MakeExtension) -> None:
    """Bytes that the phone's end does not take are noticed within ten seconds or so: the phone
    counts as asleep from then on, and a call for it begins with the push.
    """
    ext = await extension(by="tls")
    async with ext.caller() as caller, ext.phone("tcp") as phone:
        await phone.register()
        phone.close_window()
        await ext.service.eventually(
            lambda: ext.service.device_status(ext.account),
            lambda shown: shown["reachability"] == "asleep",
            within=20,
            what="end of the half-open connection",
        )
        call = caller.call(ext.aor)
        await ext.sink.next(kind="call")
        await call.cancel()
        assert "invite_sent" not in ext.service.events(await ext.record())
