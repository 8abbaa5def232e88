"""Apps that announce themselves by REGISTER: RFC 8599 on the wire, with APNs and FCM."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.doubles.apns import Play
from tests.lab import sdp
from tests.lab.phone import Phone
from tests.lab.process import poll_until
from tests.lab.service import APP_ID
from tests.lab.sip_call import IncomingCall
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Message

from .push_apps import INSTANCE, PushApps, PushStage, push_stage, register

# RFC 6809 §6: fc-value = "*" *(";" "+" name [ "=" quoted value ])
_INDICATOR = r'\+[a-z0-9.!%-]+(?:="[A-Za-z0-9._,<>~%*+\'`!#-]+")?'
_FC_VALUE = re.compile(rf"\*(?:;{_INDICATOR})*")


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[PushStage]:
    """One for all tests of this file: none of them ends the service."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    async with push_stage(directory) as stage:
        yield stage
    shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module")
async def apps(stage: PushStage) -> AsyncIterator[PushApps]:
    """What this test hands out; at its end no token has shown anywhere."""
    apps = PushApps(stage=stage)
    yield apps
    await apps.leave()


def feature_caps(response: Message) -> list[dict[str, str]]:
    """The indicators of each value of Feature-Caps, which has the form that RFC 6809 gives it."""
    values = response.listed("Feature-Caps")
    for value in values:
        assert _FC_VALUE.fullmatch(value), value
    return [dict(re.findall(r';\+([^;=]+)="([^"]*)"', value)) for value in values]


def services(response: Message) -> list[str]:
    return [indicators["sip.pns"] for indicators in feature_caps(response)]


async def rung(phone: Phone, params: str, **more: str) -> IncomingCall:
    """The woken phone registers and gets the INVITE after its 200, not before."""
    response = await register(phone, params, **more)
    assert (response.status, len(services(response))) == (200, 1)
    incoming = await phone.incoming()
    history = phone.agent.history
    assert history.index(incoming.invite) > history.index(response)
    return incoming


async def test_an_iphone_from_first_register_to_hang_up(apps: PushApps) -> None:
    """Linphone's own parameters make the device; from now on the account is registered at its
    PBX, and a call to the sleeping phone is one VoIP push and, after its REGISTER, the INVITE.
    """
    ext = await apps.extension()
    voip, alert = apps.stage.apns.device(APP_ID), apps.stage.apns.device(APP_ID, kind="alert")
    params = apps.apns_params(voip.token, alert.token)
    phone = ext.phone()
    response = await register(phone, params, expires_s=600)
    assert response.status == 200
    ((caps),) = feature_caps(response)
    assert (caps["sip.pns"], "sip.pnsreg" in caps, len(caps["sip.pnspurr"])) == ("apns", False, 24)
    await apps.stage.pbx.registered(ext.user)
    device = await apps.only_device(ext)
    assert re.fullmatch(r"pn-[0-9a-f]{12}", device["device"])
    assert (device["provider"], device["app_id"]) == ("apns", APP_ID)
    phone.sleep()

    call = ext.call()
    (push,) = await apps.pushed_by_apns(1)
    assert (push.token, push.push_type, push.topic) == (voip.token, "voip", f"{APP_ID}.voip")
    incoming = await rung(ext.phone(), params)
    # It should not put them here, and many do.
    incoming.contact_params = f";{params}"
    incoming.ring()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    own = incoming.dialog()
    bare = f"<{own.agent.uri('lab')}>".encode()
    update = own.build("UPDATE").replace(bare, bare[:-1] + f";{params}>".encode())
    own.agent.send(update, own.next_hop)
    assert (await dialog.expect("UPDATE")).header("Contact").encode() == bare
    dialog.send("BYE")
    await own.expect_bye()
    assert (await apps.record(ext))["verdict"] == "answered"
    assert apps.pushes() == 1


async def test_a_new_token_in_the_wake_register(apps: PushApps) -> None:
    """The token has rotated while the phone slept: the call reaches it all the same, the device
    is the same one with its new token, and the old one's end, told late, takes nothing away.
    """
    ext = await apps.extension()
    old, new = apps.stage.apns.device(APP_ID), apps.stage.apns.device(APP_ID)
    phone = ext.phone()
    await register(phone, apps.apns_params(old.token))
    await apps.stage.pbx.registered(ext.user)
    before = await apps.only_device(ext)
    phone.sleep()

    told = asyncio.Event()
    apps.stage.apns.for_token(old.token, Play(reason="Unregistered", until=told))
    call = ext.call()
    await apps.pushed_by_apns(1)
    incoming = await rung(ext.phone(), apps.apns_params(new.token))
    told.set()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    await apps.record(ext)
    after = await apps.only_device(ext)
    assert after["device"] == before["device"]

    ext.call()
    pushes = await apps.pushed_by_apns(2)
    assert [push.token for push in pushes] == [old.token, new.token]
    assert [delivery.token for delivery in new.received] == [new.token]


async def test_a_burst_of_registers(apps: PushApps) -> None:
    """One push wakes Linphone and three REGISTERs come at once, with other Call-IDs and half of
    its tokens: one INVITE, one device, both tokens known.
    """
    ext = await apps.extension()
    voip, alert = apps.stage.apns.device(APP_ID), apps.stage.apns.device(APP_ID, kind="alert")
    both = apps.apns_params(voip.token, alert.token)
    asleep = ext.phone()
    await register(asleep, both)
    await apps.stage.pbx.registered(ext.user)
    asleep.sleep()
    call = ext.call()
    await apps.pushed_by_apns(1)
    phone = ext.phone()
    halves = (both, apps.apns_params(voip.token), both.replace(f"{voip.token}:voip&", ""))
    for number, params in enumerate(halves):
        phone.registration_call_id = f"burst-{number}"
        assert (await register(phone, params)).status == 200
    incoming = await phone.incoming()
    incoming.ring()
    await phone.agent.expect_nothing(within=0.5, method="INVITE")
    assert len(await apps.devices(ext)) == 1
    incoming.reject(486, "Busy Here")
    await call.final()
    phone.sleep()
    await asyncio.sleep(0.6)  # not fresh any more
    # The word that a call is over goes to the alert token: it is known still.
    again = ext.call()
    await apps.pushed_by_apns(2)
    await again.cancel()
    await poll_until(lambda: bool(alert.received), within_s=5)
    assert {push.push_type for push in alert.received} & {"background", "alert"}


async def test_what_is_supported(apps: PushApps) -> None:
    """A query is answered with what there is, and makes no device; what cannot be served is 555
    with the same, and binds nothing.
    """
    ext = await apps.extension()
    phone = ext.phone()
    every = await register(phone, "pn-provider")
    assert (every.status, services(every)) == (200, ["fcm", "apns"])
    one = await register(phone, "pn-provider=fcm")
    assert (one.status, services(one)) == (200, ["fcm"])
    assert (await phone.unregister()).status == 200
    for params in (
        "pn-provider=acme;pn-param=acme-param;pn-prid=ZTY4ZDJlMzODE1NmUgKi0K",
        "pn-provider=webhook;pn-param=com.example.phone;pn-prid=x",
        "pn-provider=fcm;pn-param=somebody-elses;pn-prid=x",
        "pn-provider=acme",
    ):
        refused = await register(phone, params)
        assert (refused.status, refused.reason) == (555, "Push Notification Service Not Supported")
        assert services(refused) == ["fcm", "apns"]
    fetched = await phone.register(contact="", expires_s=None)
    assert fetched.listed("Contact") == []
    assert await apps.devices(ext) == []


async def test_refreshing_alone(apps: PushApps) -> None:
    """+sip.pnsreg is answered with how long before the end; if another proxy pushes we do not."""
    ext = await apps.extension()
    params = apps.fcm_params(apps.stage.fcm.device().token)
    response = await register(ext.phone(), params, behind=";+sip.pnsreg", expires_s=600)
    (caps,) = feature_caps(response)
    assert (caps["sip.pns"], int(caps["sip.pnsreg"]) > 120) == ("fcm", True)
    others = await apps.extension()
    upstream = (("Feature-Caps", '*;+sip.pns="fcm"'),)
    response = await register(others.phone(), params, headers=upstream)
    assert (response.status, response.listed("Feature-Caps")) == (200, [])
    assert await apps.devices(others) == []


@pytest.mark.parametrize("leaves", ["unregisters", "registers without"])
async def test_no_pushes_after_leaving(apps: PushApps, leaves: str) -> None:
    """A phone that unregisters, or registers without the parameters, is not pushed any more."""
    ext = await apps.extension()
    params = apps.fcm_params(apps.stage.fcm.device().token)
    phone = ext.phone()
    await register(phone, params)
    await apps.stage.pbx.registered(ext.user)
    if leaves == "unregisters":
        assert (await register(phone, params, expires_s=0)).status == 200
        assert await apps.devices(ext) == []
    else:
        assert (await register(phone, "")).status == 200
        phone.sleep()
        await asyncio.sleep(0.6)  # not fresh any more
        call = apps.stage.pbx.call(ext.user, next_hop=apps.stage.service.sip_address)
        ext.calls.append(call)
        await call.expect(100)
    await asyncio.sleep(0.3)
    assert apps.pushes() == 0


async def test_a_device_announced_by_put(apps: PushApps) -> None:
    """Its REGISTER rotates its token; it stays when the phone unregisters."""
    ext = await apps.extension()
    first, second = apps.stage.fcm.device(), apps.stage.fcm.device()
    await ext.put_device(provider="fcm", token=first.token, instance_id=INSTANCE)
    apps.tokens.append(first.token)
    phone = ext.phone()
    await register(phone, apps.fcm_params(second.token))
    assert (await apps.only_device(ext))["device"] == "handset"
    await register(phone, apps.fcm_params(second.token), expires_s=0)
    await apps.stage.pbx.registered(ext.user)
    phone.sleep()
    ext.call()
    (push,) = await apps.pushed_by_fcm(1)
    assert push.token == second.token


@pytest.mark.parametrize(
    "form",
    [
        "app-id=lab-project;pn-type=google;pn-tok={};pn-timeout=0;pn-silent=1",
        "app-id=lab-project;pn-type=firebase;pn-tok={};pn-msg-str=IM_MSG;pn-call-snd=ring.caf",
        "pn-provider=fcm;pn-param=lab-project;pn-prid={};pn-timeout=0",
    ],
)
async def test_older_forms(apps: PushApps, form: str) -> None:
    """Softphones with Linphone's parameters of before the standard are woken as well."""
    ext = await apps.extension()
    target = apps.stage.fcm.device()
    apps.tokens.append(target.token)
    phone = ext.phone()
    await register(phone, form.format(target.token.replace(":", "%3A")))
    await apps.stage.pbx.registered(ext.user)
    phone.sleep()
    ext.call()
    (push,) = await apps.pushed_by_fcm(1)
    assert (push.token, push.data["type"]) == (target.token, "call")
    await rung(ext.phone(), form.format(target.token))


async def test_another_phones_token_is_not_listed(apps: PushApps) -> None:
    """Two phones of one account: neither learns the other's push parameters from its 200."""
    ext = await apps.extension()
    one, two = (
        apps.fcm_params("token-of-one"),
        "app-id=lab-project;pn-type=google;pn-tok=token-of-two",
    )
    await register(ext.phone(), one, instance="urn:x-lab:one")
    response = await register(ext.phone(), two, instance="urn:x-lab:two")
    mine, other = response.listed("Contact")
    assert "token-of-two" in mine
    assert not re.search("pn-|app-id|token", other)


async def in_a_call(
    apps: PushApps, *, transport: str, contact_params: str = ""
) -> tuple[Phone, Dialog, str]:
    """A phone that answered a call, the PBX's side of it, and the phone's push parameters.

    In `contact_params` `{}` is the reference that it was granted.
    """
    ext = await apps.extension()
    params = apps.fcm_params(apps.stage.fcm.device().token)
    phone = ext.phone(transport=transport)
    ((caps),) = feature_caps(await register(phone, params))
    await apps.stage.pbx.registered(ext.user)
    call = ext.call()
    incoming = await phone.incoming()
    incoming.contact_params = contact_params.format(caps["sip.pnspurr"])
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    assert dialog.remote_target.endswith(incoming.contact_params)
    assert apps.pushes() == 0
    return phone, dialog, params


async def refreshed(apps: PushApps) -> None:
    """The phone is asked to register, without a word about any call."""
    (push,) = await apps.pushed_by_fcm(1)
    assert push.data["type"] == "refresh"
    assert "call_id" not in push.data


@pytest.mark.parametrize("method", ["BYE", "INVITE"])
async def test_a_request_waits_for_the_phone_it_wakes(apps: PushApps, method: str) -> None:
    """In a call, and its connection is gone: the PBX's request waits, one push wakes the phone,
    and on its new connection it gets the request and answers it.
    """
    phone, dialog, params = await in_a_call(apps, transport="tcp")
    phone.sleep()
    dialog.send(method, body=sdp.HOLD if method == "INVITE" else b"")
    await refreshed(apps)
    assert (await register(phone, params)).status == 200
    request = await phone.agent.expect(method=method, within=5)
    contact = ("Contact", f"<{phone.contact}>")
    phone.agent.respond(request, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=sdp.ANSWER)
    answer = await dialog.agent.expect(method=method, status=200, within=5)
    if method == "INVITE":
        dialog.ack(answer)
        await phone.agent.expect(method="ACK", within=5)
    assert apps.pushes() == 1


@pytest.mark.parametrize(("contact_params", "pushed"), [(";ob;pn-purr={}", True), (";ob", False)])
async def test_a_phone_that_wants_to_be_woken_in_its_dialog(
    apps: PushApps, contact_params: str, *, pushed: bool
) -> None:
    """Its Contact in the call has the reference that it was granted, which passes and comes back
    in the request: the silent phone is pushed. Without it, it may be awake, in a call that we do
    not see, and is left alone.
    """
    phone, dialog, params = await in_a_call(apps, transport="udp", contact_params=contact_params)
    await asyncio.sleep(0.6)  # longer than it counts as awake
    dialog.send("INFO")
    info = await phone.agent.expect(method="INFO", within=5)
    if pushed:
        assert ";pn-purr=" in info.uri
        await refreshed(apps)
        assert (await register(phone, params)).status == 200
    phone.agent.respond(info, 200, "OK")
    await dialog.agent.expect(method="INFO", status=200, within=5)
    assert apps.pushes() == pushed
