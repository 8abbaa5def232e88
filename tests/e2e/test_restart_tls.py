"""The service is killed under calls of phones on TLS: they go on, and can be held and ended."""

from __future__ import annotations

import hashlib
import time

import pytest

from tests.lab.certificates import Authority
from tests.lab.fixtures import (
    MakeBaresip,
    MakeLinphone,
    MakePjsua2,
    StartKamailio,
)
from tests.lab.kamailio import Kamailio, KamailioOptions, pbx_tls
from tests.lab.pbx import Pbx
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_stream import closed

from .conftest import REALM, TRANSPORTS, Extension, StartService
from .flows import hold_from_both_sides, reinvite_reaches_it_after_register, talk
from .methods import hang_up

PACKETS_PER_S = 50


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
        assert await caller.heard() - heard > 0.6 * PACKETS_PER_S * talked_s
    await phone.hold()
    await caller.phone.event("held")
    await phone.resume()
    await caller.phone.event("resumed")
    await answered_in_store(ext)  # the end is told to the store alone, which has just started, too
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


async def test_request_right_after_the_restart(
    service: LabService, tls_kamailio: Kamailio, push_sink: PushSink, authority: Authority
) -> None:
    """A re-INVITE that comes before the phone is back waits, and reaches it once it is."""
    ext = await new_extension(service, tls_kamailio, push_sink, authority)
    async with ext.caller() as caller, ext.phone("tls") as phone:
        far, near = await talk(ext, caller, phone)
        flow = phone.flow
        service.kill()
        assert await closed(flow)
        await service.start()
        await reinvite_reaches_it_after_register(far, near, phone)
        await hang_up(near, far)
