"""What happens inside an established session: changed, refreshed, signalled, ended."""

from tests.lab import sdp
from tests.lab.sip_call import OutgoingCall
from tests.lab.sip_message import build, parse

from .conftest import MakeExtension
from .methods import (
    Way,
    answer_to,
    begun,
    cross,
    every_way,
    hang_up,
    hold_and_resume,
    talking,
)

DTMF = (("Content-Type", "application/dtmf-relay"),)
TIMER = (("Supported", "timer"), ("Session-Expires", "1800;refresher=uac"), ("Min-SE", "90"))


@every_way
async def test_hold_and_resume(extension: MakeExtension, way: Way) -> None:
    """Each side holds and resumes by re-INVITE: offers and answers arrive byte for byte."""
    async with talking(await extension(by=way.by), way) as talk:
        for sender, taker in talk.both_ways:
            for offer in hold_and_resume():
                await cross(
                    sender,
                    taker,
                    "INVITE",
                    body=offer,
                    answer_headers=(sdp.CONTENT_TYPE,),
                    answer=sdp.ANSWER,
                )


@every_way
async def test_refused_reinvite(extension: MakeExtension, way: Way) -> None:
    """488 and 491 to a re-INVITE come back as they are, and the call goes on."""
    async with talking(await extension(by=way.by), way) as talk:
        for sender, taker in talk.both_ways:
            for status, reason in ((488, "Not Acceptable Here"), (491, "Request Pending")):
                sent = sender.send("INVITE", body=sdp.HOLD)
                seen = await taker.expect("INVITE")
                taker.agent.respond(seen, status, reason, headers=(("Warning", '399 x "no"'),))
                response = await answer_to(sender, sent, status)
                assert response.get("Warning") == '399 x "no"'
                ack = sender.build("ACK", cseq=sent.cseq)
                ack = ack.replace(parse(ack).branch.encode(), sent.branch.encode())
                sender.agent.send(ack, sender.next_hop)
                await taker.expect("ACK")


@every_way
async def test_update(extension: MakeExtension, way: Way) -> None:
    """UPDATE (RFC 3311) with an offer, and its answer, from each side."""
    async with talking(await extension(by=way.by), way) as talk:
        for sender, taker in talk.both_ways:
            answer = {"answer_headers": (sdp.CONTENT_TYPE,), "answer": sdp.ANSWER}
            await cross(sender, taker, "UPDATE", body=sdp.HOLD, **answer)
            await cross(sender, taker, "UPDATE", status=491, reason="Request Pending")


@every_way
async def test_dtmf_by_info(extension: MakeExtension, way: Way) -> None:
    """INFO with a digit, from each side; one that is not understood is refused by the other."""
    async with talking(await extension(by=way.by), way) as talk:
        for sender, taker in talk.both_ways:
            await cross(sender, taker, "INFO", headers=DTMF, body=b"Signal=5\r\nDuration=160\r\n")
            await cross(sender, taker, "INFO", status=415, reason="Unsupported Media Type")


@every_way
async def test_session_timer(extension: MakeExtension, way: Way) -> None:
    """RFC 4028: Session-Expires and Min-SE are negotiated end to end, and the session is
    refreshed by UPDATE and by re-INVITE; we neither shorten nor end it.
    """
    granted = (("Require", "timer"), ("Session-Expires", "1800;refresher=uac"))
    async with talking(
        await extension(by=way.by), way, headers=TIMER, answer_headers=granted
    ) as talk:
        for name, value in TIMER:
            assert talk.seen.all(name) == [value]
        for sender, taker in talk.both_ways:
            await cross(sender, taker, "UPDATE", headers=TIMER, answer_headers=granted)
            await cross(
                sender,
                taker,
                "INVITE",
                headers=TIMER,
                body=sdp.OFFER,
                answer_headers=(*granted, sdp.CONTENT_TYPE),
                answer=sdp.ANSWER,
            )


@every_way
async def test_session_interval_too_small(extension: MakeExtension, way: Way) -> None:
    """422 with Min-SE reaches the caller, whose next INVITE with a longer interval rings."""
    short = (("Session-Expires", "60"),)
    async with begun(await extension(by=way.by), way, headers=short) as new:
        call, incoming, caller = new.call, new.incoming, new.caller
        assert incoming.invite.header("Session-Expires") == "60"
        incoming.reject(422, "Session Interval Too Small", headers=(("Min-SE", "90"),))
        refusal = await call.final()
        assert (refusal.status, refusal.header("Min-SE")) == (422, "90")
        again = call.invite
        fresh = [(n, v) for n, v in again.headers if n not in ("Via", "CSeq", "Content-Length")]
        fresh = [(n, "90" if n == "Session-Expires" else v) for n, v in fresh]
        fresh = [h for h in fresh if not h[0].endswith("Authorization")]
        cseq = ("CSeq", f"{again.cseq + 1} INVITE")
        data = build(again.start, [caller.agent.via(), *fresh, cseq], again.body)
        sent = parse(caller.agent.send(data, caller.proxy))
        call = OutgoingCall(caller.agent, sent, caller.proxy, caller.credentials)
        incoming = await new.callee.incoming()
        assert incoming.invite.header("Session-Expires") == "90"
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        await hang_up(dialog, incoming.dialog())


@every_way
async def test_late_offer(extension: MakeExtension, way: Way) -> None:
    """INVITE without a body, the offer in the 200, the answer in the ACK; the same again by
    re-INVITE from each side.
    """
    async with begun(await extension(by=way.by), way, body=b"") as new:
        call, incoming = new.call, new.incoming
        assert (incoming.invite.body, incoming.invite.all("Content-Type")) == (b"", [])
        incoming.accept(sdp.OFFER)
        response = await call.final()
        assert response.body == sdp.OFFER
        first, second = call.dialog(response), incoming.dialog()
        first.agent.send(first.build("ACK", cseq=response.cseq, body=sdp.ANSWER), first.next_hop)
        assert (await incoming.expect_ack()).body == sdp.ANSWER
        for sender, taker in ((first, second), (second, first)):
            sent = sender.send("INVITE")
            seen = await taker.expect("INVITE")
            headers = (("Contact", f"<{taker.agent.uri('lab')}>"), sdp.CONTENT_TYPE)
            taker.agent.respond(seen, 200, "OK", headers=headers, body=sdp.HOLD)
            response = await answer_to(sender, sent, 200)
            assert response.body == sdp.HOLD
            ack = sender.build("ACK", cseq=response.cseq, body=sdp.ANSWER)
            sender.agent.send(ack, sender.next_hop)
            assert (await taker.expect("ACK")).body == sdp.ANSWER
        await hang_up(second, first)


@every_way
async def test_unknown_methods_and_headers(extension: MakeExtension, way: Way) -> None:
    """A method and headers that nobody has heard of cross as they are, and so does the refusal."""
    odd = (
        ("X-Lab-Odd", 'a;b="c, d" <e>, (f)'),
        ("x-lab-odd", "twice"),
        ("Reason", 'Q.850;cause=16;text="x; y"'),
    )
    async with talking(await extension(by=way.by), way) as talk:
        for sender, taker in talk.both_ways:
            await cross(sender, taker, "FROBNICATE", headers=odd, body=b"v=0\r\n\x00\xff")
            await cross(
                sender,
                taker,
                "FROBNICATE",
                status=405,
                reason="Method Not Allowed",
                answer_headers=(("Allow", "INVITE, ACK"), ("X-Why", "not  this")),
            )


@every_way
async def test_options_inside(extension: MakeExtension, way: Way) -> None:
    """OPTIONS inside a dialog is for the other end: it says what that one can do."""
    said = (("Allow", "INVITE, X-LAB"), ("Accept", "application/sdp"))
    async with talking(await extension(by=way.by), way) as talk:
        for who in (talk.phone, talk.far):
            who.agent.handlers.clear()  # they would answer by themselves
        for sender, taker in talk.both_ways:
            await cross(sender, taker, "OPTIONS", answer_headers=said)
