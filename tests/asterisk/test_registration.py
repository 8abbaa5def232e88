"""Our registration at Asterisk while the phone sleeps."""

import pytest

from tests.lab.process import poll_until

from .conftest import MakeCaller, MakeSleeper
from .stage import Stage

pytestmark = pytest.mark.asterisk


async def test_qualify_of_a_sleeping_phone(sleeper: MakeSleeper, stage: Stage) -> None:
    """Asterisk asks by OPTIONS at once after REGISTER and every second; we answer for the phone
    that sleeps, so the contact stays available.
    """
    since = stage.hold.mark()
    ext = await sleeper("qualified")
    (contact,) = await stage.hold.wait_contacts(
        ext.user, lambda found: [each.status for each in found] == ["Avail"]
    )
    assert f":{stage.service.sip_port}" in contact.uri

    def answered() -> int:
        return sum(
            packet.message.status == 200 and packet.message.cseq_method == "OPTIONS"
            for packet in stage.hold.packets(since=since)
            if not packet.sent and not packet.message.is_request
        )

    assert await poll_until(lambda: answered() >= 3, within_s=5)
    (contact,) = await stage.hold.contacts(ext.user)
    assert contact.status == "Avail"


async def test_granted_one_second_low(sleeper: MakeSleeper) -> None:
    """Asterisk's 200 says one second less than it grants; what it says is believed."""
    ext = await sleeper(expires_s=300)
    shown = await ext.service.registration(ext.account)
    assert shown["granted_s"] in (299, 300)
    assert (shown["advice"], shown["other_contacts"]) == ("", [])


async def test_cut_to_the_maximum(sleeper: MakeSleeper, stage: Stage) -> None:
    """A PBX that grants seconds only is kept up: refreshed in time, the contact never goes."""
    since = stage.hold.mark()
    ext = await sleeper("brief")

    def refreshes() -> int:
        return sum(
            packet.message.status == 200 and packet.message.cseq_method == "REGISTER"
            for packet in stage.hold.packets(since=since)
            if packet.sent
            and not packet.message.is_request
            and f"<sip:{ext.user}@" in packet.message.header("To")
        )

    while refreshes() < 3:
        (_,) = await stage.hold.contacts(ext.user)
    shown = await ext.service.registration(ext.account)
    assert shown["state"] == "registered"
    assert shown["granted_s"] in (3, 4)
    assert shown["evictions"] == 0


async def test_rewritten_contact_is_ours(sleeper: MakeSleeper, stage: Stage) -> None:
    """With rewrite_contact Asterisk lists another address than we sent; it is recognised as ours:
    no other phone is shown, nothing is taken for an eviction.
    """
    ext = await sleeper("rewriting")
    shown = await ext.service.registration(ext.account)
    assert shown["state"] == "registered"
    assert (shown["other_contacts"], shown["advice"]) == ([], "")
    assert len(await stage.hold.contacts(ext.user)) == 1
    await ext.service.put_account(
        ext.account, ext.aor, pbx="hold-udp", password=ext.password, expires_s=120
    )
    await ext.service.registration_until(
        ext.account, lambda found: found["granted_s"] in (119, 120)
    )
    assert len(await stage.hold.contacts(ext.user)) == 1


async def test_deletion(sleeper: MakeSleeper, stage: Stage, callers: MakeCaller) -> None:
    """DELETE takes our contact away; the next caller hears from Asterisk itself."""
    ext = await sleeper()
    assert len(await stage.hold.contacts(ext.user)) == 1
    await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}")
    await stage.hold.wait_contacts(ext.user, lambda found: not found)
    caller = await callers()
    assert (await caller.call(ext.aor).final()).status == 404


async def test_wrong_password(sleeper: MakeSleeper, stage: Stage) -> None:
    """A wrong password is shown as rejected with advice and not tried again; the right one then
    registers at once.
    """
    ext = await sleeper()
    await ext.service.put_account(ext.account, ext.aor, pbx="hold-udp", password="wrong")
    shown = await ext.service.registration_until(
        ext.account, lambda found: found["state"] == "rejected"
    )
    assert shown["last_status"] in (401, 403)
    assert "credentials" in shown["advice"]
    assert shown["next_attempt_at"] is None
    await ext.service.put_account(ext.account, ext.aor, pbx="hold-udp", password=ext.password)
    await ext.service.is_registered(ext.account)
