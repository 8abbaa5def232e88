"""The main call over UDP, TCP and TLS: the PBX's side and the phone's, scripted and real phones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from push_proxy.demo.phone_process import PhoneProcess
from tests.lab import sdp
from tests.lab.baresip import Baresip
from tests.lab.fixtures import MakeBaresip, MakeLinphone, MakePjsua2
from tests.lab.linphone import Linphone
from tests.lab.phone import Phone
from tests.lab.pjsua2 import Pjsua2
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Message, parameter, uri_of
from tests.lab.sipp import Sipp

from .conftest import REALM, TRANSPORTS, Extension, MakeExtension
from .methods import cross, desk, hang_up, hold_and_resume

RealPhone = Baresip | Linphone | Pjsua2
KINDS = ["baresip", "linphone", "pjsua2"]
RTP_PACKETS = 15


@pytest.mark.parametrize("phone_leg", TRANSPORTS)
@pytest.mark.parametrize("pbx_leg", TRANSPORTS)
async def test_scripted_phone(extension: MakeExtension, pbx_leg: str, phone_leg: str) -> None:
    """A sleeping phone is pushed, registers on a connection of its own, and the PBX's INVITE comes
    on it; both sides hold and resume; in the first call the caller hangs up, in the next the phone.
    """
    ext = await extension(by=pbx_leg)
    async with ext.caller() as caller, ext.phone(phone_leg) as phone:
        ext.wake_on_push(phone.register)
        for who_ends in ("caller", "device"):
            call = caller.call(ext.aor)
            incoming = await phone.incoming()
            assert incoming.invite.body == sdp.OFFER
            says_how_it_goes_on(incoming.invite, pbx_leg, phone_leg)
            incoming.ring()
            await call.expect(180)
            incoming.accept()
            far = await call.answered()
            near = incoming.dialog()
            await incoming.expect_ack()
            assert ext.answers(call.invite.call_id) == 1
            for one, other in ((far, near), (near, far)):
                for offer in hold_and_resume():
                    await cross(one, other, "INVITE", body=offer, answer=sdp.ANSWER)
            await hang_up(*((far, near) if who_ends == "caller" else (near, far)))
            record = await ext.record(sip_call_id=call.invite.call_id)
            assert (record["verdict"], record["ended_by"]) == ("answered", who_ends)
        assert [push.type for push in ext.sink.pushes].count("call") == 1
        one_connection(phone)
    answer = await ext.pbx.wait_for(
        event="response", method="INVITE", status=200, callid=call.invite.call_id
    )
    assert answer.proto == pbx_leg


def says_how_it_goes_on(invite: Message, pbx_leg: str, phone_leg: str) -> None:
    """The Via and the Record-Routes of the service, the phone's side first (RFC 5658)."""
    assert invite.header("Via").startswith(f"SIP/2.0/{phone_leg.upper()} ")
    routes = [uri_of(route) for route in invite.listed("Record-Route")]
    ours = [phone_leg] if phone_leg == pbx_leg else [phone_leg, pbx_leg]
    assert len({uri.partition("@")[0] for uri in routes[: len(ours)]}) == 1
    for uri, transport in zip(routes, ours, strict=False):
        assert parameter(f"<>{uri[4:]}", "transport") == ("" if transport == "udp" else transport)


def one_connection(phone: Phone) -> None:
    """Nobody connected to the phone, and it had no reason to connect twice."""
    expected = [] if phone.agent.transport == "udp" else [False]
    assert [connection.incoming for connection in phone.agent.connections] == expected


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_real_phone(
    extension: MakeExtension,
    make_baresip: MakeBaresip,
    make_linphone: MakeLinphone,
    make_pjsua2: MakePjsua2,
    workdir: Path,
    kind: str,
    transport: str,
) -> None:
    """A real phone that sleeps is woken, answers, hears and is heard (RTP goes past the service;
    Linphone has no sound card), takes the caller's BYE, and hangs up the next call itself.
    """
    ext = await extension(by=transport)
    phone: RealPhone
    if kind == "baresip":
        phone = ext.baresip(make_baresip, transport=transport)
    elif kind == "linphone":
        phone = ext.linphone(make_linphone, transport=transport)
    else:
        phone = ext.pjsua2(make_pjsua2, transport=transport)
    ext.wake_on_push(phone.start)
    async with talking_caller(ext, workdir) as caller:
        await phone.established(within=10)
        heard = (await caller.event("bye"))["rtp"]["received_packets"]
    await phone.ended()
    if not isinstance(phone, Linphone):
        sent, received = await phone.rtp_packets()
        assert min(heard, sent, received) > RTP_PACKETS
    async with ext.caller() as scripted:
        call = scripted.call(ext.aor)
        dialog = await call.answered()
        await phone.established()
        await hold_and_resume_real(dialog)
        await phone.hang_up()
        await dialog.expect_bye()
    # A phone that starts slowly is pushed again: for the same call.
    assert len({push.call_id for push in ext.sink.pushes if push.type == "call"}) == 1
    record = await ext.record(sip_call_id=call.invite.call_id)
    assert record["ended_by"] == "device"


async def hold_and_resume_real(dialog: Dialog) -> None:
    """Two re-INVITEs that the real phone at the other end takes.

    The PBX's workers may turn an ACK and the next INVITE about; the phone then says so with 500.
    """
    for offer in hold_and_resume():
        for _ in range(5):
            if (status := (await dialog.reinvite(offer)).status) != 500:
                break
            await asyncio.sleep(0.05)
        assert status == 200


def talking_caller(ext: Extension, workdir: Path) -> PhoneProcess:
    """A caller at the PBX that sends a tone, and hangs up when it has been heard for a while."""
    return PhoneProcess(
        workdir,
        "caller",
        *("--aor", f"sip:9000@{REALM}", "--password", ext.pbx.password("9000")),
        *("--proxy", ext.pbx.uri(), "--no-register"),
        *("--call", ext.aor, "--hangup-after", "0.8"),
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_real_phone_calls_out(
    extension: MakeExtension,
    make_baresip: MakeBaresip,
    make_linphone: MakeLinphone,
    make_pjsua2: MakePjsua2,
    kind: str,
    transport: str,
) -> None:
    """A real phone calls another extension of the PBX, is put on hold and back, and hung up."""
    ext = await extension(by=transport)
    async with desk(ext) as far:
        await far.register()
        if kind == "pjsua2":
            phone = ext.pjsua2(make_pjsua2, transport=transport, dials=far.aor)
            await phone.start()
        else:
            phone = (
                ext.baresip(make_baresip, transport=transport)
                if kind == "baresip"
                else ext.linphone(make_linphone, transport=transport)
            )
            await phone.start()
            await phone.registered()
            await phone.dial(far.aor)
        incoming = await far.incoming()
        dialog = await incoming.answer()
        await phone.established()
        await hold_and_resume_real(dialog)
        assert (await dialog.bye()).status == 200
        await phone.ended()
    record = await ext.record()
    assert (record["direction"], record["verdict"]) == ("outgoing", "answered")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sipp_phone(extension: MakeExtension, sipp: Sipp, transport: str) -> None:
    """SIPp's phone registers, is called on its connection, answers and takes the BYE."""
    ext = await extension(by=transport)

    async def wake() -> None:
        run.append(
            sipp.phone(
                "uas-answer",
                registrar=ext.service.sip_address,
                user=ext.user,
                domain=REALM,
                password=ext.password,
                transport=transport,
            )
        )

    run = []
    ext.wake_on_push(wake)
    async with ext.caller() as caller:
        dialog = await caller.call(ext.aor).answered(within=10)
        await run[0].wait_received("ACK")
        assert (await dialog.bye()).status == 200
    assert (await ext.record())["verdict"] == "answered"
