"""The same calls with Asterisk over TCP and TLS, and phones over each transport."""

import pytest

from tests.lab import sdp
from tests.lab.fixtures import MakePjsua2

from .conftest import MakeCaller, MakeSleeper
from .stage import TRANSPORTS, Stage, sent
from .test_transfer import connect, hang_up

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
@pytest.mark.parametrize("kind", ["qualified", "rewriting"])
async def test_connection_of_the_registration(
    sleeper: MakeSleeper, callers: MakeCaller, stage: Stage, kind: str, by: str
) -> None:
    """Qualify and the call come on one connection that Asterisk opens to our listener; with
    rewrite_contact on the one on which we registered. The contact is available in either case.
    """
    since = stage.hold.mark()
    ext = await sleeper(kind, by=by)
    (contact,) = await ext.pbx.wait_contacts(
        ext.user, lambda found: [each.status for each in found] == ["Avail"]
    )
    assert f"transport={by}" in contact.uri.lower()
    caller = await callers()
    call = caller.call(ext.aor)
    await call.expect(180)
    await call.cancel()

    def peers(method: str, uri: str) -> set[tuple[str, tuple[str, int]]]:
        return {
            (each.transport, each.peer)
            for each in ext.pbx.packets(since=since)
            if each.message.is_request
            and each.message.method == method
            and uri in (each.message.header("To") if method == "REGISTER" else each.message.uri)
        }

    (registered,) = peers("REGISTER", f"sip:{ext.user}@")
    listener = (by, stage.service.sip_at(by))
    assert registered[0] == by
    assert registered != listener
    expected = {registered if kind == "rewriting" else listener}
    assert peers("OPTIONS", f"sip:{ext.user}@") == expected
    assert peers("INVITE", f"sip:{ext.user}@127.0.0.1") == expected


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


@pytest.mark.parametrize("by", TRANSPORTS)
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
