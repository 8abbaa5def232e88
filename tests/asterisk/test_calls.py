"""Calls through Asterisk to a sleeping phone, on plain sockets at both ends."""

import asyncio
from collections.abc import Callable

import pytest

from tests.lab import sdp
from tests.lab.asterisk import Asterisk, Packet
from tests.lab.fixtures import MakeBaresip
from tests.lab.sip_call import IncomingCall

from .conftest import MakeCaller, MakeDesk, MakeSleeper
from .stage import REALM, TRANSPORTS, Stage, sent

pytestmark = pytest.mark.asterisk
TOPOLOGIES = [("plain", "plain"), ("trunk", "at-trunk")]
every_transport = pytest.mark.parametrize("by", TRANSPORTS)


def invites(pbx: Asterisk, call_id: str) -> int:
    """How often Asterisk sent us the INVITE of this call."""
    return sum(map(sent("INVITE", call_id), pbx.packets()))


def finals(pbx: Asterisk, call_id: str) -> list[int]:
    """The final responses to INVITE that Asterisk received in this call."""
    return [
        packet.message.status
        for packet in pbx.packets()
        if not packet.sent and not packet.message.is_request
        and packet.message.call_id == call_id
        and packet.message.cseq_method == "INVITE" and packet.message.status >= 200
    ]  # fmt: skip


def _early(incoming: IncomingCall) -> Callable[[Packet], bool]:
    """Whether Asterisk received this phone's 183."""
    return lambda packet: (
        not packet.sent
        and packet.message.status == 183
        and packet.message.call_id == incoming.invite.call_id
        and packet.message.to_tag == incoming.tag
    )


@pytest.mark.parametrize(("kind", "who"), TOPOLOGIES)
async def test_woken_and_answered(
    sleeper: MakeSleeper, callers: MakeCaller, kind: str, who: str
) -> None:
    """Held, pushed, relayed, answered: Asterisk sends its INVITE once though the phone sleeps for
    2 s, the phone gets that very INVITE, the caller rings, talks, hangs up.
    """
    ext = await sleeper(kind)
    caller = await callers(who)
    async with ext.phone() as phone:
        call = caller.call(ext.aor)
        await call.expect(180)
        await ext.sink.wait(1, kind="call")
        await asyncio.sleep(2)  # T1 is 0.5 s: three retransmissions without our 100
        await phone.register()
        incoming = await phone.incoming()
        to_us = await ext.pbx.wait_packet(sent("INVITE", incoming.invite.call_id))
        assert incoming.invite.body == to_us.message.body
        assert incoming.invite.header("From") == to_us.message.header("From")
        assert incoming.invite.header("Session-Expires") == "1800"
        assert "100rel" in incoming.invite.header("Supported")
        incoming.ring()
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        assert invites(ext.pbx, incoming.invite.call_id) == 1
        sent_bye = dialog.send("BYE")
        bye = await incoming.dialog().expect_bye()
        assert bye.header("Reason") == "Q.850;cause=16"
        await caller.agent.expect(within=5, where=lambda m: m.branch == sent_bye.branch)
    assert finals(ext.pbx, incoming.invite.call_id) == [200]
    assert (await ext.record())["verdict"] == "answered"


@pytest.mark.parametrize(("kind", "who"), TOPOLOGIES)
async def test_phone_hangs_up(
    sleeper: MakeSleeper, callers: MakeCaller, kind: str, who: str
) -> None:
    """The woken phone ends the call: BYE through us, Asterisk and to the caller."""
    ext = await sleeper(kind)
    caller = await callers(who)
    async with ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        phones_bye = incoming.dialog().send("BYE")
        await dialog.expect_bye()
        response = await phone.agent.expect(within=5, method="BYE", status=200)
        assert response.branch == phones_bye.branch


@every_transport
async def test_caller_hangs_up_while_waking(
    sleeper: MakeSleeper, callers: MakeCaller, by: str
) -> None:
    """Asterisk's CANCEL for a caller who hung up ends the wake: 487 at once, and the record says
    that the caller gave up while the phone was being woken.
    """
    ext = await sleeper(by=by)
    caller = await callers()
    call = caller.call(ext.aor)
    await call.expect(180)
    _, final = await call.cancel()
    assert final.status == 487
    cancel = await ext.pbx.wait_packet(
        lambda packet: sent("CANCEL")(packet) and f"sip:{ext.user}@" in packet.message.uri
    )
    assert "cause=127" in cancel.message.header("Reason")
    record = await ext.record()
    assert (record["verdict"], record["phase"]) == ("caller_cancelled", "waking")
    assert record["ended_by"] == "caller"


@every_transport
async def test_caller_hangs_up_while_ringing(
    sleeper: MakeSleeper, callers: MakeCaller, by: str
) -> None:
    """The same while the woken phone rings: it gets the CANCEL."""
    ext = await sleeper(by=by)
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.ring()
        await call.expect(180)
        await ext.service.call_record(account=ext.account, state="ringing")
        call.send_cancel()
        await incoming.expect_cancel()
        assert (await call.final()).status == 487
    record = await ext.record()
    assert (record["verdict"], record["phase"]) == ("caller_cancelled", "ringing")


async def test_dial_timeout(sleeper: MakeSleeper, callers: MakeCaller) -> None:
    """Dial() gives up after its time with `Q.850;cause=0`: a phone that rang did not answer, which
    is told from a caller who hung up.
    """
    ext = await sleeper()
    caller = await callers()
    async with ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(f"sip:8{ext.user}@{REALM}")
        incoming = await phone.incoming()
        incoming.ring()
        cancel = await incoming.expect_cancel()
        assert "cause=0" in cancel.get("Reason", "") or "cause=19" in cancel.get("Reason", "")
        assert (await call.final()).status == 603  # Asterisk's word for a Dial() that timed out
    record = await ext.record()
    assert (record["verdict"], record["ended_by"]) == ("no_answer", "pbx")


async def test_dial_timeout_while_waking(sleeper: MakeSleeper, callers: MakeCaller) -> None:
    """Dial() gives up before the phone has woken: the PBX ended it, not the caller."""
    ext = await sleeper()
    caller = await callers()
    call = caller.call(f"sip:8{ext.user}@{REALM}")
    assert (await call.final()).status == 603
    record = await ext.record()
    assert (record["phase"], record["ended_by"]) == ("waking", "pbx")


@every_transport
async def test_answered_elsewhere(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, by: str
) -> None:
    """Dial of all contacts rings the desk phone and wakes ours, each with a Call-ID of its own;
    the desk phone answers: ours is told by CANCEL with SIP;cause=200.
    """
    ext = await sleeper(by=by)
    desk = await desks(user=ext.user)
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(f"sip:7{ext.user}@{REALM}")
        at_desk = await desk.incoming()
        incoming = await phone.incoming()
        assert at_desk.invite.call_id != incoming.invite.call_id
        incoming.ring()
        await ext.service.call_record(account=ext.account, state="ringing")
        at_desk.accept()
        dialog = await call.answered()
        await at_desk.expect_ack()
        cancel = await incoming.expect_cancel()
        assert cancel.header("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
        dialog.send("BYE")
        await at_desk.dialog().expect_bye()
    assert (await ext.record())["verdict"] == "answered_elsewhere"


async def test_ours_answers_first(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller
) -> None:
    """Dial of all contacts, and the woken phone is the one that answers: the desk phone stops."""
    ext = await sleeper()
    desk = await desks(user=ext.user)
    caller = await callers()
    async with ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(f"sip:7{ext.user}@{REALM}")
        at_desk = await desk.incoming()
        at_desk.ring()
        incoming = await phone.incoming()
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        await at_desk.expect_cancel()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    assert (await ext.record())["verdict"] == "answered"


@pytest.mark.parametrize(
    ("status", "reason", "at_caller", "verdict"),
    [
        (486, "Busy Here", 486, "busy"),
        (480, "Temporarily Unavailable", 480, "no_answer"),
        (603, "Decline", 403, "declined"),
        (404, "Not Found", 404, "device_error"),
        (488, "Not Acceptable Here", 488, "device_error"),
        (500, "Server Internal Error", 500, "device_error"),
        (503, "Service Unavailable", 500, "device_error"),
    ],
)
async def test_refusals(
    sleeper: MakeSleeper,
    callers: MakeCaller,
    status: int,
    reason: str,
    at_caller: int,
    verdict: str,
) -> None:
    """The phone rings and refuses: what the caller gets from Asterisk. 603 becomes 403
    there; 503 we do not pass on (RFC 3261 §16.7): to the PBX it would say that we are down.
    """
    ext = await sleeper()
    caller = await callers()
    async with ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.ring()
        await ext.service.call_record(account=ext.account, state="ringing")
        incoming.reject(status, reason)
        await incoming.expect_ack()
        assert (await call.final()).status == at_caller
    assert (await ext.record())["verdict"] == verdict


async def test_redirect_within_the_dial_plan(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller
) -> None:
    """The phone answers 302 to another extension: Asterisk follows, that one rings and answers."""
    ext = await sleeper()
    desk = await desks()
    caller = await callers()
    async with ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.reject(302, "Moved Temporarily", headers=(("Contact", f"<{desk.aor}>"),))
        await incoming.expect_ack()
        at_desk = await desk.incoming()
        at_desk.accept()
        dialog = await call.answered()
        await at_desk.expect_ack()
        dialog.send("BYE")
        await at_desk.dialog().expect_bye()
    assert (await ext.record())["verdict"] == "forwarded"


async def test_redirect_to_nowhere(sleeper: MakeSleeper, callers: MakeCaller) -> None:
    """302 to what the dial plan does not know: the call ends there, and was forwarded."""
    ext = await sleeper()
    caller = await callers()
    async with ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.reject(302, "Moved", headers=(("Contact", f"<sip:nobody@{REALM}>"),))
        await incoming.expect_ack()
        assert (await call.final()).status in (404, 603)  # Asterisk's own race
    assert (await ext.record())["verdict"] == "forwarded"


@every_transport
async def test_early_media_of_two_devices(
    sleeper: MakeSleeper, stage: Stage, callers: MakeCaller, by: str
) -> None:
    """Two devices of the account ring with early media: Asterisk gets 183 with two tags and the
    caller hears it; one answers, and its tag alone is acknowledged.
    """
    ext = await sleeper(by=by)
    await stage.service.put_device(ext.account, "tablet")
    caller = await callers()
    first = ext.phone(by, device="one")
    second = ext.phone(by, device="two")
    async with first, second:
        await first.register()
        await second.register()
        call = caller.call(ext.aor)
        at_first, at_second = await first.incoming(), await second.incoming()
        for incoming in (at_first, at_second):
            incoming.ring(183, "Session Progress", headers=(sdp.CONTENT_TYPE,), body=sdp.ANSWER)
        await call.expect(183)
        for incoming in (at_first, at_second):
            await ext.pbx.wait_packet(_early(incoming))
        at_second.accept()
        dialog = await call.answered()
        await at_second.expect_ack()
        await at_first.expect_cancel()
        dialog.send("BYE")
        await at_second.dialog().expect_bye()


@every_transport
async def test_two_devices_answer_at_once(
    sleeper: MakeSleeper, stage: Stage, callers: MakeCaller, by: str
) -> None:
    """Asterisk takes a second 2xx for a retransmission and never ends it: exactly one reaches it,
    and the other device is acknowledged and hung up by us.
    """
    ext = await sleeper(by=by)
    caller = await callers()
    first = ext.phone(by, device="one")
    second = ext.phone(by, device="two")
    async with first, second:
        await first.register()
        await second.register()
        call = caller.call(ext.aor)
        at_first, at_second = await first.incoming(), await second.incoming()
        at_first.accept()
        at_second.accept()
        dialog = await call.answered()
        await at_first.expect_ack()
        await at_second.expect_ack()
        (answer,) = [
            packet.message
            for packet in ext.pbx.packets()
            if packet.message.status == 200
            and packet.message.call_id == at_first.invite.call_id
            and packet.message.cseq_method == "INVITE"
        ]
        winner, loser = (
            (at_first, at_second) if answer.to_tag == at_first.tag else (at_second, at_first)
        )
        await loser.dialog().expect_bye()
        dialog.send("BYE")
        await winner.dialog().expect_bye()
    assert finals(ext.pbx, at_first.invite.call_id) == [200]


@every_transport
async def test_required_100rel(sleeper: MakeSleeper, callers: MakeCaller, by: str) -> None:
    """An endpoint with 100rel=required: the woken phone's reliable 183 gets Asterisk's PRACK,
    whose 200 goes back; then the call is answered.
    """
    ext = await sleeper("reliable", by=by)
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        assert "100rel" in incoming.invite.header("Require")
        reliable = (("Require", "100rel"), ("RSeq", "1"), sdp.CONTENT_TYPE)
        incoming.ring(183, "Session Progress", headers=reliable, body=sdp.ANSWER)
        prack = await incoming.dialog().expect("PRACK")
        assert prack.header("RAck") == f"1 {incoming.invite.cseq} INVITE"
        phone.agent.respond(prack, 200, "OK")
        await call.expect(183)
        incoming.accept(b"")
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()


@every_transport
async def test_session_timer(sleeper: MakeSleeper, callers: MakeCaller, by: str) -> None:
    """The phone agrees to Asterisk's session timer as refresher; its UPDATE in the call and its
    re-INVITE refresh the session with Asterisk's own Session-Expires.
    """
    ext = await sleeper(by=by)
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        assert incoming.invite.header("Session-Expires") == "1800"
        assert incoming.invite.header("Min-SE") == "90"
        timer = (
            ("Require", "timer"),
            ("Session-Expires", "1800;refresher=uas"),
            ("Supported", "timer"),
        )
        incoming.accept(headers=timer)
        dialog = await call.answered()
        await incoming.expect_ack()
        callee = incoming.dialog()
        refresh = (("Session-Expires", "1800;refresher=uac"), ("Supported", "timer"))
        for method, body in (("UPDATE", b""), ("INVITE", sdp.HOLD), ("INVITE", sdp.OFFER)):
            answer = await callee.request(method, body=body, headers=refresh)
            assert answer.status == 200, answer
            assert answer.header("Session-Expires").startswith("1800")
            if method == "INVITE":
                callee.ack(answer)
        dialog.send("BYE")
        await callee.expect_bye()


@every_transport
async def test_direct_media(sleeper: MakeSleeper, callers: MakeCaller, by: str) -> None:
    """With direct_media Asterisk re-INVITEs both ends to each other's media: through us to the
    woken phone, with its answer back.
    """
    ulaw = sdp.ANSWER.replace(b"8 101", b"0 101").replace(b"8 PCMA", b"0 PCMU")
    ext = await sleeper("direct", by=by)
    caller = await callers("direct")
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.accept(ulaw)
        dialog = await call.answered()
        await incoming.expect_ack()
        again = await incoming.dialog().expect_reinvite(ulaw)
        assert b"m=audio 40000 " in again.body  # the caller's own port, not Asterisk's
        moved = await dialog.expect_reinvite(sdp.OFFER)
        assert b"m=audio 40002 " in moved.body
        incoming.dialog().send("BYE")
        await dialog.expect_reinvite(sdp.OFFER)  # back to Asterisk, before it hangs up
        await dialog.expect_bye()


@every_transport
async def test_baresip(
    sleeper: MakeSleeper, make_baresip: MakeBaresip, callers: MakeCaller, by: str
) -> None:
    """A real phone that starts with its push answers a call through Asterisk; sound flows from
    Asterisk to it and back.
    """
    ext = await sleeper(by=by)
    phone = ext.baresip(make_baresip, transport=by)
    ext.wake_on_push(phone.start)
    caller = await callers()
    call = caller.call(ext.aor)
    dialog = await call.answered(within=10)
    await phone.established()
    dialog.send("BYE")
    await phone.ended()
    assert (await ext.record())["verdict"] == "answered"
