"""Our registrations on the wire, against a strict scripted registrar and Kamailio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.lab.kamailio import Kamailio, KamailioOptions
from tests.lab.pbx import Binding, Pbx
from tests.lab.process import poll_until
from tests.lab.sip_digest import digest_fields
from tests.lab.sip_message import Message

from .conftest import MakeExtension

StartKamailio = Callable[[KamailioOptions], Awaitable[Kamailio]]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_kamailio(
    extension: MakeExtension, start_kamailio: StartKamailio, algorithm: str
) -> None:
    """A real PBX takes it, lists it, and loses it when the account goes."""
    kamailio = await start_kamailio(KamailioOptions(algorithm=algorithm))
    ext = await extension(registered=False)
    await ext.put(registrar=f"sip:{kamailio.domain}", password=kamailio.password(ext.user))
    await ext.service.is_registered(ext.account)
    (contact,) = await kamailio.bindings(ext.user)
    assert f":{ext.service.sip_port}" in contact.uri
    assert ";pp=" in contact.uri
    await ext.service.delete_account(ext.account)

    async def at_pbx() -> dict[str, object]:
        return {"bindings": await kamailio.bindings(ext.user)}

    await ext.service.eventually(
        at_pbx, lambda found: not found["bindings"], within=5, what="unregistration"
    )


async def test_refresh(extension: MakeExtension) -> None:
    """Before expiry, with the nonce used again; a stale one is answered; others' Contacts show."""
    async with Pbx(max_expires_s=2) as pbx:
        ext = await extension(at=pbx)
        refreshed = await pbx.registers(4)
        assert [r.status for r in refreshed] == [401, 200, 200, 200]
        last = refreshed[3].message
        assert digest_fields(last.header("Authorization"))["nc"] == "00000003"
        apart = refreshed[3].message.arrived_s - refreshed[2].message.arrived_s
        assert 1.4 < apart < 1.95
        pbx.forget_nonces()
        foreign = "<sip:desk@192.0.2.9:5060>"
        ours = await pbx.registered(ext.user)
        pbx.bindings[ext.user]["sip:desk@192.0.2.9:5060"] = Binding(
            foreign, ours.expires_at_s + 60, ours.source
        )
        again = await pbx.registers(6)
        assert [r.status for r in again[4:6]] == [401, 200]
        shown = await ext.service.registration_until(
            ext.account, lambda found: found["other_contacts"] != []
        )
        assert shown["other_contacts"] == ["sip:desk@192.0.2.9:5060"]
        assert "Other phones" in shown["advice"]


async def test_a_restart_goes_on_where_it_was(extension: MakeExtension, pbx: Pbx) -> None:
    """After kill -9: registered without a word; what comes next has the same Call-ID, a higher
    CSeq and the same Contact. Never unregistered.
    """
    ext = await extension()
    await ext.service.is_registered(ext.account)
    before = pbx.registrations[-1].message
    count = len(pbx.registrations)
    ext.service.kill()
    await ext.service.start()
    await ext.service.is_registered(ext.account)

    def renewed() -> list[Message]:
        """Fetches name no Contact."""
        return [r.message for r in pbx.registrations[count:] if r.message.all("Contact")]

    assert renewed() == []
    await ext.put(expires_s=700)
    assert await poll_until(lambda: bool(renewed()), within_s=5)
    after = renewed()[0]
    assert after.call_id == before.call_id
    assert after.cseq > before.cseq
    assert after.contact_uri == before.contact_uri
    await ext.service.is_registered(ext.account)


async def test_mail_and_qualify_are_answered(extension: MakeExtension, pbx: Pbx) -> None:
    """An unsolicited NOTIFY and OPTIONS get 200 while every phone sleeps."""
    ext = await extension()
    assert (await pbx.options(ext.user)).status == 200
    caller = pbx.as_caller("mailbox")
    caller.proxy = ext.service.sip_address
    contact = (await pbx.registered(ext.user)).uri
    event = ("Event", "message-summary"), ("Subscription-State", "terminated")
    assert (await caller.request("NOTIFY", contact, headers=event)).status == 200
    assert (await caller.request("SUBSCRIBE", contact)).status == 480
