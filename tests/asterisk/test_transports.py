"""The same calls with Asterisk over TCP and TLS, and phones over each transport."""

import pytest

from tests.lab import sdp
from tests.lab.fixtures import MakePjsua2

from .conftest import MakeCaller, MakeDesk, MakeSleeper
from .stage import Stage, sent
from .test_transfer import attended, blind, connect, hang_up, let_go, refer

pytestmark = pytest.mark.asterisk
PAIRS = [("tcp", "tcp"), ("tls", "tls"), ("tls", "udp"), ("udp", "tls"), ("tcp", "tls")]


@pytest.mark.parametrize(("pbx_leg", "phone_leg"), PAIRS)
@pytest.mark.parametrize(("kind", "who"), [("plain", "plain"), ("trunk", "at-trunk")])
async def test_call(
    sleeper: MakeSleeper, callers: MakeCaller, kind: str, who: str, pbx_leg: str, phone_leg: str
) -> None:
    """A sleeping phone is woken and answers; it holds and resumes; the caller hangs up, and in the
    next call the phone does. Asterisk speaks the transport that it should in both directions.
    """
    ext = await sleeper(kind, by=pbx_leg)
    caller = await callers(who, by=pbx_leg)
    since = ext.pbx.mark()
    async with ext.phone(phone_leg) as phone:
        ext.wake_on_push(phone.register)
        for phone_ends in (False, True):
            call = caller.call(ext.aor)
            incoming = await phone.incoming()
            incoming.ring()
            await call.expect(180)
            incoming.accept()
            dialog = await call.answered()
            await incoming.expect_ack()
            device = incoming.dialog()
            for offer in (sdp.HOLD, sdp.OFFER):
                assert (await device.reinvite(offer)).status == 200
            await hang_up(*((device, dialog) if phone_ends else (dialog, device)))
    call_id = incoming.invite.call_id
    seen = [each for each in ext.pbx.packets(since=since) if each.message.call_id == call_id]
    assert len(seen) > 10
    assert {each.transport for each in seen} == {pbx_leg}
    assert sum(sent("INVITE")(each) for each in seen) == 1


@pytest.mark.parametrize("by", ["tcp", "tls"])
async def test_connection_of_the_registration(
    sleeper: MakeSleeper, callers: MakeCaller, by: str
) -> None:
    """Qualify, and the call itself, come on the connection on which we registered, and the contact
    is available while the phone sleeps.
    """
    since = 0
    ext = await sleeper("qualified", by=by)
    await ext.pbx.wait_contacts(
        ext.user, lambda found: [each.status for each in found] == ["Avail"]
    )
    (contact,) = await ext.pbx.contacts(ext.user)
    assert f"transport={by}" in contact.uri
    registers = [
        each for each in ext.pbx.packets(since=since)
        if not each.sent and each.message.method == "REGISTER"
        and f"<sip:{ext.user}@" in each.message.header("To")
    ]  # fmt: skip
    assert {each.transport for each in registers} == {by}


@pytest.mark.parametrize("by", ["tcp", "tls"])
async def test_rewritten_contact(sleeper: MakeSleeper, callers: MakeCaller, by: str) -> None:
    """rewrite_contact over a connection: Asterisk notes the connection's far end, we know our
    contact in the list all the same, and a call reaches the phone.
    """
    ext = await sleeper("rewriting", by=by)
    shown = await ext.service.registration(ext.account)
    assert (shown["state"], shown["other_contacts"], shown["advice"]) == ("registered", [], "")
    caller = await callers()
    async with ext.phone(by) as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        await hang_up(*await connect(ext.pbx, call, await phone.incoming()))


@pytest.mark.parametrize("by", ["tcp", "tls"])
async def test_app_calls_out(sleeper: MakeSleeper, desks: MakeDesk, stage: Stage, by: str) -> None:
    """An app's call through us to a desk phone at Asterisk, challenged and answered."""
    ext = await sleeper(by=by)
    desk = await desks()
    async with ext.phone(by) as phone:
        assert (await phone.register()).status == 200
        call = phone.call(desk.aor)
        await hang_up(*await connect(ext.pbx, call, await desk.incoming()))
    assert (await ext.record())["direction"] == "outgoing"


@pytest.mark.parametrize("by", ["tcp", "tls"])
async def test_transfers(
    sleeper: MakeSleeper, desks: MakeDesk, callers: MakeCaller, by: str
) -> None:
    """Attended transfer by a woken phone to another sleeping one, which then transfers blindly to
    a desk phone.
    """
    first, second = await sleeper(by=by), await sleeper(by=by)
    desk = await desks()
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
        await first.pbx.wait_bridged(caller.user, second.user)
        assert (await refer(with_two, blind(desk.user))).status == 202
        at_desk = await desk.incoming()
        at_desk.accept()
        await at_desk.expect_ack()
        await let_go(with_two)
        await hang_up(with_caller, at_desk.dialog())


@pytest.mark.parametrize("by", ["udp", "tls"])
async def test_pjsua2(
    sleeper: MakeSleeper, make_pjsua2: MakePjsua2, callers: MakeCaller, by: str
) -> None:
    """A real phone on pjsip, woken by its push, answers a call through Asterisk over the same
    transport, and takes the caller's BYE.
    """
    ext = await sleeper(by=by)
    phone = ext.pjsua2(make_pjsua2, transport=by)
    ext.wake_on_push(phone.start)
    caller = await callers()
    call = caller.call(ext.aor)
    dialog = await call.answered(within=10)
    await phone.established()
    await ext.pbx.wait_bridged(caller.user, ext.user)
    assert (await dialog.bye()).status == 200
    await phone.ended()
    assert (await ext.record())["verdict"] == "answered"
