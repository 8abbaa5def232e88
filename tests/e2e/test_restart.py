"""Killed and started again: established calls go on, registrations and bindings stay."""

from tests.lab import sdp
from tests.lab.fixtures import MakeBaresip
from tests.lab.kamailio import Kamailio
from tests.lab.push_sink import PushSink, Reply
from tests.lab.service import LabService
from tests.lab.sip_dialog import Dialog

from .conftest import Extension


async def new_extension(
    service: LabService, kamailio: Kamailio, push_sink: PushSink, user: str = "101"
) -> Extension:
    ext = Extension(service=service, pbx=kamailio, sink=push_sink, user=user)
    await ext.provision()
    return ext


async def hold_and_resume(asking: Dialog, asked: Dialog) -> None:
    sent = asking.send("INVITE", body=sdp.HOLD)
    invite = await asked.expect("INVITE")
    assert invite.body == sdp.HOLD
    contact = ("Contact", f"<sip:lab@{asked.agent.hostport}>")
    asked.agent.respond(invite, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=sdp.ANSWER)
    response = await asking.agent.expect(
        within=5, where=lambda m: m.branch == sent.branch and m.status == 200
    )
    assert response.body == sdp.ANSWER
    asking.ack(response)
    await asked.expect("ACK")


async def test_established_calls_survive_kill(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """Kill -9 in the middle of two calls: re-INVITEs pass in both directions afterwards, and
    either side can hang up; the records, begun before, end with the BYEs.
    """
    first = await new_extension(own_service, kamailio, push_sink, "101")
    second = await new_extension(own_service, kamailio, push_sink, "102")
    async with first.caller() as caller, first.phone() as phone, second.phone() as other:
        halves = []
        for ext, callee in ((first, phone), (second, other)):
            ext.wake_on_push(callee.register)
            call = caller.call(ext.aor)
            incoming = await callee.incoming()
            incoming.accept()
            dialog = await call.answered()
            await incoming.expect_ack()
            halves.append((dialog, incoming.dialog()))
            # The search reads the store: the answer has been written behind.
            await own_service.eventually(
                lambda ext=ext: own_service.expect(
                    "GET", f"/v1/calls?account={ext.account}&verdict=answered"
                ),
                lambda page: bool(page["calls"]),
                within=3,
                what="answered call in the store",
            )
        own_service.kill()
        await own_service.start()
        for dialog, callee_dialog in halves:
            await hold_and_resume(dialog, callee_dialog)
            await hold_and_resume(callee_dialog, dialog)
        halves[0][0].send("BYE")
        await halves[0][1].expect_bye()
        await caller.agent.expect(method="BYE", status=200, within=5)
        halves[1][1].send("BYE")
        await halves[1][0].expect_bye()
        await other.agent.expect(method="BYE", status=200, within=5)
    assert (await first.record())["ended_by"] == "caller"
    assert (await second.record())["ended_by"] == "device"


async def test_baresips_call_survives_kill(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink, make_baresip: MakeBaresip
) -> None:
    """A woken baresip talks on through a kill -9: the caller's re-INVITE is answered afterwards,
    and baresip hangs up.
    """
    ext = await new_extension(own_service, kamailio, push_sink)
    phone = ext.baresip(make_baresip)
    ext.wake_on_push(phone.start)
    async with ext.caller() as caller:
        dialog = await caller.call(ext.aor).answered(within=10)
        await phone.established()
        own_service.kill()
        await own_service.start()
        assert (await dialog.reinvite(sdp.HOLD)).status == 200
        await phone.hang_up()
        await dialog.expect_bye()


async def test_registration_at_the_pbx_survives(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """Neither a stop nor a kill unregisters, and there is one Contact of ours afterwards, with a
    Call-ID that goes on and a CSeq that grows.
    """
    await new_extension(own_service, kamailio, push_sink)
    (before,) = await kamailio.bindings("101")
    await own_service.stop()
    (meanwhile,) = await kamailio.bindings("101")
    assert meanwhile.uri == before.uri
    await own_service.start()
    await own_service.is_registered("ext-101")
    own_service.kill()
    await own_service.start()
    await own_service.is_registered("ext-101")
    (after,) = await kamailio.bindings("101")
    assert (after.uri, after.call_id) == (before.uri, before.call_id)
    # A refresh that the account's change makes: the same binding, not another one.
    await Extension(service=own_service, pbx=kamailio, sink=push_sink, user="101").provision(
        expires_s=300
    )
    await kamailio.wait_for(event="own-response", method="REGISTER", status=200, from_user="101")
    bindings = await kamailio.bindings("101")
    assert [binding.uri for binding in bindings] == [before.uri]
    sequence = [
        event.cseq for event in kamailio.events()
        if event.matches(event="request", method="REGISTER", callid=before.call_id)
    ]  # fmt: skip
    assert sequence == sorted(set(sequence))


async def test_bindings_survive(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """A phone that registered before the kill is called at its binding after it, and what it
    proves then needs no other nonce.
    """
    ext = await new_extension(own_service, kamailio, push_sink)
    async with ext.caller() as caller, ext.phone() as phone:
        assert (await phone.register()).status == 200
        # Written behind: another write of the same account says that the first has been done.
        await own_service.put_device(ext.account, platform="android")
        own_service.kill()
        await own_service.start()
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.reject(486, "Busy Here")
        assert (await call.final()).status == 486
        assert (await phone.register()).status == 200
    assert [push for push in push_sink.pushes if push.type == "call"] == []


async def test_call_after_restart(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """Accounts, devices and history are there after a stop; the next call is pushed as ever."""
    ext = await new_extension(own_service, kamailio, push_sink)
    async with ext.caller() as caller, ext.phone() as phone:
        call = caller.call(ext.aor)
        await push_sink.wait(1)
        await call.cancel()
        first = await ext.record()
        await own_service.stop()
        await own_service.start()
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.reject(486, "Busy Here")
        assert (await call.final()).status == 486
    page = await own_service.expect("GET", f"/v1/calls?account={ext.account}")
    assert first["id"] in [found["id"] for found in page["calls"]]


async def test_a_stop_tells_phones_that_were_woken(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """Stopped while a phone wakes: the push that ends its ringing leaves, once more if need be."""
    ext = await new_extension(own_service, kamailio, push_sink)
    async with ext.caller() as caller:
        call = caller.call(ext.aor)
        await push_sink.next(kind="call")
        push_sink.reply = Reply(status=503, after_s=0.7)
        await own_service.stop()
        response = await call.final()
    assert response.status >= 400
    assert [push.type for push in push_sink.pushes].count("cancel") == 2
