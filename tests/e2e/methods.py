"""Talks through the service, and single requests across it: what the method tests share."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.lab import sdp
from tests.lab.phone import Caller, Phone
from tests.lab.sip_agent import new_call_id, new_tag
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_digest import answer_challenge
from tests.lab.sip_message import Header, Message, build, parse

from .conftest import REALM, Extension


@dataclass(frozen=True, slots=True)
class Way:
    """Who calls whom, and over what."""

    kind: str
    """`woken`: the PBX calls a sleeping phone; `awake`: a registered one; `outgoing`: it calls."""
    by: str = "udp"
    """Transport between the service and the PBX."""
    leg: str = "udp"
    """Transport between the phone and the service."""

    def __str__(self) -> str:
        return f"{self.kind}-{self.by}-{self.leg}"


UDP_WAYS = [Way("woken"), Way("awake"), Way("outgoing")]
WAYS = [
    *UDP_WAYS,
    *(Way(kind, by, by) for by in ("tcp", "tls") for kind in ("woken", "outgoing")),
    Way("woken", "udp", "tls"),
    Way("outgoing", "udp", "tls"),
    Way("awake", "tls", "tcp"),
]
"""With the PBX's transport first and the phone's last."""
every_way = pytest.mark.parametrize("way", WAYS, ids=str)
LEGS = [("udp", "udp"), ("tcp", "tcp"), ("tls", "tls"), ("udp", "tls")]
every_leg = pytest.mark.parametrize(("by", "leg"), LEGS, ids=map("-".join, LEGS))
"""Transport toward the PBX, and toward the phone."""
every_way_over_udp = pytest.mark.parametrize("way", UDP_WAYS, ids=str)
TEXT = ("Content-Type", "text/plain")
_desks = itertools.count(1)


def desk(ext: Extension, transport: str = "udp") -> Phone:
    """A phone of the PBX's own, asleep; the PBX knows it once it has registered."""
    user = f"desk{next(_desks)}-{ext.user}"
    return Phone(
        f"sip:{user}@{REALM}",
        proxy=ext.pbx.address,
        password=ext.pbx.password(user),
        transport=transport,
    )


@dataclass(slots=True)
class Talk:
    """An established call: our phone's side and the far end's, at the PBX."""

    ext: Extension
    phone: Phone
    far: Phone
    near: Dialog
    """The phone's."""
    there: Dialog
    """The far end's."""
    invite: Message
    """As the caller sent it."""
    seen: Message
    """As the callee got it."""

    @property
    def both_ways(self) -> tuple[tuple[Dialog, Dialog], ...]:
        """Sender and taker: from the PBX's side, then from the phone."""
        return ((self.there, self.near), (self.near, self.there))


@dataclass(slots=True)
class Begun:
    """A call that rings nowhere yet: the callee has the INVITE, and nothing is answered."""

    ext: Extension
    phone: Phone
    far: Phone
    call: OutgoingCall
    incoming: IncomingCall

    @property
    def caller(self) -> Phone:
        """Whose call it is."""
        return self.phone if self.call.agent is self.phone.agent else self.far

    @property
    def callee(self) -> Phone:
        """Who is called."""
        return self.far if self.caller is self.phone else self.phone


@asynccontextmanager
async def begun(
    ext: Extension,
    way: Way,
    *,
    phone: Phone | None = None,
    headers: tuple[Header, ...] = (),
    body: bytes = sdp.OFFER,
    far_by: str = "udp",
) -> AsyncIterator[Begun]:
    """An INVITE on its way in one of the `WAYS`; `ext` was made with `by=way.by`."""
    async with desk(ext, far_by) as far, phone or ext.phone(way.leg) as near:
        await far.register()
        if way.kind == "woken":
            near.sleep()
            ext.wake_on_push(near.register)
        else:
            assert (await near.register()).status == 200
        caller, callee = (near, far) if way.kind == "outgoing" else (far, near)
        call = caller.call(callee.aor, headers=headers, body=body)
        yield Begun(ext, near, far, call, await callee.incoming(within=10))


@asynccontextmanager
async def talking(
    ext: Extension,
    way: Way,
    *,
    phone: Phone | None = None,
    headers: tuple[Header, ...] = (),
    answer_headers: tuple[Header, ...] = (),
) -> AsyncIterator[Talk]:
    """A call in one of the `WAYS`, hung up by the far end at the exit."""
    async with begun(ext, way, phone=phone, headers=headers) as new:
        new.incoming.accept(headers=answer_headers)
        sides = [await new.call.answered(), new.incoming.dialog()]
        await new.incoming.expect_ack()
        if way.kind == "outgoing":
            sides.reverse()
        there, near = sides
        yield Talk(ext, new.phone, new.far, near, there, new.call.invite, new.incoming.invite)
        await hang_up(there, near)


async def hang_up(who: Dialog, other: Dialog) -> None:
    """BYE across the service, and its 200 back."""
    bye = who.send("BYE")
    await other.expect_bye()
    await answer_to(who, bye, 200)


async def answer_to(dialog: Dialog, request: Message, status: int) -> Message:
    """The response with this status to a request sent in `dialog`."""
    return await dialog.agent.expect(
        within=5, where=lambda m: m.status == status and m.branch == request.branch
    )


async def cross(
    sender: Dialog,
    taker: Dialog,
    method: str,
    *,
    headers: tuple[Header, ...] = (),
    body: bytes = b"",
    status: int = 200,
    reason: str = "OK",
    answer_headers: tuple[Header, ...] = (),
    answer: bytes = b"",
) -> tuple[Message, Message]:
    """One request inside a dialog and its answer; both arrive as they were sent.

    Returns them as the other side saw them. A 2xx to INVITE is acknowledged and the ACK taken.
    """
    sent = sender.send(method, headers=headers, body=body)
    seen = await taker.expect(method)
    arrived(seen, headers, body)
    if method == "INVITE":
        answer_headers = (("Contact", f"<{taker.agent.uri('lab')}>"), *answer_headers)
    taker.agent.respond(seen, status, reason, headers=answer_headers, body=answer)
    response = await answer_to(sender, sent, status)
    assert response.reason == reason
    arrived(response, answer_headers, answer)
    if method == "INVITE" and status < 300:
        sender.ack(response)
        await taker.expect("ACK")
    return seen, response


def arrived(message: Message, headers: tuple[Header, ...], body: bytes) -> None:
    """These headers, values byte for byte and in this order, and this body."""
    assert message.body == body
    for name in {name.lower() for name, _ in headers}:
        sent = [value for key, value in headers if key.lower() == name]
        assert message.all(name) == sent, name


async def send_alone(
    who: Caller,
    method: str,
    to: str,
    *,
    headers: tuple[Header, ...] = (),
    body: bytes = b"",
) -> OutgoingCall:
    """A request outside any dialog that has got past its challenge; nothing else has come back.

    What it began with may have to be answered by hand: `OutgoingCall.invite` is the request.
    """
    call_id, tag = new_call_id(), new_tag()

    def made(cseq: int, *more: Header) -> bytes:
        common: list[Header] = [
            who.agent.via(),
            ("Max-Forwards", "70"),
            ("From", f"<{who.aor}>;tag={tag}"),
            ("To", f"<{to}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", f"<{who.contact}>"),
        ]
        return build(f"{method} {to} SIP/2.0", [*common, *headers, *more], body)

    response = await who.agent.request(made(1), who.proxy)
    assert response.status in (401, 407), response
    assert who.credentials is not None
    proof = answer_challenge(response, who.credentials, method=method, uri=to)
    return OutgoingCall(who.agent, parse(who.agent.send(made(2, proof), who.proxy)), who.proxy)


async def final(request: OutgoingCall, status: int) -> Message:
    """The final response to what `send_alone` sent; it must have this status."""
    sent = request.invite
    response = await request.agent.expect(
        within=5, where=lambda m: m.status >= 200 and m.branch == sent.branch
    )
    assert response.status == status, response
    return response


async def take(who: Caller, method: str, *, within: float = 5.0) -> IncomingCall:
    """The next such request outside dialogs, not answered yet."""
    request = await who.agent.expect(
        within=within, method=method, where=lambda m: m.is_request and not m.to_tag
    )
    return IncomingCall(who.agent, request, user=who.user)


def answer(
    taken: IncomingCall,
    status: int = 200,
    reason: str = "OK",
    *,
    headers: tuple[Header, ...] = (),
    body: bytes = b"",
) -> None:
    """A final response with our tag and Contact."""
    headers = (taken.contact, *headers)
    taken.agent.respond(taken.invite, status, reason, headers=headers, body=body, to_tag=taken.tag)


def hold_and_resume() -> tuple[bytes, bytes]:
    """The offers of a re-INVITE that holds and of one that resumes."""
    return sdp.HOLD, sdp.OFFER.replace(b"423 IN", b"425 IN")
