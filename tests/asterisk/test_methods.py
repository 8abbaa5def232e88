"""Every method through Asterisk: mailboxes, subscriptions, messages, outgoing calls."""

import asyncio

import pytest

from tests.lab import sdp
from tests.lab.fixtures import MakeBaresip
from tests.lab.phone import Phone
from tests.lab.process import poll_until
from tests.lab.sip_message import Message

from .conftest import MakeCaller, MakeDesk, MakeSleeper
from .stage import REALM, TRANSPORTS, Stage, alone, sent
from .test_transfer import connect, hang_up

pytestmark = pytest.mark.asterisk
every_transport = pytest.mark.parametrize("by", TRANSPORTS)


async def test_mailbox_of_a_sleeping_phone(sleeper: MakeSleeper, stage: Stage) -> None:
    """A mailbox: Asterisk's NOTIFY outside any dialog, right after REGISTER and when a message is
    left, is answered 200 while the phone sleeps; the phone is told when it comes.
    """
    since = stage.hold.mark()
    ext = await sleeper("mailbox")

    def summaries(text: str) -> int:
        notifies = [
            packet.message for packet in stage.hold.packets(since=since)
            if sent("NOTIFY")(packet) and f"sip:{ext.user}@" in packet.message.uri
            and text in packet.message.body.decode()
        ]  # fmt: skip
        answered = {
            packet.message.call_id for packet in stage.hold.packets(since=since)
            if not packet.sent and packet.message.status == 200
            and packet.message.cseq_method == "NOTIFY"
        }  # fmt: skip
        return sum(notify.call_id in answered for notify in notifies)

    assert await poll_until(lambda: summaries("Messages-Waiting: no") >= 1, within_s=5)
    stage.hold.leave_message(ext.user)
    assert await poll_until(lambda: summaries("Messages-Waiting: yes") >= 1, within_s=5)
    async with ext.phone() as phone:
        await phone.register()
        notify = await phone.agent.expect(method="NOTIFY", within=5)
        assert b"Messages-Waiting: yes" in notify.body
        phone.agent.respond(notify, 200, "OK", to_tag="told")
    shown = await ext.service.expect("GET", f"/v1/accounts/{ext.account}")
    assert shown["status"]["voicemail"]["new"] == 1


async def notified(phone: Phone, text: str) -> Message:
    """The next NOTIFY in which `text` stands; all are answered."""
    while True:
        notify = await phone.agent.expect(method="NOTIFY", within=5)
        phone.agent.respond(notify, 200, "OK")
        if text in notify.body.decode():
            return notify


@every_transport
async def test_subscribed_mailbox(sleeper: MakeSleeper, stage: Stage, by: str) -> None:
    """The app subscribes to its mailbox: Asterisk accepts, and tells it inside that dialog."""
    ext = await sleeper("subscribed-mailbox", by=by)
    async with ext.phone(by) as phone:
        await phone.register()
        headers = (
            ("Event", "message-summary"),
            ("Accept", "application/simple-message-summary"),
            ("Expires", "60"),
        )
        assert (await alone(phone, "SUBSCRIBE", ext.aor, headers=headers)).status == 200
        await notified(phone, "Messages-Waiting: no")
        stage.hold.leave_message(ext.user)
        await notified(phone, "Messages-Waiting: yes")


@every_transport
async def test_busy_lamp(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, by: str
) -> None:
    """The app subscribes to another extension's state: it is told when that one rings and talks."""
    ext = await sleeper(by=by)
    watched = await desks()
    caller = await callers()
    async with ext.phone(by) as phone:
        await phone.register()
        headers = (
            ("Event", "dialog"),
            ("Accept", "application/dialog-info+xml"),
            ("Expires", "60"),
        )
        assert (await alone(phone, "SUBSCRIBE", watched.aor, headers=headers)).status == 200
        await notified(phone, ">terminated<")
        call = caller.call(watched.aor)
        incoming = await watched.incoming()
        incoming.ring()
        await notified(phone, ">early<")
        far, near = await connect(ext.pbx, call, incoming)
        await notified(phone, ">confirmed<")
        await hang_up(far, near)
        await notified(phone, ">terminated<")


@every_transport
async def test_message(sleeper: MakeSleeper, desks: MakeDesk, by: str) -> None:
    """MESSAGE outside any call, from the app to a desk phone and back."""
    ext = await sleeper(by=by)
    desk = await desks()
    text = (("Content-Type", "text/plain"),)
    async with ext.phone(by) as phone:
        await phone.register()
        for sender, taker in ((phone, desk), (desk, phone)):
            words = f"from {sender.user}".encode()
            response = await alone(sender, "MESSAGE", taker.aor, headers=text, body=words)
            assert response.status == 202
            taken = await taker.agent.expect(method="MESSAGE", within=5)
            taker.agent.respond(taken, 200, "OK")
            assert taken.body == words


@every_transport
async def test_inside_a_call(sleeper: MakeSleeper, callers: MakeCaller, by: str) -> None:
    """INFO with a digit, OPTIONS and MESSAGE inside a woken call."""
    ext = await sleeper(by=by)
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        far, near = await connect(ext.pbx, call, await phone.incoming())
        digit = (("Content-Type", "application/dtmf-relay"),)
        info = await near.request("INFO", headers=digit, body=b"Signal=5\r\nDuration=160\r\n")
        assert info.status == 200
        assert (await near.request("OPTIONS")).status == 200
        text = (("Content-Type", "text/plain"),)
        for sender, taker in ((near, far), (far, near)):
            accepted = await sender.request("MESSAGE", headers=text, body=b"inside")
            assert accepted.status in (200, 202)
            taken = await taker.expect("MESSAGE")
            taker.agent.respond(taken, 200, "OK")
            assert b"inside" in taken.body
        await hang_up(near, far)


@pytest.mark.parametrize(("kind", "who"), [("plain", "plain"), ("trunk", "at-trunk")])
@every_transport
async def test_outgoing(
    sleeper: MakeSleeper, desks: MakeDesk, kind: str, who: str, by: str
) -> None:
    """An app's call through us to a desk phone at Asterisk (challenged, but not in trunk), with
    hold and resume; it is on record.
    """
    ext = await sleeper(kind, by=by)
    desk = await desks(who, by=by)
    async with ext.phone(by) as phone:
        assert (await phone.register()).status == 200
        call = phone.call(desk.aor)
        incoming = await desk.incoming()
        incoming.ring()
        await call.expect(180)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        for offer in (sdp.HOLD, sdp.OFFER):
            assert (await dialog.reinvite(offer)).status == 200
        await hang_up(incoming.dialog(), dialog)
    record = await ext.record()
    assert (record["direction"], record["verdict"], record["callee"]) == (
        "outgoing",
        "answered",
        desk.user,
    )


@every_transport
async def test_outgoing_reliable(sleeper: MakeSleeper, desks: MakeDesk, by: str) -> None:
    """Asterisk demands 100rel of the app: its reliable 180 gets the app's PRACK through us."""
    ext = await sleeper("reliable", by=by)
    desk = await desks()
    async with ext.phone(by) as phone:
        assert (await phone.register()).status == 200
        call = phone.call(desk.aor, headers=(("Supported", "100rel"),))
        incoming = await desk.incoming()
        incoming.ring()
        ringing = await call.expect(180)
        assert ringing.header("Require") == "100rel"
        early = call.dialog(ringing)
        rack = ("RAck", f"{ringing.header('RSeq')} {ringing.header('CSeq')}")
        assert (await early.request("PRACK", headers=(rack,))).status == 200
        incoming.accept()
        final = await call.final()
        assert final.status == 200
        early.ack(final)
        await incoming.expect_ack()
        assert (await early.bye()).status == 200


async def test_outgoing_redirected(sleeper: MakeSleeper) -> None:
    """Asterisk's Transfer() answers the app's call with 302: the app gets it as it is."""
    ext = await sleeper()
    async with ext.phone() as phone:
        assert (await phone.register()).status == 200
        final = await phone.call(f"sip:away-150@{REALM}").final()
        assert final.status == 302
        assert final.contact_uri == f"sip:150@{REALM}"


@pytest.mark.parametrize(("called", "status"), [("nobody", 404), ("199", 503)])
async def test_outgoing_refused(sleeper: MakeSleeper, called: str, status: int) -> None:
    """The app gets Asterisk's own refusal: no such extension, or nobody registered there."""
    ext = await sleeper()
    async with ext.phone() as phone:
        assert (await phone.register()).status == 200
        final = await phone.call(f"sip:{called}@{REALM}").final()
        assert final.status in (status, 404)
    assert (await ext.record())["verdict"] == "outbound_failed"


async def test_echo(sleeper: MakeSleeper, make_baresip: MakeBaresip) -> None:
    """A real phone behind us calls Asterisk's echo: its sound comes back."""
    ext = await sleeper()
    phone = ext.baresip(make_baresip)
    await phone.start()
    await phone.registered()
    await phone.dial(f"sip:echo@{REALM}")
    await phone.established()
    await asyncio.sleep(0.5)  # of sound
    await phone.hang_up()
    sent_packets, received = await phone.rtp_packets()
    assert sent_packets > 10
    assert received > 10


async def test_all_contacts(
    sleeper: MakeSleeper, desks: MakeDesk, stage: Stage, callers: MakeCaller
) -> None:
    """Dial of all contacts: two of the account's devices and a desk phone ring; the second device
    answers, and everybody else is told that it was answered elsewhere.
    """
    ext = await sleeper()
    await stage.service.put_device(ext.account, "tablet")
    desk = await desks(user=ext.user)
    caller = await callers()
    async with ext.phone(device="one") as first, ext.phone("tls", device="two") as second:
        await first.register()
        await second.register()
        call = caller.call(f"sip:7{ext.user}@{REALM}")
        at_desk, at_first = await desk.incoming(), await first.incoming()
        at_second = await second.incoming()
        for incoming in (at_desk, at_first, at_second):
            incoming.ring()
        at_second.accept()
        dialog = await call.answered()
        await at_second.expect_ack()
        for incoming in (at_desk, at_first):
            cancel = await incoming.expect_cancel()
            assert "cause=200" in cancel.header("Reason")
        await hang_up(dialog, at_second.dialog())
    assert (await ext.record())["verdict"] == "answered"
