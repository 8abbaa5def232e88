"""What apps send by themselves, and what a PBX sends besides INVITEs."""

import pytest

from tests.lab import sdp
from tests.lab.sip_call import IncomingCall

from .conftest import MakeExtension


async def test_outgoing_call(extension: MakeExtension) -> None:
    """An app's own INVITE goes to its PBX as it is, its 407 comes back, the answered call's BYE
    passes, and the record says outgoing.
    """
    ext = await extension()
    phone = ext.phone(host="127.0.0.3")
    await phone.register()
    call = phone.call("sip:200@pbx.test")
    first = await ext.pbx.agent.expect(method="INVITE", within=5)
    challenge = 'Digest realm="pbx.test", nonce="abc", algorithm=MD5, qop="auth"'
    ext.pbx.agent.respond(
        first,
        407,
        "Proxy Authentication Required",
        headers=(("Proxy-Authenticate", challenge),),
        to_tag="x",
    )
    await ext.pbx.agent.expect(method="ACK", within=5)
    seen = await ext.pbx.agent.expect(method="INVITE", within=5)
    assert 'username="' + ext.user in seen.header("Proxy-Authorization")
    assert (seen.uri, seen.body) == ("sip:200@pbx.test", sdp.OFFER)
    assert seen.header("From") == call.invite.header("From")
    assert len(seen.listed("Via")) == 2
    callee = IncomingCall(ext.pbx.agent, seen, user="200")
    callee.ring()
    await call.expect(180)
    callee.accept()
    dialog = await call.answered()
    await callee.expect_ack()
    record = await ext.record(state="answered")
    assert (record["direction"], record["callee"]) == ("outgoing", "200")
    dialog.send("BYE")
    await callee.dialog().expect_bye()
    await phone.agent.expect(method="BYE", status=200, within=5)
    record = await ext.record()
    assert (record["verdict"], record["ended_by"]) == ("answered", "device")
    page = await ext.service.expect("GET", f"/v1/calls?account={ext.account}")
    assert len(page["calls"]) == 1, "the challenged INVITE was no call"


async def test_outgoing_refused(extension: MakeExtension) -> None:
    """A refusal of the far end comes back and is on record; a cancelled call is cancelled there."""
    ext = await extension()
    phone = ext.phone(host="127.0.0.3")
    await phone.register()
    call = phone.call("sip:200@pbx.test")
    callee = IncomingCall(ext.pbx.agent, await ext.pbx.agent.expect(method="INVITE", within=5))
    callee.reject(486, "Busy Here")
    assert (await call.final()).status == 486
    await callee.expect_ack()
    assert (await ext.record(call))["verdict"] == "busy"

    call = phone.call("sip:201@pbx.test")
    callee = IncomingCall(ext.pbx.agent, await ext.pbx.agent.expect(method="INVITE", within=5))
    callee.ring()
    await call.expect(180)
    call.send_cancel()
    await callee.expect_cancel()
    assert (await call.final()).status == 487
    assert (await ext.record(call))["verdict"] == "caller_cancelled"


async def test_call_to_our_own_address(extension: MakeExtension) -> None:
    """An app that dials user@our-address means the PBX's domain."""
    ext = await extension()
    phone = ext.phone(host="127.0.0.3")
    await phone.register()
    phone.call("sip:200@{}:{}".format(*ext.service.sip_address))
    seen = await ext.pbx.agent.expect(method="INVITE", within=5)
    assert seen.uri == "sip:200@pbx.test"
    ext.pbx.agent.respond(seen, 486, "Busy Here", to_tag="x")


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH"])
async def test_apps_other_requests(extension: MakeExtension, method: str) -> None:
    """Other requests of an app go to its PBX too, and the answer comes back."""
    ext = await extension()
    phone = ext.phone(host="127.0.0.3")
    await phone.register()
    body = ("Content-Type", "text/plain")
    request = phone.invite("sip:200@pbx.test", body=b"", headers=(body,)).replace(
        b"INVITE", method.encode()
    )
    request = request.replace(b"Content-Length: 0\r\n\r\n", b"Content-Length: 5\r\n\r\nhello")
    phone.agent.send(request, phone.proxy)
    seen = await ext.pbx.agent.expect(method=method, within=5)
    assert seen.body == b"hello"
    assert bool(seen.all("Record-Route")) == (method == "SUBSCRIBE")
    ext.pbx.agent.respond(seen, 202, "Accepted", to_tag="x")
    await phone.agent.expect(method=method, status=202, within=5)


async def test_message_from_the_pbx(extension: MakeExtension) -> None:
    """A MESSAGE for a registered phone reaches it, its answer comes back, and nobody is pushed."""
    ext = await extension()
    pbx = ext.pbx.as_caller()
    pbx.proxy = ext.service.sip_address
    uri = (await ext.pbx.registered(ext.user)).uri
    kind = ("Content-Type", "text/plain")
    phone = ext.phone()
    await phone.register()
    phone.agent.handlers.append(
        lambda m: m.method == "MESSAGE" and bool(phone.agent.respond(m, 200, "OK", to_tag="x"))
    )
    assert (await pbx.request("MESSAGE", uri, body=b"hi", headers=(kind,))).status == 200
    (seen,) = phone.agent.received(method="MESSAGE")
    assert (seen.body, seen.uri) == (b"hi", phone.contact)
    assert seen.all("P-Called-Party-ID") == [f"<{ext.aor}>"]
    assert ext.pushes() == []


async def test_message_summary(extension: MakeExtension) -> None:
    """The NOTIFY that Asterisk sends after each REGISTER is answered for a sleeping phone."""
    ext = await extension()
    pbx = ext.pbx.as_caller()
    pbx.proxy = ext.service.sip_address
    uri = (await ext.pbx.registered(ext.user)).uri
    headers = (
        ("Event", "message-summary"),
        ("Subscription-State", "terminated"),
        ("Content-Type", "application/simple-message-summary"),
    )
    body = b"Messages-Waiting: no\r\n"
    assert (await pbx.request("NOTIFY", uri, body=body, headers=headers)).status == 200
    assert ext.pushes() == []


async def test_trunk_challenges_apps(extension: MakeExtension) -> None:
    """In trunk nobody behind us asks an app to prove its call: we do, and our challenge's answer
    does not reach the PBX.
    """
    ext = await extension(
        topology="trunk", password=None, app_auth={"password": "app", "realm": "apps.test"}
    )
    phone = ext.phone(password="app", host="127.0.0.3")
    assert (await phone.register()).status == 200
    call = phone.call("sip:200@pbx.test")
    seen = await ext.pbx.agent.expect(method="INVITE", within=5)
    assert seen.all("Proxy-Authorization") == []
    callee = IncomingCall(ext.pbx.agent, seen, user="200")
    callee.accept()
    await call.answered()
    await callee.expect_ack()
    liar = ext.phone(password="wrong", host="127.0.0.3")
    liar.agent = phone.agent
    assert (await liar.call("sip:200@pbx.test").final()).status == 407


async def test_trunk_incoming(extension: MakeExtension) -> None:
    """In trunk the PBX's INVITE for the user wakes the phone; we never register there."""
    ext = await extension(
        topology="trunk", password=None, app_auth={"password": "app", "realm": "apps.test"}
    )
    call = ext.call(next_hop=ext.service.sip_address)
    await ext.pushed()
    incoming = await ext.rung(ext.phone(password="app"))
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    assert ext.pbx.registrations == []
    assert (await ext.service.registration(ext.account))["state"] == "unused"
