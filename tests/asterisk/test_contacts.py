"""Several phones on one extension: limits, evictions, mailboxes, and an Asterisk that restarts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lab.asterisk import AsteriskOptions, Extension
from tests.lab.asterisk.fixtures import StartAsterisk
from tests.lab.certificates import Authority
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .conftest import TRANSPORTS, MakeCaller, MakeDesk, MakeSleeper
from .stage import REALM, Sleeper, Stage, desk, desk_caller

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


@pytest.fixture
async def pair(
    start_asterisk: StartAsterisk,
    workdir: Path,
    push_sink: PushSink,
    authority: Authority,
) -> AsyncIterator[Sleeper]:
    """An extension of an Asterisk of the test's own, which the service looks after each second."""
    believes = {"tls": {"tls": {"ca": str(authority.ca)}}}
    options = AsteriskOptions(
        realm=REALM,
        tls=authority.issue(),
        extensions=(
            Extension("101", max_contacts=1, remove_existing=True),
            *(Extension(user) for user in ("102", "103", "104", "105")),
        ),
    )
    asterisk = await start_asterisk(options)
    service = LabService(
        workdir / "service",
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            pbxes={
                by: {"registrar": asterisk.uri(by), "qualify_s": 1, **believes.get(by, {})}
                for by in TRANSPORTS
            },
            listen=TRANSPORTS,
            tls=authority.issue().files,
        ),
    )
    await service.start()
    yield Sleeper(service=service, pbx=asterisk, sink=push_sink, user="101")
    await service.stop()


async def test_eviction(pair: Sleeper) -> None:
    """max_contacts=1 with remove_existing: another phone registers and puts us out, silently. The
    next check notices, takes the place back, and the status counts it and says what to do.
    """
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


async def rings(pair: Sleeper) -> None:
    """A call comes through to the phone, which is woken for it."""
    async with desk_caller(pair.pbx, "103") as caller, pair.phone() as phone:
        pair.wake_on_push(phone.register)
        call = caller.call(pair.aor)
        incoming = await phone.incoming()
        incoming.reject(486, "Busy Here")
        await incoming.expect_ack()
        assert (await call.final()).status == 486


@pytest.mark.parametrize("by", TRANSPORTS)
async def test_restart_with_memory(pair: Sleeper, by: str) -> None:
    """Asterisk keeps contacts in its database: after a restart a call reaches us as before; over
    TCP and TLS by a connection of its own to our listener, if ours is not there yet.
    """
    pair.user = "102"
    await pair.provision(by)
    await pair.pbx.restart()
    assert len(await pair.pbx.contacts("102")) == 1
    await rings(pair)


@pytest.mark.parametrize("by", TRANSPORTS)
async def test_restart_without_memory(pair: Sleeper, by: str) -> None:
    """An Asterisk that comes back without its database has forgotten us: that is noticed, every
    account is registered again, and a call comes through.
    """
    for user in ("104", "105", "102"):
        pair.user = user
        await pair.provision(by)
    await pair.pbx.forget()
    for user in ("104", "105", "102"):
        await pair.pbx.wait_contacts(user, lambda found: len(found) == 1, within_s=10)
    await rings(pair)
