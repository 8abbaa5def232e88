"""Transfers: REFER inside a call and outside, and what its target says about it."""

import pytest

from tests.lab.kamailio import Kamailio
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService
from tests.lab.sip_call import OutgoingCall
from tests.lab.sip_dialog import Dialog

from .conftest import Extension, MakeExtension
from .methods import (
    Way,
    answer,
    arrived,
    cross,
    desk,
    every_leg,
    every_way,
    final,
    hang_up,
    send_alone,
    take,
    talking,
)

SIPFRAG = ("Content-Type", "message/sipfrag;version=2.0")


async def report(agent_side: Dialog, referrer: Dialog, line: str, *, ends: bool) -> None:
    """The transferee's NOTIFY with a sipfrag body (RFC 3515 §2.4.5)."""
    state = "terminated;reason=noresource" if ends else "active;expires=60"
    await cross(
        agent_side,
        referrer,
        "NOTIFY",
        headers=(("Event", "refer"), ("Subscription-State", state), SIPFRAG),
        body=line.encode(),
    )


@every_way
async def test_blind_transfer(extension: MakeExtension, way: Way) -> None:
    """Either side refers the other to a third: REFER and each NOTIFY with its sipfrag cross, the
    third is called, and the first call ends.
    """
    ext = await extension(by=way.by)
    async with desk(ext) as third:
        await third.register()
        for referred in ("phone", "far"):
            async with talking(ext, way) as talk:
                who, other = talk.near, talk.there
                caller = talk.phone
                if referred == "far":
                    who, other, caller = other, who, talk.far
                refer = (
                    ("Refer-To", f"<{third.aor}>"),
                    ("Referred-By", f'"R" <{talk.ext.aor}>;cid="1@x"'),
                )
                await cross(other, who, "REFER", headers=refer, status=202, reason="Accepted")
                await report(who, other, "SIP/2.0 100 Trying\r\n", ends=False)
                referred_by = refer[1:]
                call = caller.call(third.aor, headers=referred_by)
                incoming = await third.incoming()
                arrived(incoming.invite, referred_by, incoming.invite.body)
                incoming.accept()
                new = await call.answered()
                await incoming.expect_ack()
                await report(who, other, "SIP/2.0 200 OK\r\n", ends=True)
                await hang_up(incoming.dialog(), new)


@every_way
async def test_attended_transfer_by_the_phone(extension: MakeExtension, way: Way) -> None:
    """The phone in two calls refers one far end to the other: Refer-To with its escaped Replaces
    crosses as it is, the INVITE with Replaces stays at the PBX, and both of its calls end.
    """
    ext = await extension(by=way.by)
    async with talking(ext, way) as talk, desk(ext) as second:
        await second.register()
        call = talk.phone.call(second.aor)
        incoming = await second.incoming()
        incoming.accept()
        here = await call.answered()
        await incoming.expect_ack()
        replaces = f"{here.call_id}%3Bto-tag%3D{incoming.tag}%3Bfrom-tag%3D{call.invite.from_tag}"
        refer_to = ("Refer-To", f"<{second.aor}?Replaces={replaces}>")
        await cross(talk.near, talk.there, "REFER", headers=(refer_to,), status=202)
        await report(talk.there, talk.near, "SIP/2.0 200 OK\r\n", ends=True)
        await hang_up(incoming.dialog(), here)


@every_way
async def test_attended_transfer_to_the_phone(extension: MakeExtension, way: Way) -> None:
    """A far end that talks with the phone is replaced by another: the INVITE with Replaces goes
    to the device that holds the call, though another one was heard last, and wakes nobody; it is
    on record like any other call.
    """
    ext = await extension(by=way.by)
    await ext.service.put_device(ext.account, "tablet", instance_id="urn:x-lab:tablet")
    await ext.service.put_device(ext.account, "handset", instance_id="urn:x-lab:handset")
    handset, tablet = (ext.phone(way.leg, device=name) for name in ("handset", "tablet"))
    async with talking(ext, way, phone=handset) as talk, tablet, desk(ext) as third:
        assert (await tablet.register()).status == 200
        await third.register()
        # The tags as the holder of the call sees them.
        local = talk.near.local.rpartition("tag=")[2]
        remote = talk.near.remote.rpartition("tag=")[2]
        replaces = ("Replaces", f"{talk.near.call_id};to-tag={local};from-tag={remote}")
        call = third.call(ext.aor, headers=(replaces, ("Require", "replaces")))
        incoming = await handset.incoming()
        arrived(incoming.invite, (replaces,), incoming.invite.body)
        incoming.accept()
        new = await call.answered()
        await incoming.expect_ack()
        await tablet.agent.expect_nothing(within=0.1, method="INVITE")
        assert len({push.call_id for push in ext.sink.pushes}) <= 1, "pushed for the second call"
        await hang_up(incoming.dialog(), new)
        record = await ext.record(sip_call_id=call.invite.call_id)
        assert incoming.invite.header("X-Push-ID") == record["id"]
        assert (record["verdict"], record["ended_by"]) == ("answered", "device")
        assert {each["device"] for each in record["timeline"]} == {None, "handset"}


async def test_replaces_nothing(extension: MakeExtension) -> None:
    """Replaces names a call that nobody behind us holds: 481, and the sleeping phone is not
    woken; of a call whose device has gone meanwhile: 480.
    """
    ext = await extension()
    async with desk(ext) as third:
        await third.register()
        replaces = ("Replaces", "nobody@nowhere;to-tag=a;from-tag=b")
        call = third.call(ext.aor, headers=(replaces,))
        assert (await call.final()).status == 481
        assert ext.sink.pushes == []
        async with talking(ext, Way("awake")) as talk:
            await talk.phone.unregister()
            replaces = ("Replaces", f"{talk.near.call_id};to-tag=a;from-tag=b")
            call = third.call(ext.aor, headers=(replaces,))
            assert (await call.final()).status == 480
            await talk.phone.register()
        assert ext.sink.pushes == []


@every_leg
@pytest.mark.parametrize("by_phone", [False, True])
async def test_refer_outside_a_call(
    extension: MakeExtension, by: str, leg: str, *, by_phone: bool
) -> None:
    """REFER outside any dialog (click to dial) makes a dialog through us: its NOTIFYs find the
    way back.
    """
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        await phone.register()
        sender, taker = (phone, far) if by_phone else (far, phone)
        refer_to = ("Refer-To", "<sip:200@pbx.test;method=INVITE>")
        sent = await send_alone(sender, "REFER", taker.aor, headers=(refer_to,))
        refer = await take(taker, "REFER")
        arrived(refer.invite, (refer_to,), b"")
        answer(refer, 202, "Accepted")
        referrer = sent.dialog(await final(sent, 202))
        for line, ends in (("SIP/2.0 100 Trying\r\n", False), ("SIP/2.0 603 Decline\r\n", True)):
            await report(refer.dialog(), referrer, line, ends=ends)


async def test_refer_to_a_sleeping_phone(extension: MakeExtension) -> None:
    """REFER outside a call wakes nobody: 480."""
    ext = await extension()
    async with desk(ext) as far:
        await far.register()
        sent = await send_alone(
            far, "REFER", ext.aor, headers=(("Refer-To", "<sip:200@pbx.test>"),)
        )
        assert isinstance(sent, OutgoingCall)
        await final(sent, 480)
        assert ext.sink.pushes == []


async def test_replaces_after_a_restart(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """Killed and started again in the call that is replaced: its device is known from the store,
    though another one was heard last.
    """
    ext = Extension(service=own_service, pbx=kamailio, sink=push_sink, user="101")
    await ext.provision()
    for name in ("handset", "tablet"):
        await own_service.put_device(ext.account, name, instance_id=f"urn:x-lab:{name}")
    handset, tablet = ext.phone(device="handset"), ext.phone(device="tablet")
    async with talking(ext, Way("awake"), phone=handset) as talk, tablet, desk(ext) as third:
        assert (await tablet.register()).status == 200
        await third.register()
        await own_service.eventually(
            lambda: own_service.expect("GET", "/v1/calls?verdict=answered"),
            lambda page: bool(page["calls"]),
            within=3,
            what="answered call in the store",
        )
        own_service.kill()
        await own_service.start()
        call = third.call(ext.aor, headers=(("Replaces", f"{talk.near.call_id};to-tag=a"),))
        incoming = await handset.incoming()
        incoming.reject(486, "Busy Here")
        assert (await call.final()).status == 486
        await tablet.agent.expect_nothing(within=0.1, method="INVITE")
