"""No open relay: who may ask for what, and that nothing is learnt from a refusal."""

import re

import pytest

from tests.lab.phone import Caller
from tests.lab.sip_agent import SipAgent, new_branch, new_call_id
from tests.lab.sip_digest import digest_fields
from tests.lab.sip_message import Message, build

from .conftest import Extension, MakeExtension

STRANGER = "127.0.0.2"


def form(response: Message) -> list[object]:
    """A response without what differs between any two: what a stranger can learn from it."""
    varying = {"via", "from", "to", "call-id", "cseq", "content-length"}
    shown: list[object] = [response.start, response.body]
    for name, value in response.headers:
        if name.lower() == "www-authenticate":
            fields = digest_fields(value)
            assert fields.pop("nonce")
            shown.append((name, list(fields.items())))
        elif name.lower() not in varying:
            shown.append((name, value))
    return shown


async def test_strangers_invite(extension: MakeExtension) -> None:
    """An INVITE from an address that is no PBX is neither pushed nor relayed, and the answer for
    a known user is the same as for an unknown one, even with our own Contact's token.
    """
    ext = await extension()
    phone = ext.phone()
    await phone.register()
    token_uri = (await ext.pbx.registered(ext.user)).uri
    async with Caller(ext.pbx.aor("200"), proxy=ext.service.sip_address, host=STRANGER) as caller:
        answers = [
            await caller.call(aor, request_uri=uri).final()
            for aor, uri in (
                (ext.aor, None),
                ("sip:nobody-at-all@pbx.test", None),
                (ext.aor, token_uri),
                (ext.aor, "sip:{}@{}:{}".format(ext.user, *ext.service.sip_address)),
                ("sip:1@unknown.example", None),
            )
        ]
    assert {answer.status for answer in answers} == {403}
    assert all(form(answer) == form(answers[0]) for answer in answers)
    assert len({len(answer.to_tag) for answer in answers}) == 1
    await phone.agent.expect_nothing(within=0.2, method="INVITE")
    assert ext.pushes() == []


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "INFO"])
async def test_strangers_other_requests(extension: MakeExtension, method: str) -> None:
    """Nothing else of a stranger's is relayed either, to phones or to PBXs."""
    ext = await extension()
    phone = ext.phone()
    await phone.register()
    async with Caller("sip:x@y.test", proxy=ext.service.sip_address, host=STRANGER) as caller:
        for target in (ext.aor, phone.contact, f"sip:200@{ext.pbx.domain}", "sip:nobody@x.test"):
            assert (await caller.request(method, target)).status in (403, 481), target
    await phone.agent.expect_nothing(within=0.1, method=method)
    await ext.pbx.agent.expect_nothing(within=0, method=method)


async def test_another_pbx(extension: MakeExtension) -> None:
    """A PBX calls its own accounts only: for another PBX's it gets the answer for unknown ones."""
    ext = await extension()
    async with Caller("sip:200@x.test", proxy=ext.service.sip_address, host="127.0.0.9") as other:
        # 127.0.0.9 becomes the address of a PBX: that of an account which stays disabled.
        await ext.service.put_account(
            f"{ext.account}-other",
            "sip:other@other.test",
            registrar="sip:127.0.0.9:5999",
            enabled=False,
            password="x",
        )
        known = await other.call(ext.aor).final()
        unknown = await other.call("sip:nobody-at-all@pbx.test").final()
    await ext.service.delete_account(f"{ext.account}-other")
    assert known.status == 404
    assert form(known) == form(unknown)
    assert ext.pushes() == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3"])
async def test_apps_forged_from(extension: MakeExtension, host: str) -> None:
    """An app's INVITE with another's From gets 403 and goes nowhere."""
    ext, victim = await extension(), await extension()
    phone = ext.phone(host=host)
    await phone.register()
    for name in (f"<{victim.aor}>", '"Boss" <sip:boss@pbx.test>', f"<sip:{ext.user}@evil.test>"):
        call = phone.call(ext.pbx.aor("200"), from_value=f"{name};tag=forged")
        assert (await call.final()).status == 403, name
    await ext.pbx.agent.expect_nothing(within=0.2, method="INVITE")


async def test_app_that_is_not_registered(extension: MakeExtension) -> None:
    """An app may call from the flow that it registered, not from another port of its host."""
    ext = await extension()
    phone = ext.phone(host="127.0.0.3")
    await phone.register()
    other = ext.phone(host="127.0.0.3")
    await other.wake()
    assert (await other.call(ext.pbx.aor("200")).final()).status == 403
    await phone.unregister()
    assert (await phone.call(ext.pbx.aor("200")).final()).status == 403
    await ext.pbx.agent.expect_nothing(within=0.1, method="INVITE")


async def test_app_may_not_choose_the_way(extension: MakeExtension) -> None:
    """An app's Route to somebody else is refused; its request reaches neither that one nor
    the PBX.
    """
    ext = await extension()
    phone = ext.phone(host="127.0.0.3")
    await phone.register()
    async with SipAgent("bystander") as bystander:
        route = ("Route", f"<sip:{bystander.hostport};lr>")
        assert (await phone.call(ext.pbx.aor("200"), headers=(route,)).final()).status == 403
        await bystander.expect_nothing(within=0.2)
    await ext.pbx.agent.expect_nothing(within=0, method="INVITE")


async def test_register_for_an_unknown_aor(extension: MakeExtension) -> None:
    """REGISTER for an AOR that does not exist is challenged in the same form as for one that
    does, and a wrong answer gets the same again: nothing tells them apart.
    """
    ext = await extension()
    unknown = ext.service.phone("sip:nobody-at-all@pbx.test", password="x")
    wrong = ext.phone(password="wrong")
    seen: list[list[object]] = []
    for phone in (wrong, unknown):
        async with phone:
            first = await phone.agent.request(phone.register_request(), ext.service.sip_address)
            second = await phone.register()
            assert (first.status, second.status) == (401, 401)
            seen.append([*form(first), *form(second)])
    assert seen[0] == seen[1]


async def test_unknown_aors_look_like_the_accounts_there_are(extension: MakeExtension) -> None:
    """With accounts of one algorithm only, unknown AORs of that domain offer the same one, each
    AOR always the same.
    """
    ha1 = {"MD5": "0" * 32}
    ext = await extension(password=None, ha1=ha1, realm="md5.test", registered=False)
    known = ext.phone()
    async with known, ext.service.phone("sip:nobody@pbx.test", password="x") as unknown:
        offers = []
        for phone in (known, unknown, unknown):
            response = await phone.agent.request(phone.register_request(), ext.service.sip_address)
            offers.append([digest_fields(v)["algorithm"] for v in response.all("WWW-Authenticate")])
    assert offers == [["MD5"]] * 3


async def test_forged_route_token(extension: MakeExtension) -> None:
    """In-dialog requests whose Route token is forged, altered or missing are not relayed."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    (route,) = dialog.routes
    user = re.search(r"sip:([^@;>]+)@", route)
    assert user is not None, route
    token = user[1]
    middle = len(token) // 2
    altered = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for bad in (altered, token[:-1], "x" * len(token), "x", token + "A"):
        forged = ext.pbx.as_caller()
        dialog.routes = [route.replace(token, bad)]
        data = dialog.build("BYE")
        response = await forged.agent.request(data, ext.service.sip_address)
        assert response.status in (403, 481), bad
    dialog.routes = [route.replace(f"{token}@", "")]
    response = await ext.pbx.agent.request(dialog.build("BYE"), ext.service.sip_address)
    assert response.status in (403, 481)
    await incoming.agent.expect_nothing(within=0.2, method="BYE")
    dialog.routes = [route]
    dialog.send("BYE")
    await incoming.dialog().expect_bye()


async def test_stranger_with_the_token(extension: MakeExtension) -> None:
    """Who has seen a Route token can send into that dialog only: its target is the device that
    the token names, whatever the Request-URI of the stranger says.
    """
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    async with SipAgent("target") as target:
        target_uri = f"sip:x@{target.hostport}"
        dialog.remote_target = target_uri
        ext.pbx.agent.send(dialog.build("BYE"), ext.service.sip_address)
        await target.expect_nothing(within=0.3)


async def test_app_sends_elsewhere_in_its_dialog(extension: MakeExtension) -> None:
    """An app in a call cannot use its dialog to reach somebody else: whatever target or Route it
    names, its requests go to the PBX.
    """
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    async with await SipAgent("bystander").open(host=STRANGER) as bystander:
        dialog = incoming.dialog()
        for target in (f"sip:x@{bystander.hostport}", "sip:x@bystander.test"):
            dialog.remote_target = target
            incoming.agent.send(dialog.build("INFO", body=b"x"), ext.service.sip_address)
            assert (await ext.pbx.agent.expect(method="INFO", within=5)).uri == target
        dialog.routes.append(f"<sip:{bystander.hostport};lr>")
        incoming.agent.send(dialog.build("INFO", body=b"x"), ext.service.sip_address)
        await ext.pbx.agent.expect(method="INFO", within=5)
        await bystander.expect_nothing(within=0)


async def test_max_forwards(extension: MakeExtension) -> None:
    """Max-Forwards 0 gets 483 and wakes nobody."""
    ext = await extension()
    data = ext.pbx.as_caller().invite(ext.aor, request_uri=(await ext.pbx.registered(ext.user)).uri)
    data = data.replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
    response = await ext.pbx.agent.request(data, ext.service.sip_address)
    assert response.status == 483
    assert ext.pushes() == []


async def test_asserted_identity(extension: MakeExtension) -> None:
    """P-Asserted-Identity of the PBX reaches the phone; what an app asserts, or names of ours,
    do not reach the PBX.
    """
    ext = await extension()
    asserted = ("P-Asserted-Identity", '"Reception" <sip:100@pbx.test>')
    call = ext.call(headers=(asserted,))
    await ext.pushed()
    phone = ext.phone(host="127.0.0.3")
    incoming = await ext.rung(phone)
    assert incoming.invite.all("P-Asserted-Identity") == [asserted[1]]
    incoming.reject(486, "Busy Here")
    await call.final()

    forbidden = (
        asserted,
        ("Remote-Party-ID", "<sip:100@pbx.test>"),
        ("Diversion", "<sip:100@pbx.test>"),
        ("History-Info", "<sip:100@pbx.test>;index=1"),
        ("X-Push-ID", "x"),
        ("x-push-reason", "y"),
    )
    phone.call(ext.pbx.aor("200"), headers=(*forbidden, ("X-Lab", "stays")))
    seen = await ext.pbx.agent.expect(method="INVITE", within=5)
    assert [name for name, _ in forbidden if seen.all(name)] == []
    assert seen.get("X-Lab") == "stays"
    ext.pbx.agent.respond(seen, 486, "Busy Here", to_tag="x")


@pytest.mark.parametrize("line_end", ["\n", "\r"])
async def test_no_header_is_smuggled(extension: MakeExtension, line_end: str) -> None:
    """A bare line feed or carriage return ends a line for SIP stacks: an app hides neither an
    asserted identity nor a Route behind one.
    """
    ext = await extension()
    phone = ext.phone(host="127.0.0.3")
    await phone.register()
    for hidden in ("P-Asserted-Identity: <sip:100@pbx.test>", "Route: <sip:127.0.0.9:5099;lr>"):
        call = phone.call(ext.pbx.aor("200"), headers=(("X-Lab", f"a{line_end}{hidden}"),))
        assert (await call.final()).status in (400, 403), hidden
    await ext.pbx.agent.expect_nothing(within=0.1, method="INVITE")


async def test_push_parameters_stay_here(extension: MakeExtension) -> None:
    """pn-* parameters of an app's Contact never reach the PBX."""
    ext = await extension()
    phone = ext.phone(host="127.0.0.3")
    secret = ";pn-provider=fcm;pn-param=app;pn-prid=secret-token"
    await phone.wake()
    await phone.register(contact=f"<{phone.contact}{secret}>")
    data = phone.invite(ext.pbx.aor("200")).replace(
        f"Contact: <{phone.contact}>".encode(), f"Contact: <{phone.contact}{secret}>".encode()
    )
    assert secret.encode() in data
    phone.agent.send(data, ext.service.sip_address)
    seen = await ext.pbx.agent.expect(method="INVITE", within=5)
    assert "pn-" not in str(seen)
    assert "secret-token" not in str(seen)
    ext.pbx.agent.respond(seen, 486, "Busy Here", to_tag="x")


async def test_garbage(extension: MakeExtension) -> None:
    """What is no SIP, from anybody, is dropped; what is nearly SIP gets 400 or silence; the next
    call works.
    """
    ext = await extension()
    async with SipAgent("garbage") as agent:
        for data in (b"", b"\r\n\r\n", b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"INVITE", b"{}"):
            agent.send(data, ext.service.sip_address)
        bare = build(
            f"INVITE {ext.aor} SIP/2.0",
            [agent.via(new_branch()), ("Call-ID", new_call_id()), ("CSeq", "1 INVITE")],
        )
        agent.send(bare, ext.service.sip_address)
        agent.send(bare.replace(b"CSeq: 1", b"CSeq: 99999999999999"), ext.service.sip_address)
        await agent.expect_nothing(within=0.2, status=200)
    call, incoming = await ext.woken()
    incoming.accept()
    await call.answered()


async def test_disabled_account(extension: MakeExtension) -> None:
    """A staged account takes no calls: the PBX gets the answer for an unknown one; its phones
    cannot register.
    """
    ext: Extension = await extension(enabled=False, registered=False)
    async with ext.phone() as phone:
        assert (await phone.register()).status == 403
    uri = "sip:{}@{}:{}".format(ext.user, *ext.service.sip_address)
    call = ext.pbx.as_caller().call(ext.aor, request_uri=uri, next_hop=ext.service.sip_address)
    # Nobody's PBX as long as no enabled account names it.
    assert (await call.final()).status in (403, 404)
    assert ext.pushes() == []
