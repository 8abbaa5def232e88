"""The call flows that have to end the same whatever the network does to their packets.

Each makes its own extension in the weather that it is given; its docstring is its claim.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.lab import sdp
from tests.lab.impaired_link import Weather
from tests.lab.sip_call import IncomingCall
from tests.scenarios.messages import WORDS, send

from .conftest import MakeRough
from .scene import APPS_ADDRESS, WITHIN_S, RoughExtension, hang_up, reinvite

Flow = Callable[[MakeRough, Weather], Awaitable[RoughExtension]]
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
DESK = "sip:800@pbx.test"


async def woken_call(rough: MakeRough, weather: Weather) -> RoughExtension:
    """The held call wakes its phone by one push, rings it once, is answered and hung up."""
    ext = await rough(weather)
    call, incoming = await ext.woken()
    await ext.rings(call, incoming)
    far, near = await ext.talk(call, incoming)
    await hang_up(far, near)
    await ext.ended(call, "answered")
    assert ext.one_final(call).to_tag == incoming.tag
    ext.one_push()
    ext.one_ring(ext.phones[0])
    return ext


async def cancelled_while_waking(rough: MakeRough, weather: Weather) -> RoughExtension:
    """CANCEL before the phone came: 487, one terminal push; who comes late is not rung."""
    ext = await rough(weather)
    call = ext.call()
    await ext.pushed(within=WITHIN_S)
    await ext.heard(call)
    of_cancel, final = await call.cancel(within=WITHIN_S)
    assert (of_cancel.status, final.status) == (200, 487)
    await ext.pushed(kind="cancel", within=WITHIN_S)
    phone = await ext.registered_phone()
    await ext.ended(call, "caller_cancelled", phase="waking")
    await phone.agent.expect_nothing(within=0.6, method="INVITE")
    assert ext.one_final(call).status == 487
    ext.one_push()
    ext.one_push(kind="cancel")
    return ext


async def cancelled_while_ringing(rough: MakeRough, weather: Weather) -> RoughExtension:
    """CANCEL reaches the ringing phone, once; the caller has one 487."""
    ext = await rough(weather)
    call, incoming = await ext.woken()
    await ext.rings(call, incoming)
    call.send_cancel()
    await incoming.expect_cancel(within=WITHIN_S)
    assert (await call.final(within=WITHIN_S)).status == 487
    await ext.ended(call, "caller_cancelled", phase="ringing")
    assert ext.one_final(call).status == 487
    ext.one_push()
    ext.one_ring(ext.phones[0])
    return ext


async def declined(rough: MakeRough, weather: Weather) -> RoughExtension:
    """The phone's 603 gets its ACK from us, and the caller has it once."""
    ext = await rough(weather)
    call, incoming = await ext.woken()
    await ext.rings(call, incoming)
    incoming.reject(603, "Decline")
    await incoming.expect_ack(within=WITHIN_S)
    assert (await call.final(within=WITHIN_S)).status == 603
    await ext.ended(call, "declined")
    ext.one_final(call)
    ext.one_push()
    ext.one_ring(ext.phones[0])
    return ext


async def answered_by_one_of_two(rough: MakeRough, weather: Weather) -> RoughExtension:
    """Two phones ring, one answers: the other is cancelled with the Reason, and one 200 comes."""
    ext = await rough(weather, "a", "b")
    call, winner = await ext.woken("a")
    loser = await ext.rung(ext.phone("b"))
    loser.ring()
    winner.ring()
    far, near = await ext.talk(call, winner)
    assert (await loser.expect_cancel(within=WITHIN_S)).all("Reason") == [ELSEWHERE]
    await hang_up(near, far)
    await ext.ended(call, "answered")
    assert ext.one_final(call).to_tag == winner.tag
    ext.one_push(devices=2)
    for phone in ext.phones:
        ext.one_ring(phone)
    return ext


async def put_on_hold(rough: MakeRough, weather: Weather) -> RoughExtension:
    """re-INVITEs of both sides cross an established call; the phone hangs up."""
    ext = await rough(weather)
    call, incoming = await ext.woken()
    far, near = await ext.talk(call, incoming)
    await reinvite(far, near, offer=sdp.HOLD, answer=sdp.ANSWER)
    await reinvite(near, far, offer=sdp.OFFER, answer=sdp.ANSWER)
    await hang_up(near, far)
    await ext.ended(call, "answered", ended_by="device")
    ext.one_final(call)
    ext.one_push()
    return ext


async def awake(rough: MakeRough, weather: Weather) -> RoughExtension:
    """A phone that has just registered is rung at once and not pushed; it refreshes meanwhile."""
    ext = await rough(weather)
    phone = await ext.registered_phone()
    call = ext.call()
    incoming = await phone.incoming(within=WITHIN_S)
    await ext.rings(call, incoming)
    assert (await phone.register(within=WITHIN_S)).status == 200
    far, near = await ext.talk(call, incoming)
    await hang_up(far, near)
    await ext.ended(call, "answered")
    ext.one_final(call)
    ext.one_ring(phone)
    assert ext.pushes("call") == []
    return ext


async def registration(rough: MakeRough, weather: Weather) -> RoughExtension:
    """A phone registers, refreshes and unregisters; each is answered 200 and done once."""
    ext = await rough(weather)
    phone = await ext.registered_phone()
    assert (await phone.register(within=WITHIN_S)).status == 200
    gone = await phone.unregister(within=WITHIN_S)
    assert (gone.status, gone.all("Contact")) == (200, [])
    call = ext.call()
    await ext.pushed(within=WITHIN_S)
    await ext.heard(call)
    await call.cancel(within=WITHIN_S)
    await ext.ended(call, "caller_cancelled")
    ext.one_push()
    assert phone.agent.received(method="INVITE") == []
    return ext


async def outgoing(rough: MakeRough, weather: Weather) -> RoughExtension:
    """An app's own call gets through to the PBX as one call, is answered and hung up."""
    ext = await rough(weather)
    phone = await ext.registered_phone(host=APPS_ADDRESS)
    call = phone.call("sip:200@pbx.test")
    invite = await ext.pbx.agent.expect(method="INVITE", within=WITHIN_S)
    callee = IncomingCall(ext.pbx.agent, invite, user="200")
    callee.ring()
    near, far = await ext.talk(call, callee)
    await hang_up(near, far)
    await ext.ended(call, "answered", direction="outgoing", ended_by="device")
    assert ext.one_final(call, phone.agent).to_tag == callee.tag
    invites = ext.pbx.agent.received(method="INVITE")
    assert len({message.branch for message in invites}) == 1
    page = await ext.service.expect("GET", f"/v1/calls?account={ext.account}")
    assert len(page["calls"]) == 1
    return ext


async def outgoing_given_up(rough: MakeRough, weather: Weather) -> RoughExtension:
    """An app cancels its own call: cancelled at the PBX, one 487."""
    ext = await rough(weather)
    phone = await ext.registered_phone(host=APPS_ADDRESS)
    call = phone.call("sip:200@pbx.test")
    invite = await ext.pbx.agent.expect(method="INVITE", within=WITHIN_S)
    callee = IncomingCall(ext.pbx.agent, invite, user="200")
    callee.ring()
    await phone.agent.expect(
        within=WITHIN_S, where=lambda m: m.branch == call.invite.branch and m.status < 200
    )
    call.send_cancel()
    await callee.expect_cancel(within=WITHIN_S)
    assert (await call.final(within=WITHIN_S)).status == 487
    await ext.ended(call, "caller_cancelled", direction="outgoing", ended_by="device")
    ext.one_final(call, phone.agent)
    return ext


async def sent_elsewhere(rough: MakeRough, weather: Weather) -> RoughExtension:
    """A rule's 302 comes once, and its ACK ends it; nobody is pushed."""
    policy = {
        "rules": [{"when": ["always"], "redirect": DESK}],
        "targets": ["sip:*@pbx.test"],
    }
    ext = await rough(weather, policy=policy)
    call = ext.call()
    final = await call.final(within=WITHIN_S)
    assert (final.status, final.all("Contact")) == (302, [f"<{DESK}>;mp=1"])
    await ext.ended(call, "forwarded", status=302)
    ext.one_final(call)
    assert ext.pushes("call") == []
    return ext


async def message(rough: MakeRough, weather: Weather) -> RoughExtension:
    """A MESSAGE waits for its phone: one push, one delivery, one answer, which is the phone's."""
    ext = await rough(weather)
    sent = await send(ext)
    await ext.pushed(kind="message", within=WITHIN_S)
    phone = await ext.registered_phone()
    got = await phone.agent.expect(method="MESSAGE", within=WITHIN_S)
    assert got.body == WORDS
    phone.agent.respond(got, 200, "OK", to_tag="phone")
    final = await sent.final(within=WITHIN_S)
    assert (final.status, final.to_tag) == (200, "phone")
    assert set(sent.answers) == {200}
    assert len({each.branch for each in phone.agent.received(method="MESSAGE")}) == 1
    ext.one_push(kind="message")
    return ext


FLOWS: tuple[Flow, ...] = (
    woken_call,
    cancelled_while_waking,
    cancelled_while_ringing,
    declined,
    answered_by_one_of_two,
    put_on_hold,
    awake,
    registration,
    outgoing,
    outgoing_given_up,
    sent_elsewhere,
    message,
)
