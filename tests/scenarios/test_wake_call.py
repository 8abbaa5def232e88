"""The main job on the wire: an INVITE is held, the phone pushed, the very same call relayed."""

import uuid

from tests.lab import sdp
from tests.lab.pbx import Pbx

from .conftest import MakeExtension

MULTIPART = (
    b"--sep\r\nContent-Type: application/sdp\r\n\r\n"
    + sdp.OFFER
    + b"\r\n--sep\r\nContent-Type: application/isup;version=x\r\n"
    + b"Content-Transfer-Encoding: binary\r\n\r\n\x00\x01\xff\r\x0a\n\xfe\r\n--sep--\r\n"
)


async def test_call_wakes_the_phone(extension: MakeExtension) -> None:
    """A call to a sleeping phone is held, pushed, relayed when the phone registers, answered,
    and hung up by the caller; every step is on record.
    """
    ext = await extension()
    call = ext.call()
    await call.expect(100)
    (push,) = await ext.pushed()
    assert push.signature_error == ""
    await call.expect(180)
    phone = ext.phone()
    assert (await phone.register()).status == 200
    incoming = await phone.incoming()
    incoming.ring()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    await ext.pbx.agent.expect(method="BYE", status=200, within=5)

    record = await ext.record(call)
    assert (record["verdict"], record["phase"], record["ended_by"]) == (
        "answered",
        "answered",
        "caller",
    )
    assert record["id"] == push.call_id
    assert record["direction"] == "incoming"
    events = ext.service.events(record)
    order = ["invite_received", "push_sent", "registered", "device_ringing", "answered", "hung_up"]
    assert [event for event in events if event in order] == order, events


async def test_phone_hangs_up(extension: MakeExtension) -> None:
    """The called phone's BYE reaches the PBX, and the record says who hung up."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    incoming.dialog().send("BYE")
    await dialog.expect_bye()
    await incoming.agent.expect(method="BYE", status=200, within=5)
    assert (await ext.record(call))["ended_by"] == "device"


async def test_push_says_what_the_app_needs(extension: MakeExtension) -> None:
    """The payload names call, caller, account, device and token, and when it ends to matter."""
    ext = await extension()
    call = ext.call()
    (push,) = await ext.pushed()
    payload = push.payload
    assert uuid.UUID(payload["call_id"])
    expected = {
        "v": "1",
        "type": "call",
        "sip_call_id": call.invite.call_id,
        "account": ext.account,
        "device": "handset",
        "token": f"token-{ext.account}-handset",
        "caller_number": "200",
        "caller_name": "200",
        "video": "false",
    }
    assert {name: payload.get(name) for name in expected} == expected
    assert payload["sent_at"].endswith("Z")
    assert payload["expires_at"] > payload["sent_at"]
    await call.cancel()


async def test_private_caller(extension: MakeExtension) -> None:
    """With Privacy: id neither the push nor the phone learns who calls from what is asserted."""
    ext = await extension()
    asserted = ("P-Asserted-Identity", "<sip:+4930123@pbx.test>")
    call = ext.call(headers=(("Privacy", "id"), asserted))
    (push,) = await ext.pushed()
    assert (push.payload["caller_number"], push.payload["caller_name"]) == ("", "")
    phone = ext.phone()
    await phone.register()
    incoming = await phone.incoming()
    assert incoming.invite.all("P-Asserted-Identity") == []
    assert incoming.invite.get("Privacy") == "id"
    await call.cancel()


async def test_sdp_untouched(extension: MakeExtension) -> None:
    """Offer and answer arrive byte for byte, though they break every habit of a parser."""
    ext = await extension()
    call, incoming = await ext.woken()
    assert incoming.invite.body == sdp.OFFER
    assert incoming.invite.get("Content-Type") == "application/sdp"
    incoming.accept()
    response = await call.final()
    assert response.body == sdp.ANSWER
    call.dialog(response).ack(response)
    await incoming.expect_ack()


async def test_multipart_untouched(extension: MakeExtension) -> None:
    """A multipart body with binary parts arrives byte for byte."""
    ext = await extension()
    kind = ("Content-Type", "multipart/mixed;boundary=sep")
    caller = ext.pbx.as_caller()
    binding = await ext.pbx.registered(ext.user)
    data = caller.invite(ext.aor, body=b"", request_uri=binding.uri)
    head = data[: data.index(b"Content-Length")]
    head += b"Content-Type: " + kind[1].encode() + b"\r\n"
    raw = head + b"Content-Length: %d\r\n\r\n" % len(MULTIPART) + MULTIPART
    ext.pbx.agent.send(raw, ext.service.sip_address)
    await ext.pushed()
    phone = ext.phone()
    await phone.register()
    incoming = await phone.incoming()
    assert incoming.invite.body == MULTIPART
    assert incoming.invite.get("Content-Type") == kind[1]
    incoming.reject(486, "Busy Here")
    await incoming.expect_ack()


async def test_what_the_phone_sees(extension: MakeExtension) -> None:
    """The phone gets the caller's own From, To, Call-ID, CSeq and unknown headers, one more Via,
    one less Max-Forwards, P-Called-Party-ID with its AOR, X-Push-ID with the push's call id,
    a Record-Route, and its own Contact as Request-URI.
    """
    ext = await extension()
    extra = (("X-Lab-Custom", 'Keep "me";as=I, am'), ("Subject", "naïve"), ("X-Push-ID", "forged"))
    call = ext.call(headers=extra)
    (push,) = await ext.pushed()
    phone = ext.phone()
    await phone.register()
    incoming = await phone.incoming()
    sent, seen = call.invite, incoming.invite
    for name in ("From", "To", "Call-ID", "CSeq", "Contact", "X-Lab-Custom", "Subject"):
        assert seen.all(name) == sent.all(name), name
    assert seen.uri == phone.contact
    assert len(seen.listed("Via")) == 2
    assert seen.get("Max-Forwards") == "69"
    assert seen.all("P-Called-Party-ID") == [f"<{ext.aor}>"]
    assert seen.all("X-Push-ID") == [push.call_id]
    assert len(seen.listed("Record-Route")) == 1
    assert ";lr" in seen.listed("Record-Route")[0]
    await call.cancel()


async def test_one_2xx(extension: MakeExtension) -> None:
    """A PBX that acknowledges promptly gets the 200 once; the phone gets one ACK."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    # A 2xx that the proxy or a transaction of its own repeats comes after T1 (0.5 s).
    await ext.pbx.agent.expect_nothing(within=0.8, status=200, method="INVITE")
    await incoming.agent.expect_nothing(within=0, method="ACK")
    assert len(incoming.agent.received(method="INVITE")) == 1


async def test_lost_ack(extension: MakeExtension) -> None:
    """When the ACK got lost the phone's repeated 200 reaches the PBX again, and so does its ACK."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.accept()
    first = await call.final(ack=False)
    incoming.accept()
    again = await call.final(ack=False)
    assert (again.to_tag, again.body) == (first.to_tag, first.body)
    call.dialog(again).ack(again)
    await incoming.expect_ack()


async def test_repeated_invite_rings_once(extension: MakeExtension) -> None:
    """The same INVITE again, by its branch, is absorbed: one push, one INVITE at the phone."""
    ext = await extension()
    call = ext.call()
    await call.expect(100)
    call.send_again()
    await ext.pushed()
    call.send_again()
    phone = ext.phone()
    await phone.register()
    incoming = await phone.incoming()
    incoming.ring()
    call.send_again()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    assert len(phone.agent.received(method="INVITE")) == 1
    assert len(ext.pushes("call")) == 1


async def test_fresh_device_is_rung_at_once(extension: MakeExtension) -> None:
    """A phone that registered a moment ago gets the INVITE without a push; one that stays silent
    for a second is pushed as well.
    """
    ext = await extension()
    phone = ext.phone()
    await phone.register()
    call = ext.call()
    incoming = await phone.incoming()
    assert ext.pushes() == []
    await ext.pushed(within=3)
    incoming.ring()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()


async def test_fresh_device_that_rings_gets_no_push(extension: MakeExtension) -> None:
    """A phone that answers 180 at once is not pushed, however long it rings."""
    ext = await extension()
    phone = ext.phone()
    await phone.register()
    call = ext.call()
    incoming = await phone.incoming()
    incoming.ring()
    await call.expect(180)
    await phone.agent.expect_nothing(within=1.3, method="INVITE")
    assert ext.pushes() == []
    await call.cancel()
    await incoming.expect_cancel()


async def test_options_for_a_sleeping_phone(extension: MakeExtension, pbx: Pbx) -> None:
    """The PBX's qualify OPTIONS is answered 200 while the phone sleeps, and pushes nobody."""
    ext = await extension()
    assert (await pbx.options(ext.user)).status == 200
    assert ext.pushes() == []


async def test_required_100rel(extension: MakeExtension) -> None:
    """A caller that requires reliable provisionals hears only 100 from us until the phone rings."""
    ext = await extension()
    call = ext.call(headers=(("Require", "100rel"),))
    await call.expect(100)
    await ext.pushed()
    phone = ext.phone()
    await phone.register()
    incoming = await phone.incoming()
    assert incoming.invite.get("Require") == "100rel"
    await ext.pbx.agent.expect_nothing(within=0, status=180)
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()


async def test_ringing_when_the_device_rings(extension: MakeExtension) -> None:
    """With `ringing: device_rings` the caller hears nothing before the phone itself rings; its
    early media passes.
    """
    ext = await extension(wake={"ringing": "device_rings"})
    call, incoming = await ext.woken()
    await ext.pbx.agent.expect_nothing(within=0.2, status=180)
    incoming.ring(183, "Session Progress", body=sdp.ANSWER)
    progress = await call.expect(183)
    assert progress.body == sdp.ANSWER
    assert progress.to_tag == incoming.tag
    await call.cancel()


async def test_reinvite_from_both_sides(extension: MakeExtension) -> None:
    """re-INVITEs pass both ways, wake nobody, and their SDP stays as it is."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    callee = incoming.dialog()
    for asking, asked in ((dialog, callee), (callee, dialog)):
        sent = asking.send("INVITE", body=sdp.HOLD)
        invite = await asked.expect("INVITE")
        assert invite.body == sdp.HOLD
        contact = ("Contact", f"<sip:lab@{asked.agent.hostport}>")
        asked.agent.respond(invite, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=sdp.ANSWER)
        response = await asking.agent.expect(
            within=5, where=lambda m, branch=sent.branch: m.status == 200 and m.branch == branch
        )
        assert response.body == sdp.ANSWER
        asking.ack(response)
        await asked.expect("ACK")
        answers = [m for m in asking.agent.received(status=200) if m.branch == sent.branch]
        assert len(answers) == 1
    assert len(ext.pushes()) == 1
    callee.send("BYE")
    await dialog.expect_bye()


async def test_call_by_rewritten_contact(extension: MakeExtension) -> None:
    """A PBX that drops our Contact's parameters still reaches the account, by its user."""
    ext = await extension()
    caller = ext.pbx.as_caller()
    call = caller.call(
        ext.aor,
        request_uri="sip:{}@{}:{}".format(ext.user, *ext.service.sip_address),
        next_hop=ext.service.sip_address,
    )
    await ext.pushed()
    await call.cancel()


async def test_unknown_extension(extension: MakeExtension) -> None:
    """A PBX that asks for somebody we do not know gets 404."""
    ext = await extension()
    call = ext.pbx.call("nobody", next_hop=ext.service.sip_address)
    assert (await call.final()).status == 404
