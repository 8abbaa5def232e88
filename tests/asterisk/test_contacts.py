"""Several phones on one extension: limits and evictions."""

import pytest

from .conftest import MakeCaller, MakeDesk, MakeSleeper
from .pair import REPLACING
from .stage import Sleeper, Stage, desk

pytestmark = pytest.mark.asterisk


async def test_no_place_for_us(sleeper: MakeSleeper, desks: MakeDesk, stage: Stage) -> None:
    """max_contacts=1, and the desk phone has the place: Asterisk's 403 is shown as rejected, with
    advice that names the limit of contacts; the desk phone keeps its place.
    """
    phone = await desks("single")
    account = f"ext-{phone.user}"
    await stage.service.put_account(
        account,
        phone.aor,
        pbx="hold-udp",
        password=stage.hold.password(phone.user),
        register="always",
    )
    shown = await stage.service.registration_until(
        account, lambda found: found["state"] == "rejected"
    )
    assert shown["last_status"] == 403
    assert "limit of contacts" in shown["advice"]
    (contact,) = await stage.hold.contacts(phone.user)
    assert contact.uri == phone.contact
    await stage.service.delete_account(account)


async def test_our_place_is_kept(sleeper: MakeSleeper, stage: Stage, callers: MakeCaller) -> None:
    """max_contacts=1, and we have the place: the desk phone is refused, our own re-registration
    is not, and calls come to us.
    """
    ext = await sleeper("single")
    async with desk(stage.hold, ext.user) as phone:
        assert (await phone.register()).status == 403
    await stage.service.put_account(
        ext.account, ext.aor, pbx="hold-udp", password=ext.password, expires_s=120
    )
    shown = await stage.service.registration_until(
        ext.account, lambda found: found["granted_s"] in (119, 120)
    )
    assert (shown["state"], shown["advice"]) == ("registered", "")
    assert len(await stage.hold.contacts(ext.user)) == 1
    caller = await callers()
    call = caller.call(ext.aor)
    await call.expect(180)
    await ext.sink.wait(1, kind="call")
    await call.cancel()


async def test_we_replace_another_phone(
    sleeper: MakeSleeper, desks: MakeDesk, stage: Stage
) -> None:
    """max_contacts=1 with remove_existing: our REGISTER puts the desk phone out."""
    phone = await desks("replacing")
    ext = await sleeper("replacing", user=phone.user)
    (contact,) = await stage.hold.contacts(ext.user)
    assert f":{stage.service.sip_port}" in contact.uri


async def test_other_phones_are_shown(sleeper: MakeSleeper, desks: MakeDesk) -> None:
    """A desk phone on the same extension: the status lists its contact and says what that means."""
    ext = await sleeper()
    phone = await desks(user=ext.user)
    await ext.service.put_account(
        ext.account, ext.aor, pbx="hold-udp", password=ext.password, expires_s=120
    )
    shown = await ext.service.registration_until(
        ext.account, lambda found: bool(found["other_contacts"])
    )
    assert shown["other_contacts"] == [phone.contact]
    assert "Other phones" in shown["advice"]


async def test_eviction(pair: Sleeper) -> None:
    """max_contacts=1 with remove_existing: another phone registers and puts us out, silently. The
    next check notices, takes the place back, and the status counts it and says what to do.
    """
    pair.user = REPLACING
    await pair.provision("udp")
    async with desk(pair.pbx, pair.user) as phone:
        assert (await phone.register()).status == 200
        shown = await pair.service.registration_until(
            pair.account, lambda found: found["evictions"] > 0
        )
        await pair.service.is_registered(pair.account)
        (contact,) = await pair.pbx.wait_contacts(
            pair.user, lambda found: [each.uri for each in found] != [phone.contact]
        )
        assert f":{pair.service.sip_port}" in contact.uri
    assert "another phone may have taken its place" in shown["advice"]
