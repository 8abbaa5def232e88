"""Calls through Kamailio to phones that sleep: real PBX, real phones, the service in between."""

import asyncio

import pytest

from tests.lab import sdp
from tests.lab.fixtures import MakeBaresip
from tests.lab.phone import Phone
from tests.lab.push_sink import Reply
from tests.lab.sipp import Sipp

from .conftest import REALM, TOPOLOGIES, MakeExtension


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_sleeping_baresip(
    extension: MakeExtension, make_baresip: MakeBaresip, topology: str
) -> None:
    """A call to a sleeping baresip is held, pushed, relayed when it registers, answered, and hung
    up by the caller; the PBX gets one 200.
    """
    ext = await extension(topology)
    phone = ext.baresip(make_baresip)
    ext.wake_on_push(phone.start)
    async with ext.caller() as caller:
        call = caller.call(ext.aor)
        dialog = await call.answered(within=10)
        await phone.established()
        assert (await dialog.bye()).status == 200
        await phone.ended()
        assert ext.answers(dialog.call_id) == 1
    record = await ext.record()
    assert (record["verdict"], record["ended_by"]) == ("answered", "caller")
    # A phone that starts slowly is pushed again: for the same call.
    assert {(push.type, push.call_id) for push in ext.sink.pushes} == {("call", record["id"])}


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_baresip_hangs_up(
    extension: MakeExtension, make_baresip: MakeBaresip, topology: str
) -> None:
    """The woken baresip hangs up: the caller gets its BYE through the PBX."""
    ext = await extension(topology)
    phone = ext.baresip(make_baresip, auto_answer=False)
    ext.wake_on_push(phone.start)
    async with ext.caller() as caller:
        call = caller.call(ext.aor)
        await phone.ringing(within=10)
        await phone.answer()
        dialog = await call.answered()
        await phone.established()
        await phone.hang_up()
        await dialog.expect_bye()
    assert (await ext.record())["ended_by"] == "device"


async def test_sound_both_ways(extension: MakeExtension, make_baresip: MakeBaresip) -> None:
    """Two baresips talk, one of them woken: RTP flows directly between them, both ways."""
    ext = await extension()
    callee = ext.baresip(make_baresip)
    ext.wake_on_push(callee.start)
    caller = make_baresip("9001", domain=ext.pbx.domain, proxy=ext.pbx.address, password="pw-9001")
    await caller.start()
    await caller.registered()
    await caller.dial(ext.aor)
    await caller.established(within=10)
    await callee.established()
    await asyncio.sleep(0.5)  # of sound
    await caller.hang_up()
    await callee.ended()
    for phone in (caller, callee):
        sent, received = await phone.rtp_packets()
        assert sent > 10
        assert received > 10


async def test_baresip_rejects(extension: MakeExtension, make_baresip: MakeBaresip) -> None:
    """The person declines on the phone: the caller gets the phone's own answer."""
    ext = await extension()
    phone = ext.baresip(make_baresip, auto_answer=False)
    ext.wake_on_push(phone.start)
    async with ext.caller() as caller:
        call = caller.call(ext.aor)
        await phone.ringing(within=10)
        await phone.hang_up()
        assert (await call.final()).status == 486
    assert (await ext.record())["verdict"] == "busy"


async def test_caller_gives_up_while_baresip_rings(
    extension: MakeExtension, make_baresip: MakeBaresip
) -> None:
    """CANCEL through the PBX stops the ringing baresip."""
    ext = await extension()
    phone = ext.baresip(make_baresip, auto_answer=False)
    ext.wake_on_push(phone.start)
    async with ext.caller() as caller:
        call = caller.call(ext.aor)
        await phone.ringing(within=10)
        assert (await call.cancel())[1].status == 487
        await phone.ended()
    assert (await ext.record())["verdict"] == "caller_cancelled"


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize(
    ("caller", "callee"),
    [
        ("uac-call", "uas-answer"),
        ("uac-repeat-invite", "uas-answer"),
        ("uac-call-callee-hangs-up", "uas-answer-and-hang-up"),
        ("uac-hold", "uas-take-hold"),
        ("uac-expect-486", "uas-reject-486"),
    ],
)
async def test_sipp(
    extension: MakeExtension, sipp: Sipp, caller: str, callee: str, topology: str
) -> None:
    """SIPp calls a SIPp phone that starts with its push; each scenario ends as it should, and
    the phone gets no INVITE twice.
    """
    ext = await extension(topology)

    async def wake() -> None:
        phones.append(
            sipp.phone(
                callee,
                registrar=ext.service.sip_address,
                user=ext.user,
                domain=REALM,
                password=ext.password,
                hold_ms=100,
            )
        )

    phones: list = []
    ext.wake_on_push(wake)
    run = _sipp_caller(sipp, ext, caller)
    await run.finish(within=15)
    (phone,) = phones
    assert len(phone.received("INVITE")) == (2 if caller == "uac-hold" else 1)
    record = await ext.record()
    assert record["verdict"] == ("busy" if callee == "uas-reject-486" else "answered")


async def test_sipp_cancels(extension: MakeExtension, sipp: Sipp) -> None:
    """A SIPp caller gives up while the phone sleeps: 200 and 487, and the record says so."""
    ext = await extension()
    await _sipp_caller(sipp, ext, "uac-cancel").finish(within=10)
    record = await ext.record()
    assert (record["verdict"], record["phase"]) == ("caller_cancelled", "waking")


async def test_sipp_gets_480(extension: MakeExtension, sipp: Sipp) -> None:
    """A dead push token: a SIPp caller gets 480 through the PBX at once."""
    ext = await extension()
    ext.sink.reply = Reply(status=410)
    await _sipp_caller(sipp, ext, "uac-expect-480").finish(within=5)
    assert (await ext.record())["verdict"] == "push_rejected"


async def test_sdp_through_the_pbx(extension: MakeExtension) -> None:
    """Offer and answer are the same bytes at both ends, with a real PBX in between."""
    ext = await extension()
    phone = ext.phone()
    ext.wake_on_push(phone.register)
    async with ext.caller() as caller, phone:
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        assert incoming.invite.body == sdp.OFFER
        assert incoming.invite.header("From") == call.invite.header("From")
        assert incoming.invite.all("P-Called-Party-ID") == [f"<{ext.aor}>"]
        assert incoming.invite.all("X-Push-ID") == [ext.sink.pushes[0].call_id]
        incoming.accept()
        response = await call.final(ack=False)
        assert response.body == sdp.ANSWER
        dialog = call.dialog(response)
        dialog.ack(response)
        await incoming.expect_ack()
        callee = incoming.dialog()
        sent = dialog.send("INVITE", body=sdp.HOLD)
        await _answer_reinvite(callee)
        again = await caller.agent.expect(
            within=5, where=lambda m: m.branch == sent.branch and m.status == 200
        )
        dialog.ack(again)
        await callee.expect("ACK")
        dialog.send("BYE")
        await callee.expect_bye()
    assert ext.answers(call.invite.call_id, 200) == 2


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_app_calls_out(extension: MakeExtension, topology: str) -> None:
    """An app's own call goes through us to the PBX, whose 407 it answers itself (in trunk: ours);
    the far end rings, answers, and the record says outgoing.
    """
    ext = await extension(topology)
    target = "desk" if topology == "trunk" else "9002"  # trunk sends numbers back to us
    desk = Phone(f"sip:{target}@{REALM}", proxy=ext.pbx.address, password=f"pw-{target}")
    async with ext.phone() as phone, desk:
        assert (await desk.register()).status == 200
        assert (await phone.register()).status == 200
        call = phone.call(desk.aor)
        incoming = await desk.incoming()
        assert incoming.invite.body == sdp.OFFER
        incoming.ring()
        await call.expect(180)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    record = await ext.record()
    assert (record["direction"], record["verdict"], record["callee"]) == (
        "outgoing",
        "answered",
        target,
    )


async def test_baresip_calls_out(extension: MakeExtension, make_baresip: MakeBaresip) -> None:
    """A baresip behind us calls another extension of the PBX."""
    ext = await extension()
    phone = ext.baresip(make_baresip)
    await phone.start()
    await phone.registered()
    desk = Phone(f"sip:9003@{REALM}", proxy=ext.pbx.address, password="pw-9003")
    async with desk:
        await desk.register()
        await phone.dial(desk.aor)
        incoming = await desk.incoming()
        dialog = await incoming.answer()
        await phone.established()
        dialog.send("BYE")
        await phone.ended()
    assert (await ext.record())["direction"] == "outgoing"


async def test_one_extension_calls_another(extension: MakeExtension) -> None:
    """Both ends sleep behind us: the woken caller's call goes by way of the PBX to the callee."""
    first, second = await extension(), await extension()
    callee = second.phone()
    second.wake_on_push(callee.register)
    async with first.phone() as caller, callee:
        await caller.register()
        call = caller.call(second.aor)
        incoming = await callee.incoming()
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        incoming.dialog().send("BYE")
        await dialog.expect_bye()
    assert (await first.record())["direction"] == "outgoing"
    assert (await second.record())["direction"] == "incoming"


async def _answer_reinvite(callee) -> None:  # noqa: ANN001
    invite = await callee.expect("INVITE")
    assert invite.body == sdp.HOLD
    contact = ("Contact", f"<sip:lab@{callee.agent.hostport}>")
    callee.agent.respond(invite, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=sdp.ANSWER)


def _sipp_caller(sipp: Sipp, ext, scenario: str):  # noqa: ANN001, ANN202
    return sipp.caller(
        scenario,
        proxy=ext.pbx.address,
        caller="9000",
        callee=ext.user,
        domain=REALM,
        password=ext.pbx.password("9000"),
        hold_ms=100,
    )
