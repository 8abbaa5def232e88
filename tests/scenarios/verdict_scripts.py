"""What happens in calls: one script for each way to end, and for each thing that becomes known."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from tests.doubles.fcm import error
from tests.lab.pbx import Binding, Pbx
from tests.lab.push_sink import Reply
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_message import Header

from .verdict_stage import PATIENCE_S, Act

Script = Callable[[Act], Awaitable[None]]
SILENCE_S = 2.0
IMPATIENT = {"deadline_s": 5, "ack_s": SILENCE_S, "repush_after_s": None}
"""Of accounts whose phones stay silent: nobody has to wait for the deadline."""
GRACE_S = 5.0
"""As long as a silence has to last before it counts as a failure."""
LATE_S = GRACE_S - SILENCE_S + 0.3
"""So long after the end of such a call a push has taken more than that."""
NO_ANSWER: Header = ("Reason", 'Q.850;cause=19;text="no answer"')
ELSEWHERE: Header = ("Reason", 'SIP;cause=200;text="Call completed elsewhere"')


def clock() -> str:
    """The app's own, which is an hour slow."""
    return datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()


# nobody comes


async def nobody_comes(act: Act) -> None:
    """The push is taken, and that is all."""
    final = await act.ext.call().final(within=PATIENCE_S)
    assert final.status == 480, final


def late(event: str = "push_received", *, after_s: float = LATE_S, **said: Any) -> Script:
    """The app reports when the call is over."""

    async def script(act: Act) -> None:
        await nobody_comes(act)
        await act.ended()
        if after_s:
            await act.pause(after_s)
        await act.report(event, **said)

    return script


async def had_it_in_time(act: Act) -> None:
    """The push was there at once; the app could not say so until later."""
    call = act.ext.call()
    await act.ext.pushed()
    at = clock()
    assert (await call.final(within=PATIENCE_S)).status == 480
    await act.pause(LATE_S)
    await act.report("push_received", at=at, sent_at=clock())


async def registers_late(act: Act) -> None:
    """The phone comes by itself when the call is over."""
    await nobody_comes(act)
    await act.pause(LATE_S)
    assert (await act.ext.phone().register()).status == 200


async def gives_up_and_push_comes_late(act: Act) -> None:
    """The caller has no patience, and then the push comes late."""
    call = act.ext.call()
    await act.ext.pushed()
    await call.cancel()
    await act.pause(GRACE_S + 0.2)
    await act.report("push_received")


async def stops_waking(act: Act) -> None:
    """Three calls wake the phone, three do not any more."""
    for _ in range(3):
        _call, incoming = await act.ext.woken()
        incoming.reject(486, "Busy Here")
        await incoming.expect_ack()
        await act.ext.phones[-1].unregister()
    await act.ext.put(wake=IMPATIENT)
    for _ in range(3):
        await nobody_comes(act)
        await act.ended()


# the app is there, the phone is not


def only_reports(*events: str, **said: Any) -> Script:
    """The app says something, and never registers."""

    async def script(act: Act) -> None:
        call = act.ext.call()
        await act.ext.pushed()
        for event in events:
            await act.report(event, **said)
        assert (await call.final(within=PATIENCE_S)).status == 480

    return script


async def reports_then_registers_late(act: Act) -> None:
    """The app woke, and was too slow."""
    await only_reports("push_received")(act)
    await act.pause(0.3)
    assert (await act.ext.phone().register()).status == 200


# the phone has the call


async def keeps_silent(act: Act) -> None:
    """The phone takes the INVITE and does nothing with it, until the caller gives up."""
    call, incoming = await act.ext.woken()
    incoming.trying()
    await act.pause(GRACE_S + 0.3)
    await call.cancel()
    await incoming.expect_cancel()


def refuses(status: int, *, ring: bool = False) -> Script:
    """The phone's own refusal."""

    async def script(act: Act) -> None:
        call, incoming = await act.ext.woken()
        if ring:
            incoming.ring()
        incoming.reject(status, "No")
        await incoming.expect_ack()
        await call.final()

    return script


def rings_until(*reason: Header) -> Script:
    """It rings and rings, until the PBX cancels, with this Reason."""

    async def script(act: Act) -> None:
        call, incoming = await act.ext.woken()
        incoming.ring()
        await call.expect(180)
        call.send_cancel(headers=reason)
        await incoming.expect_cancel()
        await call.final()

    return script


async def talks(act: Act) -> None:
    """A call as it should be."""
    call, incoming = await act.ext.woken()
    await _talk(call, incoming)


async def talks_awake(act: Act) -> None:
    """The phone is registered and fresh: it is rung without a push."""
    phone = act.ext.phone()
    await phone.register()
    call = act.ext.call()
    await _talk(call, await phone.incoming())
    assert act.ext.pushes() == []


async def _talk(call: OutgoingCall, incoming: IncomingCall) -> None:
    incoming.ring()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()


def cancelled(*reason: Header) -> Script:
    """The PBX cancels while the phone wakes."""

    async def script(act: Act) -> None:
        call = act.ext.call()
        await act.ext.pushed()
        await call.cancel(headers=reason)

    return script


def answered_by(status: int) -> Script:
    """The PBX gets this at once."""

    async def script(act: Act) -> None:
        final = await act.ext.call().final(within=PATIENCE_S)
        assert final.status == status, final

    return script


# the push


def webhook_says(status: int) -> Script:
    """The backend refuses the push."""

    async def script(act: Act) -> None:
        act.stage.replies[act.ext.account] = Reply(status=status)
        await nobody_comes(act)

    return script


def google_says(code: str) -> Script:
    """FCM refuses the push to the handset, which has a token of FCM now."""

    async def script(act: Act) -> None:
        await _by_google(act, code)
        await nobody_comes(act)

    return script


def google_delivers(priority: str) -> Script:
    """FCM takes the push, and the app says much later with which priority it came."""

    async def script(act: Act) -> None:
        await _by_google(act)
        await nobody_comes(act)
        call = (await act.ended())["id"]
        await act.report("push_received", call=call, priority=priority)

    return script


async def _by_google(act: Act, code: str = "") -> None:
    device = act.stage.fcm.device()
    if code:
        act.stage.fcm.always_for(device.token, error(code))
    await act.ext.put_device(provider="fcm", token=device.token)


async def token_has_died(act: Act) -> None:
    """The call before has told that the token is dead: nothing is left to push to."""
    await webhook_says(410)(act)
    await act.ended()
    final = await act.ext.call().final(within=PATIENCE_S)
    assert final.get("X-Push-Reason") == "no_device"


async def only_enrolled(act: Act) -> None:
    """The app has a key, and has not handed in a token."""
    service, account = act.ext.service, act.ext.account
    await service.expect("DELETE", f"/v1/accounts/{account}/devices/handset")
    made = await service.expect("POST", f"/v1/accounts/{account}/enrolments", {})
    await service.expect("POST", "/v1/enrol", {"code": made["code"], "device": "handset"})
    await answered_by(480)(act)


async def without_device(act: Act) -> None:
    """The account has nothing to wake."""
    await act.ext.service.expect("DELETE", f"/v1/accounts/{act.ext.account}/devices/handset")
    await answered_by(480)(act)


# the PBX


async def disabled(act: Act) -> None:
    """The account was switched off; the PBX has not noticed yet."""
    await act.ext.put(enabled=False)
    final = await _call_where_it_was(act).final(within=PATIENCE_S)
    assert (final.status, final.get("X-Push-Reason")) == (404, "refused")


def _call_where_it_was(act: Act) -> OutgoingCall:
    call = act.ext.pbx.call(act.ext.user, next_hop=act.ext.service.sip_address)
    act.ext.calls.append(call)
    return call


async def replaces_nothing(act: Act) -> None:
    """Another phone wants to take over a call that nobody has."""
    replaces: Header = ("Replaces", "nobody@nowhere;to-tag=a;from-tag=b")
    final = await act.ext.call(headers=(replaces,)).final(within=PATIENCE_S)
    assert final.status == 481


async def the_desk_takes_it(act: Act) -> None:
    """Another phone on this extension takes the call."""
    call = act.ext.call()
    await act.ext.pushed()
    await call.cancel(headers=(ELSEWHERE,))


def beside_a_desk_phone(act: Act) -> None:
    """Another phone is registered on this extension."""
    uri = f"sip:{act.ext.user}@127.0.0.9:5060"
    desk = Binding(f"<{uri}>", time.monotonic() + 600, ("127.0.0.9", 5060))
    act.ext.pbx.bindings[act.ext.user] = {uri: desk}


def calls_out(status: int) -> Script:
    """The app calls, and the PBX answers so."""

    async def script(act: Act) -> None:
        phone = act.ext.phone(host="127.0.0.3", password=APP_PASSWORD)
        assert (await phone.register()).status == 200
        call = phone.call("sip:200@pbx.test")
        invite = await act.ext.pbx.agent.expect(
            method="INVITE", call_id=call.invite.call_id, within=PATIENCE_S
        )
        act.ext.pbx.agent.respond(invite, status, "No", to_tag="x")
        await call.final()
        phone.sleep()

    return script


APP_PASSWORD = "pw-of-the-app"


def app_account(user: str) -> dict[str, Any]:
    """An account whose app has a password of its own."""
    app_auth = {"user": user, "realm": "pbx.test", "password": APP_PASSWORD}
    return {"app_auth": app_auth}


async def pbx_goes_away(act: Act) -> None:
    """The PBX's connection ends, and nobody listens there when the answer is due."""
    pbx: Pbx = act.ext.pbx
    act.stage.replies[act.ext.account] = Reply(after_s=0.5)
    act.ext.call()
    await act.ext.pushed()
    pbx.stop()
    act.ext.calls.clear()
