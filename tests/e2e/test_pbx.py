"""Kamailio as a PBX that refuses, forgets, or is restarted."""

import pytest

from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import Kamailio, KamailioOptions
from tests.lab.process import poll_until
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService

from .conftest import Extension, MakeExtension


def registers(kamailio: Kamailio, user: str) -> int:
    return sum(
        event.matches(event="request", method="REGISTER", to_user=user)
        for event in kamailio.events()
    )


@pytest.mark.parametrize("forbidden", [False, True])
async def test_wrong_password(
    own_service: LabService, start_kamailio: StartKamailio, forbidden: bool
) -> None:
    """A wrong password is shown as rejected with advice, and the PBX is not hammered; the right
    one, given later, registers at once.
    """
    kamailio = await start_kamailio(KamailioOptions(wrong_password_is_forbidden=forbidden))
    fields = {"registrar": f"sip:{kamailio.domain}", "register": "always"}
    await own_service.put_account("ext", "sip:101@pbx.test", password="wrong", **fields)
    shown = await own_service.registration_until("ext", lambda found: found["state"] == "rejected")
    assert shown["last_status"] == (403 if forbidden else 401)
    assert shown["advice"]
    assert shown["next_attempt_at"] is None
    tried = registers(kamailio, "101")
    assert tried <= 3
    assert not await poll_until(lambda: registers(kamailio, "101") > tried, within_s=1.5)
    await own_service.put_account("ext", "sip:101@pbx.test", password="pw-101", **fields)
    await own_service.is_registered("ext")


async def test_pbx_restart(
    own_service: LabService, start_kamailio: StartKamailio, push_sink: PushSink
) -> None:
    """A restarted PBX has forgotten us: with the next refresh we are there again, and a call
    goes through.
    """
    kamailio = await start_kamailio(KamailioOptions(max_expires_s=5))
    ext = Extension(service=own_service, pbx=kamailio, sink=push_sink, user="101")
    await ext.provision()
    await kamailio.restart()
    for _ in range(100):
        if await kamailio.bindings("101"):
            break
        await poll_until(lambda: False, within_s=0.07)
    (binding,) = await kamailio.bindings("101")
    assert f":{own_service.sip_port}" in binding.uri
    async with ext.caller() as caller, ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.reject(486, "Busy Here")
        assert (await call.final()).status == 486


async def test_deletion_unregisters(extension: MakeExtension) -> None:
    """DELETE takes our Contact away from the PBX; a caller then gets the PBX's own 404."""
    ext = await extension()
    assert len(await ext.pbx.bindings(ext.user)) == 1
    await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}")
    await ext.pbx.wait_for(
        event="own-response", method="REGISTER", status=200, to_user=ext.user, cseq=3
    )
    assert await ext.pbx.bindings(ext.user) == []
    async with ext.caller() as caller:
        assert (await caller.call(ext.aor).final()).status == 404


async def test_qualify(
    own_service: LabService, start_kamailio: StartKamailio, push_sink: PushSink
) -> None:
    """A PBX that qualifies its contacts by OPTIONS keeps ours, though the phone sleeps."""
    kamailio = await start_kamailio(KamailioOptions(qualify_s=1, qualify_limit_s=2))
    ext = Extension(service=own_service, pbx=kamailio, sink=push_sink, user="101")
    await ext.provision()
    for cseq in range(3):
        await kamailio.wait_for(event="response", method="OPTIONS", status=200, within_s=5)
        assert len(await kamailio.bindings("101")) == 1, cseq


async def test_sha256(
    own_service: LabService, start_kamailio: StartKamailio, push_sink: PushSink
) -> None:
    """A PBX that challenges with SHA-256 alone is registered at."""
    kamailio = await start_kamailio(KamailioOptions(algorithm="SHA-256"))
    ext = Extension(service=own_service, pbx=kamailio, sink=push_sink, user="101")
    await ext.provision()
    assert len(await kamailio.bindings("101")) == 1


async def test_desk_phone_beside(extension: MakeExtension) -> None:
    """A desk phone on the same extension answers: the sleeping phone is told by push that the
    call was taken elsewhere, and gets no INVITE when it comes.
    """
    ext = await extension()
    desk = ext.phone()
    desk.proxy = ext.pbx.address
    async with ext.caller() as caller, desk, ext.phone() as phone:
        await desk.register()
        call = caller.call(ext.aor)
        incoming = await desk.incoming()
        await ext.sink.wait(1, kind="call")
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        await ext.sink.wait(1, kind="answered_elsewhere")
        await phone.register()
        await phone.agent.expect_nothing(within=0.2, method="INVITE")
        assert (await ext.record())["verdict"] == "answered_elsewhere"
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
