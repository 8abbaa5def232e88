"""Our registrations on the wire, against a strict scripted registrar and Kamailio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.lab.kamailio import Kamailio, KamailioOptions
from tests.lab.pbx import Answer, Binding, Pbx
from tests.lab.sip_digest import digest_fields

from .conftest import MakeExtension

StartKamailio = Callable[[KamailioOptions], Awaitable[Kamailio]]
ALGORITHMS = [
    (("MD5",), "MD5"),
    (("SHA-256",), "SHA-256"),
    (("SHA-256", "MD5"), "SHA-256"),
    (("MD5", "SHA-256"), "SHA-256"),
]


@pytest.mark.parametrize(("offered", "used"), ALGORITHMS)
async def test_digest(extension: MakeExtension, offered: tuple[str, ...], used: str) -> None:
    """The strongest challenge is answered, in whatever order they stand."""
    async with Pbx(algorithms=offered) as pbx:
        ext = await extension(at=pbx)
        proof = digest_fields(pbx.registrations[-1].message.header("Authorization"))
        assert proof["algorithm"] == used
        shown = await ext.service.is_registered(ext.account)
        assert (shown["last_status"], shown["granted_s"]) == (200, 600)
        binding = await pbx.registered(ext.user)
        assert binding.uri.startswith(f"sip:{ext.user}@127.0.0.1:{ext.service.sip_port};pp=")


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


async def test_an_identical_put_sends_no_sip(extension: MakeExtension, pbx: Pbx) -> None:
    """Neither does the same device again."""
    ext = await extension()
    await ext.service.is_registered(ext.account)
    count = len(pbx.registrations)
    await ext.put()
    await ext.put_device()
    await pbx.agent.expect_nothing(within=0.3, method="REGISTER")
    assert len(pbx.registrations) == count


async def test_enabled_and_deleted(extension: MakeExtension, pbx: Pbx) -> None:
    """`enabled: false` and deletion unregister; `enabled: true` registers again."""
    ext = await extension()
    await ext.put(enabled=False)
    await pbx.unregistered(ext.user)
    await ext.put(enabled=True)
    await pbx.registered(ext.user)
    await ext.service.delete_account(ext.account)
    await pbx.unregistered(ext.user)


async def test_without_a_device_nothing_is_registered(extension: MakeExtension, pbx: Pbx) -> None:
    """The last device's end is the registration's end; `register: always` needs none."""
    ext = await extension()
    await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}/devices/handset")
    await pbx.unregistered(ext.user)
    await ext.put(register="always")
    await pbx.registered(ext.user)


async def test_a_wrong_password_stops_and_shows(extension: MakeExtension, pbx: Pbx) -> None:
    """Rejected after one right try, with advice; the right password is tried at once."""
    ext = await extension(registered=False, password="wrong")
    shown = await ext.service.registration_until(
        ext.account, lambda found: found["state"] == "rejected"
    )
    assert shown["last_status"] == 401
    assert "password" in shown["advice"]
    count = len(pbx.registrations)
    await pbx.agent.expect_nothing(within=0.5, method="REGISTER")
    assert len(pbx.registrations) == count == 2
    await ext.put()
    await ext.service.is_registered(ext.account)


async def test_forbidden_stops_and_shows(extension: MakeExtension, pbx: Pbx) -> None:
    """403 is for good."""
    pbx.always = Answer(403, "Forbidden")
    ext = await extension(registered=False)
    shown = await ext.service.registration_until(
        ext.account, lambda found: found["state"] == "rejected"
    )
    assert (shown["last_status"], shown["last_reason"]) == (403, "Forbidden")
    assert shown["next_attempt_at"] is None


async def test_unavailable_is_tried_again(extension: MakeExtension, pbx: Pbx) -> None:
    """503 with Retry-After, then it works; CSeq grows within one Call-ID."""
    pbx.answers.append(Answer(503, "Overloaded", (("Retry-After", "1"),)))
    ext = await extension(registered=False)
    await ext.service.registration_until(ext.account, lambda found: found["last_status"] == 503)
    await pbx.registered(ext.user, within=10)
    assert len({r.message.call_id for r in pbx.registrations}) == 1
    cseqs = [r.message.cseq for r in pbx.registrations]
    assert cseqs == sorted(set(cseqs))


async def test_too_brief(extension: MakeExtension) -> None:
    """423: what the PBX wants at least is asked for."""
    async with Pbx(min_expires_s=900) as pbx:
        ext = await extension(at=pbx)
        assert [r.status for r in pbx.registrations] == [401, 423, 200]
        shown = await ext.service.is_registered(ext.account)
        assert shown["granted_s"] == 900


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


async def test_a_restart_refreshes(extension: MakeExtension, pbx: Pbx) -> None:
    """After kill -9: the same Call-ID, a higher CSeq, the same Contact, never unregistered."""
    ext = await extension()
    await ext.service.is_registered(ext.account)
    before = pbx.registrations[-1].message
    count = len(pbx.registrations)
    ext.service.kill()
    await ext.service.start()
    (after, *_) = (await pbx.registers(count + 1))[count:]
    assert after.message.call_id == before.call_id
    assert after.message.cseq > before.cseq
    assert after.message.contact_uri == before.contact_uri
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
    assert (await caller.request("MESSAGE", contact)).status == 480
