"""Our registrations at a PBX that does what real ones do: challenge, limit, evict, fail."""

from hashlib import md5
from itertools import pairwise

import pytest

from tests.lab.pbx import SILENCE, Answer, Pbx
from tests.lab.phone import Phone
from tests.lab.process import poll_until
from tests.lab.sip_digest import digest_fields
from tests.lab.sip_message import uri_of

from .conftest import MakeExtension


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ("SHA-256", "MD5")])
async def test_digest(extension: MakeExtension, pbx: Pbx, algorithms: tuple[str, ...]) -> None:
    """The PBX's challenge is answered in the best algorithm that it offers; status and expiry
    are shown; our Contact is short and carries nothing of the app.
    """
    pbx.algorithms = algorithms
    ext = await extension(expires_s=120)
    shown = await ext.service.is_registered(ext.account)
    assert (shown["last_status"], shown["granted_s"], shown["other_contacts"]) == (200, 120, [])
    binding = await pbx.registered(ext.user)
    assert binding.uri.startswith("sip:{}@{}:{};pp=".format(ext.user, *ext.service.sip_address))
    first, second = pbx.registrations
    assert [first.status, second.status] == [401, 200]
    fields = digest_fields(second.message.header("Authorization"))
    assert fields["algorithm"] == algorithms[0]
    assert first.message.call_id == second.message.call_id
    assert first.message.cseq < second.message.cseq
    assert "pn-" not in str(second.message)


async def test_ha1_instead_of_a_password(extension: MakeExtension, pbx: Pbx) -> None:
    """An account with an HA1 registers without us ever holding the password."""
    ext = await extension(registered=False)
    ha1 = md5(f"{ext.user}:{pbx.realm}:{pbx.password(ext.user)}".encode()).hexdigest()
    before = len(pbx.registrations)
    await ext.put(password=None, ha1={"MD5": ha1}, realm=pbx.realm)
    await pbx.registers(before + 1)
    await ext.service.is_registered(ext.account)


async def test_too_brief(extension: MakeExtension, pbx: Pbx) -> None:
    """423: asked again at once with the PBX's Min-Expires."""
    pbx.min_expires_s = 900
    ext = await extension()
    shown = await ext.service.is_registered(ext.account)
    assert shown["granted_s"] == 900
    assert [r.status for r in pbx.registrations] == [401, 423, 200]


async def test_cut_expiry(extension: MakeExtension, pbx: Pbx) -> None:
    """A PBX that grants less is refreshed in good time, with the same Call-ID and a higher CSeq,
    and holds one Contact of ours.
    """
    pbx.max_expires_s = 3
    ext = await extension()
    await poll_until(lambda: _accepted(pbx) >= 3, within_s=8)
    refreshes = [r.message for r in pbx.registrations if r.status == 200]
    gaps = [b.arrived_s - a.arrived_s for a, b in pairwise(refreshes)]
    assert gaps
    assert all(1.9 < gap < 3 for gap in gaps), gaps
    assert len({message.call_id for message in refreshes}) == 1
    assert len(pbx.bindings[ext.user]) == 1
    shown = await ext.service.is_registered(ext.account)
    assert shown["granted_s"] == 3


async def test_stale_nonce(extension: MakeExtension, pbx: Pbx) -> None:
    """A refresh with a nonce that the PBX has forgotten is challenged as stale and goes through:
    it is no wrong password.
    """
    pbx.max_expires_s = 3
    ext = await extension()
    pbx.forget_nonces()
    await poll_until(lambda: _accepted(pbx) >= 2, within_s=5)
    assert [r.status for r in pbx.registrations][:4] == [401, 200, 401, 200]
    assert (await ext.service.registration(ext.account))["state"] == "registered"


async def test_overloaded(extension: MakeExtension, pbx: Pbx) -> None:
    """503 with Retry-After: shown as retrying, asked again after that time, registered then."""
    pbx.answers.append(Answer(503, "Overloaded", (("Retry-After", "3"),)))
    ext = await extension(registered=False)
    shown = await ext.service.registration_until(
        ext.account, lambda found: found["state"] == "retrying"
    )
    assert (shown["last_status"], shown["last_reason"]) == (503, "Overloaded")
    assert shown["next_attempt_at"]
    await pbx.registered(ext.user, within=6)
    refused, again = pbx.registrations[:2]
    assert again.message.arrived_s - refused.message.arrived_s >= 3


async def test_silent_pbx(extension: MakeExtension, pbx: Pbx) -> None:
    """A REGISTER without an answer is repeated by the transaction; a late answer is fine."""
    pbx.answers += [SILENCE, SILENCE]
    ext = await extension()
    await ext.service.is_registered(ext.account)
    first, second, third = (r.message for r in pbx.registrations[:3])
    assert first.branch == second.branch == third.branch


async def test_wrong_password(extension: MakeExtension, pbx: Pbx) -> None:
    """A wrong password is shown as rejected, with advice, logged by the account's name, and not
    tried again and again; the right one, given later, registers at once.
    """
    mark = 0
    ext = await extension(registered=False, password="wrong")
    shown = await ext.service.registration_until(
        ext.account, lambda found: found["state"] == "rejected"
    )
    assert shown["last_status"] == 401
    assert "password" in shown["advice"]
    assert shown["next_attempt_at"] is None
    assert f"demo/{ext.account}" in ext.service.process.output(since=mark)
    tried = len(pbx.registrations)
    assert tried <= 3
    await pbx.agent.expect_nothing(within=1, method="REGISTER")
    assert len(pbx.registrations) == tried
    await ext.put()
    await pbx.registered(ext.user)


async def test_forbidden(extension: MakeExtension, pbx: Pbx) -> None:
    """403 is for good: rejected, the PBX's words shown, no further REGISTER."""
    pbx.always = Answer(403, "Too Many Contacts")
    ext = await extension(registered=False)
    shown = await ext.service.registration_until(
        ext.account, lambda found: found["state"] == "rejected"
    )
    assert (shown["last_status"], shown["last_reason"]) == (403, "Too Many Contacts")
    assert shown["advice"]
    count = len(pbx.registrations)
    assert count == 1
    # What clears it: any change of the account that touches the registration.
    pbx.always = None
    await ext.put(enabled=False)
    await ext.put(enabled=True)
    await pbx.registered(ext.user)


async def test_other_phones_on_the_extension(extension: MakeExtension, pbx: Pbx) -> None:
    """Contacts of others at the PBX are shown, and that calls may ring there too."""
    ext = await extension("a", registered=False, enabled=False)
    async with Phone(
        pbx.aor(ext.user), proxy=pbx.agent.address, password=pbx.password(ext.user)
    ) as desk_phone:
        assert (await desk_phone.register()).status == 200
        await ext.put(enabled=True)
        shown = await ext.service.is_registered(ext.account)
        assert shown["other_contacts"] == [desk_phone.contact]
        assert "Other phones" in shown["advice"]


async def test_evicted(extension: MakeExtension, pbx: Pbx) -> None:
    """A PBX with one contact for the extension gave our place to another phone: what we find
    there is shown, and we are there again after the refresh.
    """
    pbx.single_contact, pbx.max_expires_s = True, 3
    ext = await extension()
    async with Phone(
        pbx.aor(ext.user), proxy=pbx.agent.address, password=pbx.password(ext.user)
    ) as desk_phone:
        await desk_phone.register()
        assert list(pbx.bindings[ext.user]) == [desk_phone.contact]
        assert await poll_until(
            lambda: any(";pp=" in uri for uri in pbx.bindings[ext.user]), within_s=5
        )


async def test_enabled_false(extension: MakeExtension, pbx: Pbx) -> None:
    """`enabled: false` sends no SIP; switched off it unregisters, switched on it registers."""
    ext = await extension(enabled=False, registered=False)
    assert (await ext.service.registration(ext.account))["state"] == "unused"
    await pbx.agent.expect_nothing(within=0.3)
    assert pbx.registrations == []
    await ext.put(enabled=True)
    await pbx.registered(ext.user)
    await ext.put(enabled=False)
    await pbx.unregistered(ext.user)


async def test_register_policy(extension: MakeExtension, pbx: Pbx) -> None:
    """`with_device` registers from the first device to the last; `always` needs none."""
    ext = await extension("a", "b")
    devices = f"/v1/accounts/{ext.account}/devices"
    await ext.service.expect("DELETE", f"{devices}/a")
    await ext.service.is_registered(ext.account)
    await ext.service.expect("DELETE", f"{devices}/b")
    await pbx.unregistered(ext.user)
    await ext.put(register="always")
    await pbx.registered(ext.user)


async def test_identical_put(extension: MakeExtension, pbx: Pbx) -> None:
    """The same account and device again send no SIP and change nothing; nor does a change that
    the PBX has no part in send any.
    """
    ext = await extension()
    await ext.service.is_registered(ext.account)
    before = len(pbx.registrations)
    first = await ext.put()
    again = await ext.put()
    await ext.put_device()
    assert first["updated_at"] == again["updated_at"]
    # What the PBX does not see changes nothing there either.
    await ext.put(language="de", wake={"deadline_s": 20})
    await ext.put_device(platform="android", permissions={"notifications": True})
    await pbx.agent.expect_nothing(within=0.3)
    assert len(pbx.registrations) == before


async def test_deletion_unregisters(extension: MakeExtension, pbx: Pbx) -> None:
    """DELETE removes our Contact, and only ours, from the PBX."""
    ext = await extension()
    async with Phone(
        pbx.aor(ext.user), proxy=pbx.agent.address, password=pbx.password(ext.user)
    ) as desk_phone:
        await desk_phone.register()
        await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}")
        assert await poll_until(
            lambda: list(pbx.bindings[ext.user]) == [desk_phone.contact], within_s=5
        )
    goodbye = pbx.registrations[-1].message
    assert goodbye.get("Expires") == "0"
    assert ";pp=" in uri_of(goodbye.header("Contact"))


async def test_moves_to_another_pbx(extension: MakeExtension, pbx: Pbx) -> None:
    """An account that moves is unregistered at the old PBX and registered at the new one."""
    ext = await extension()
    async with Pbx() as other:
        await ext.put(registrar=f"sip:{other.domain}")
        await other.registered(ext.user)
        await pbx.unregistered(ext.user)


async def test_pbx_that_was_away(extension: MakeExtension, pbx: Pbx) -> None:
    """A PBX that is down when the account is made is asked again until it answers."""
    ext = await extension(registered=False, enabled=False)
    port = pbx.agent.address[1]
    pbx.stop()
    await ext.put(enabled=True)
    shown = await ext.service.registration_until(
        ext.account, lambda found: found["state"] in ("pending", "retrying")
    )
    assert shown["state"] in ("pending", "retrying")
    await pbx.start(port=port)
    await pbx.registered(ext.user, within=6)


def _accepted(pbx: Pbx) -> int:
    return sum(1 for registration in pbx.registrations if registration.status == 200)
