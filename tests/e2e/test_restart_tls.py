"""Connections that end under a call: the service is killed, the phone changes its network."""

from __future__ import annotations

import hashlib
import time

import pytest

from tests.lab import sdp
from tests.lab.certificates import Authority
from tests.lab.fixtures import (
    MakeBaresip,
    MakeLinphone,
    MakePjsua2,
    StartKamailio,
)
from tests.lab.kamailio import Kamailio, KamailioOptions, pbx_tls
from tests.lab.pbx import Pbx
from tests.lab.phone import Caller, Phone
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_stream import closed

from .conftest import REALM, TRANSPORTS, Extension, StartService
from .methods import answer_to, cross, hang_up, hold_and_resume

PACKETS_PER_S = 50
ELSEWHERE = "127.0.0.9"


@pytest.fixture
async def service(
    start_service: StartService, push_sink: PushSink, authority: Authority
) -> LabService:
    """A service of the test's own on all transports."""
    return await start_service(
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            listen=TRANSPORTS,
            tls=authority.issue(for_linphone=True).files,
        )
    )


@pytest.fixture
async def tls_kamailio(start_kamailio: StartKamailio, authority: Authority) -> Kamailio:
    return await start_kamailio(KamailioOptions(realm=REALM, tls=pbx_tls(authority.issue())))


async def new_extension(
    service: LabService,
    kamailio: Kamailio,
    sink: PushSink,
    authority: Authority,
    *,
    by: str = "tls",
    user: str = "101",
) -> Extension:
    ext = Extension(service=service, pbx=kamailio, sink=sink, user=user, by=by, authority=authority)
    await ext.provision()
    return ext


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


@pytest.mark.parametrize("by", ["tcp", "tls"])
async def test_kill_in_mid_call(
    service: LabService,
    tls_kamailio: Kamailio,
    push_sink: PushSink,
    authority: Authority,
    by: str,
) -> None:
    """Kill -9 ends every connection; once the phones have registered again both sides hold and
    resume, one call is hung up by the caller and the other by the phone.
    """
    users = ("101", "102")
    exts = [
        await new_extension(service, tls_kamailio, push_sink, authority, by=by, user=user)
        for user in users
    ]
    async with exts[0].caller() as caller, exts[0].phone("tls") as one, exts[1].phone("tls") as two:
        calls = [await talk(exts[0], caller, one), await talk(exts[1], caller, two)]
        for ext in exts:
            await answered_in_store(ext)
        flows = [one.flow, two.flow]
        service.kill()
        for flow in flows:
            assert await closed(flow)
        await service.start()
        for phone in (one, two):
            assert (await phone.register()).status == 200
        for far, near in calls:
            await hold_from_both_sides(far, near)
        await hang_up(*calls[0])
        await hang_up(*reversed(calls[1]))
    assert [(await ext.record())["ended_by"] for ext in exts] == ["caller", "device"]


async def answered_in_store(ext: Extension) -> None:
    """Waits until the search, which reads the store, shows the answer: it is written behind."""
    await ext.service.eventually(
        lambda: ext.service.expect("GET", f"/v1/calls?account={ext.account}&verdict=answered"),
        lambda page: bool(page["calls"]),
        within=3,
        what="answered call in the store",
    )


async def test_kill_with_a_pbx_that_reuses_connections(
    service: LabService, push_sink: PushSink, authority: Authority
) -> None:
    """The same with a scripted PBX over TLS that calls on the connection of the REGISTER, as
    Asterisk does: after the restart its next request comes on a new connection.
    """
    pbx = Pbx(realm=REALM, transport="tls", tls=authority.issue(), reuses_connection=True)
    async with pbx:
        ha1 = hashlib.md5(f"101:{REALM}:pw-101".encode()).hexdigest()
        await service.put_account(
            "ext-101",
            f"sip:101@{REALM}",
            registrar=pbx.uri,
            password="pw-101",
            app_auth={"user": "101", "realm": REALM, "ha1": {"MD5": ha1}},
        )
        await service.put_device("ext-101")
        await pbx.registered("101")
        phone = service.phone(
            f"sip:101@{REALM}", password="pw-101", transport="tls", tls=authority.trust
        )
        async with phone:
            await phone.register()
            call = pbx.call("101")
            incoming = await phone.incoming()
            incoming.accept()
            far = await call.answered()
            await incoming.expect_ack()
            near = incoming.dialog()
            service.kill()
            await service.start()
            assert (await phone.register()).status == 200
            await hold_from_both_sides(far, near)
            await hang_up(near, far)


@pytest.mark.parametrize("kind", ["baresip", "linphone", "pjsua2"])
async def test_real_phone_talks_on(
    service: LabService,
    tls_kamailio: Kamailio,
    push_sink: PushSink,
    authority: Authority,
    make_baresip: MakeBaresip,
    make_linphone: MakeLinphone,
    make_pjsua2: MakePjsua2,
    kind: str,
) -> None:
    """A real phone on TLS hears its caller all through a kill -9 and a restart of the service, and
    can hold and resume at once, on a new connection. When it has registered again the caller
    can, too, and hangs up. baresip 1.0 does not before its hour comes: it hangs up itself.
    """
    ext = await new_extension(service, tls_kamailio, push_sink, authority)
    if kind == "baresip":
        phone = ext.baresip(make_baresip, transport="tls")
    elif kind == "linphone":
        phone = ext.linphone(make_linphone, transport="tls")
    else:
        phone = ext.pjsua2(make_pjsua2, transport="tls")
    ext.wake_on_push(phone.start)
    caller = make_pjsua2(
        "9000",
        domain=REALM,
        proxy=tls_kamailio.address,
        password=tls_kamailio.password("9000"),
        dials=ext.aor,
        registers=False,
    )
    await caller.start()
    await caller.established(within=10)
    await phone.established()
    await answered_in_store(ext)
    talking_since, heard = time.monotonic(), await caller.heard()
    registered = (await service.device_status(ext.account))["registered_until"]
    service.kill()
    await service.start()
    if kind != "linphone":  # it has no sound card
        talked_s = time.monotonic() - talking_since
        assert await caller.heard() - heard > 0.8 * PACKETS_PER_S * talked_s
    await phone.hold()
    await caller.phone.event("held")
    await phone.resume()
    await caller.phone.event("resumed")
    if kind == "baresip":
        await phone.hang_up()
        await caller.ended()
    else:
        await service.eventually(
            lambda: service.device_status(ext.account),
            lambda shown: shown["registered_until"] not in (None, registered),
            within=10,
            what="new registration",
        )
        await caller.hold()
        await caller.resume()
        await caller.hang_up()
        await phone.ended()
    ended_by = (await ext.record())["ended_by"]
    assert ended_by == ("device" if kind == "baresip" else "caller")


@pytest.mark.parametrize("loss", ["silent", "told"])
async def test_network_change(
    service: LabService,
    tls_kamailio: Kamailio,
    push_sink: PushSink,
    authority: Authority,
    loss: str,
) -> None:
    """From Wi-Fi to LTE in mid-call: after the REGISTER from the new address the PBX's requests
    come on the new connection, whether the old one has ended or just died.
    """
    ext = await new_extension(service, tls_kamailio, push_sink, authority)
    async with ext.caller() as caller, ext.phone("tls") as phone:
        far, near = await talk(ext, caller, phone)
        if loss == "told":
            phone.drop_flow()
        await phone.move(ELSEWHERE)
        assert (await phone.register()).status == 200
        assert phone.flow.local[0] == ELSEWHERE
        await hold_from_both_sides(far, near)
        await hang_up(far, near)
    assert (await ext.record())["ended_by"] == "caller"


async def test_request_waits_for_the_phone(
    service: LabService, tls_kamailio: Kamailio, push_sink: PushSink, authority: Authority
) -> None:
    """A re-INVITE that comes while the phone has no connection waits, and reaches it once it has
    registered on a new one; so does one that comes right after a restart of the service.
    """
    ext = await new_extension(service, tls_kamailio, push_sink, authority)
    async with ext.caller() as caller, ext.phone("tls") as phone:
        far, near = await talk(ext, caller, phone)
        for restart in (False, True):
            flow = phone.flow
            if restart:
                service.kill()
                await service.start()
            else:
                phone.drop_flow()
            assert await closed(flow)
            sent = far.send("INVITE", body=sdp.HOLD)
            await caller.agent.expect(within=5, where=lambda m: m.status == 100)
            await phone.agent.expect_nothing(within=0.5, method="INVITE")
            assert (await phone.register()).status == 200
            invite = await near.expect("INVITE")
            assert invite.body == sdp.HOLD
            contact = ("Contact", f"<{phone.contact}>")
            phone.agent.respond(
                invite, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=sdp.ANSWER
            )
            far.ack(await answer_to(far, sent, 200))
            await near.expect("ACK")
        await hang_up(far, near)


@pytest.mark.slow
async def test_phone_that_does_not_return(
    service: LabService, tls_kamailio: Kamailio, push_sink: PushSink, authority: Authority
) -> None:
    """A request for a phone that has no connection gets 430 after ten seconds (RFC 5626 §11.5)."""
    ext = await new_extension(service, tls_kamailio, push_sink, authority)
    async with ext.caller() as caller, ext.phone("tls") as phone:
        far, _ = await talk(ext, caller, phone)
        phone.drop_flow()
        begin = time.monotonic()
        response = await far.request("INFO", within=15)
        assert response.status == 430
        assert 9 < time.monotonic() - begin < 12


async def test_frozen_phone_is_pushed(
    service: LabService, tls_kamailio: Kamailio, push_sink: PushSink, authority: Authority
) -> None:
    """A registered phone whose connection is half-open answers nothing: it is pushed, comes back
    from elsewhere, and gets the same call there.
    """
    ext = await new_extension(service, tls_kamailio, push_sink, authority)
    async with ext.caller() as caller, ext.phone("tls") as phone:
        await phone.register()
        phone.freeze()

        async def return_elsewhere() -> None:
            await phone.move(ELSEWHERE)
            await phone.register()

        ext.wake_on_push(return_elsewhere)
        call = caller.call(ext.aor)
        incoming = await phone.incoming(within=15)
        assert incoming.invite.call_id == call.invite.call_id
        incoming.accept()
        far = await call.answered()
        await incoming.expect_ack()
        await hang_up(far, incoming.dialog())
        assert len(phone.agent.received(method="INVITE")) == 1


@pytest.mark.slow
async def test_half_open_connection_is_found(
    service: LabService, tls_kamailio: Kamailio, push_sink: PushSink, authority: Authority
) -> None:
    """Bytes that the phone's end does not take are noticed within ten seconds or so: the phone
    counts as asleep from then on, and a call for it begins with the push.
    """
    ext = await new_extension(service, tls_kamailio, push_sink, authority)
    async with ext.caller() as caller, ext.phone("tcp") as phone:
        await phone.register()
        phone.close_window()
        await service.eventually(
            lambda: service.device_status(ext.account),
            lambda shown: shown["reachability"] == "asleep",
            within=20,
            what="end of the half-open connection",
        )
        call = caller.call(ext.aor)
        await push_sink.next(kind="call")
        await call.cancel()
        record = await ext.record()
        assert "invite_sent" not in service.events(record)
