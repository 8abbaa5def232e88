"""Transfers through Asterisk, blind and attended, to and from a sleeping phone (RFC 3515, 3891)."""

import re
from urllib.parse import quote

import pytest

from tests.lab import sdp
from tests.lab.asterisk import Asterisk
from tests.lab.fixtures import MakeBaresip
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Header, Message

from .conftest import MakeCaller, MakeDesk, MakeSleeper
from .stage import REALM, TRANSPORTS, Stage

pytestmark = [pytest.mark.asterisk, pytest.mark.parametrize("by", TRANSPORTS)]


def blind(user: str) -> Header:
    """Refer-To an extension."""
    return "Refer-To", f"<sip:{user}@{REALM}>"


def attended(user: str, consultation: Dialog) -> Header:
    """Refer-To the far end of the transferor's own second dialog."""
    local_tag = re.search(r";tag=([^;]+)", consultation.local)
    remote_tag = re.search(r";tag=([^;]+)", consultation.remote)
    assert local_tag
    assert remote_tag
    # To-tag and from-tag as the one who gets the INVITE with Replaces knows them.
    value = f"{consultation.call_id};to-tag={remote_tag[1]};from-tag={local_tag[1]}"
    return "Refer-To", f"<sip:{user}@{REALM}?Replaces={quote(value, safe='')}>"


async def refer(dialog: Dialog, target: Header) -> Message:
    """Transfer the other side of `dialog`; the answer to REFER."""
    referred_by = ("Referred-By", f"<sip:transferor@{REALM}>")
    return await dialog.request("REFER", headers=(target, referred_by))


async def let_go(dialog: Dialog, *, told: int = 200) -> None:
    """The transferor hears by NOTIFY that its transfer came to this status; after success it hangs
    up (RFC 5589 §6.1).
    """
    while True:
        notify = await dialog.expect("NOTIFY")
        dialog.agent.respond(notify, 200, "OK")
        assert notify.header("Event").startswith("refer")
        if notify.body.startswith(f"SIP/2.0 {told} ".encode()):
            assert "terminated" in notify.header("Subscription-State")
            break
    if told == 200:
        assert (await dialog.bye()).status == 200


async def connect(
    pbx: Asterisk, call: OutgoingCall, incoming: IncomingCall
) -> tuple[Dialog, Dialog]:
    """Answer; the caller's and the called side of the call, once they can hear each other."""
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    by_trunk = pbx.options.trunk is not None and incoming.user.startswith("9")
    await pbx.wait_bridged(call.agent.name, "trunk" if by_trunk else incoming.user)
    return dialog, incoming.dialog()


async def hang_up(first: Dialog, second: Dialog) -> None:
    """BYE of the first reaches the second."""
    bye = first.send("BYE")
    await second.expect_bye()
    await first.agent.expect(within=5, where=lambda m: m.branch == bye.branch and m.status == 200)


async def test_blind_to_a_sleeping_phone(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, stage: Stage, by: str
) -> None:
    """A desk phone refers its caller to an extension whose phone sleeps: it wakes, gets the call,
    answers; the desk phone is told and let go, the caller talks to the woken phone.
    """
    ext = await sleeper(by=by)
    desk = await desks()
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(desk.aor)
        with_caller, with_desk = await connect(ext.pbx, call, await desk.incoming())
        assert (await refer(with_desk, blind(ext.user))).status == 202
        incoming = await phone.incoming()
        assert ext.sink.pushes[0].payload["caller_number"] == caller.user
        incoming.accept()
        await incoming.expect_ack()
        await let_go(with_desk)
        await hang_up(with_caller, incoming.dialog())
    assert (await ext.record())["verdict"] == "answered"


async def test_blind_by_the_caller_to_a_sleeping_phone(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, by: str
) -> None:
    """The same where the one who called transfers: the called desk phone ends up with it."""
    ext = await sleeper(by=by)
    desk = await desks()
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(desk.aor)
        with_caller, with_desk = await connect(ext.pbx, call, await desk.incoming())
        assert (await refer(with_caller, blind(ext.user))).status == 202
        incoming = await phone.incoming()
        incoming.accept()
        await incoming.expect_ack()
        await let_go(with_caller)
        await hang_up(incoming.dialog(), with_desk)


@pytest.mark.parametrize(("kind", "who"), [("plain", "plain"), ("trunk", "at-trunk")])
async def test_blind_by_the_woken_phone(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, kind: str, who: str, by: str
) -> None:
    """The woken phone refers its caller to a desk phone: REFER, its NOTIFYs and the last BYE all
    pass us, and the two others talk.
    """
    ext = await sleeper(kind, by=by)
    desk = await desks(who, by=by)
    caller = await callers(who, by=by)
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        with_caller, with_phone = await connect(ext.pbx, call, await phone.incoming())
        assert (await refer(with_phone, blind(desk.user))).status == 202
        at_desk = await desk.incoming()
        at_desk.accept()
        await at_desk.expect_ack()
        await let_go(with_phone)
        await hang_up(with_caller, at_desk.dialog())


async def test_blind_to_nobody(sleeper: MakeSleeper, callers: MakeCaller, by: str) -> None:
    """The woken phone refers to an extension that does not exist: it is told, and the call that
    it has goes on.
    """
    ext = await sleeper(by=by)
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        with_caller, with_phone = await connect(ext.pbx, call, await phone.incoming())
        assert (await refer(with_phone, blind("nobody"))).status == 202
        await let_go(with_phone, told=404)
        await hang_up(with_caller, with_phone)


async def test_blind_from_one_sleeping_phone_to_another(
    sleeper: MakeSleeper, callers: MakeCaller, by: str
) -> None:
    """One woken phone transfers its caller to another extension that sleeps behind us too."""
    first, second = await sleeper(by=by), await sleeper(by=by)
    caller = await callers()
    async with first.phone(by) as one, second.phone(by) as two:
        first.wake_on_push(one.register)
        second.wake_on_push(two.register)
        call = caller.call(first.aor)
        with_caller, with_one = await connect(first.pbx, call, await one.incoming())
        assert (await refer(with_one, blind(second.user))).status == 202
        incoming = await two.incoming()
        incoming.accept()
        await incoming.expect_ack()
        await let_go(with_one)
        await hang_up(incoming.dialog(), with_caller)
    assert (await second.record())["verdict"] == "answered"


async def test_attended_by_the_woken_phone(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, stage: Stage, by: str
) -> None:
    """The woken phone puts its caller on hold, calls a desk phone through us, and joins the two by
    REFER with Replaces: both its calls end, and theirs goes on.
    """
    ext = await sleeper(by=by)
    desk = await desks()
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        with_caller, with_phone = await connect(ext.pbx, call, await phone.incoming())
        assert (await with_phone.reinvite(sdp.HOLD)).status == 200
        consulting = phone.call(desk.aor)
        consultation, at_desk = await connect(ext.pbx, consulting, await desk.incoming())
        answer = await refer(with_phone, attended(desk.user, consultation))
        assert answer.status == 202
        await let_go(with_phone)
        await consultation.expect_bye()
        await hang_up(with_caller, at_desk)
    await ext.service.eventually(
        lambda: ext.service.expect("GET", f"/v1/calls?account={ext.account}"),
        lambda page: (
            sorted(each["direction"] for each in page["calls"]) == ["incoming", "outgoing"]
        ),
        within=5,
        what="record of both calls",
    )


async def test_attended_to_a_sleeping_phone(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, by: str
) -> None:
    """A desk phone consults the sleeping extension, which wakes and answers, and joins its caller
    with it by REFER with Replaces: the woken phone keeps its call.
    """
    ext = await sleeper(by=by)
    desk = await desks()
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(desk.aor)
        with_caller, with_desk = await connect(ext.pbx, call, await desk.incoming())
        consulting = desk.call(ext.aor)
        consultation, with_phone = await connect(ext.pbx, consulting, await phone.incoming())
        assert (await refer(with_desk, attended(ext.user, consultation))).status == 202
        await let_go(with_desk)
        await consultation.expect_bye()
        await hang_up(with_caller, with_phone)
    assert (await ext.record())["verdict"] == "answered"


async def test_attended_between_two_sleeping_phones(
    sleeper: MakeSleeper, callers: MakeCaller, by: str
) -> None:
    """The woken phone consults another sleeping one, and joins its caller with it: all four legs
    of the service's are told apart.
    """
    first, second = await sleeper(by=by), await sleeper(by=by)
    caller = await callers()
    async with first.phone(by) as one, second.phone(by) as two:
        first.wake_on_push(one.register)
        second.wake_on_push(two.register)
        call = caller.call(first.aor)
        with_caller, with_one = await connect(first.pbx, call, await one.incoming())
        consulting = one.call(second.aor)
        consultation, with_two = await connect(first.pbx, consulting, await two.incoming())
        assert (await refer(with_one, attended(second.user, consultation))).status == 202
        await let_go(with_one)
        await consultation.expect_bye()
        await hang_up(with_two, with_caller)


async def test_baresip_transfers(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, make_baresip: MakeBaresip, by: str
) -> None:
    """A real phone, started by its push, transfers its caller to a desk phone."""
    ext = await sleeper(by=by)
    desk = await desks()
    caller = await callers()
    phone = ext.baresip(make_baresip, transport=by)
    ext.wake_on_push(phone.start)
    call = caller.call(ext.aor)
    with_caller = await call.answered(within=10)
    await phone.established()
    await ext.pbx.wait_bridged(caller.user, ext.user)
    await phone.command("transfer", f"sip:{desk.user}@{REALM}")
    at_desk = await desk.incoming()
    at_desk.accept()
    await at_desk.expect_ack()
    await phone.hang_up()
    await ext.pbx.wait_hung_up(ext.user)
    await hang_up(with_caller, at_desk.dialog())
