"""Nobody gets through us who may not, and nothing is learnt from the refusal."""

from __future__ import annotations

import asyncio

import pytest

from tests.lab.pbx import Pbx
from tests.lab.phone import Caller
from tests.lab.sip_agent import SipAgent
from tests.lab.sip_message import Message, build

from .conftest import Extension, MakeExtension

ELSEWHERE = "127.0.0.2"
"""Another machine, as far as anybody can tell."""


def shape(response: Message) -> tuple[object, ...]:
    """All of a response that is not chosen by the asker or at random."""
    names = [name for name, _ in response.headers]
    return response.status, response.reason, names, response.body


async def nothing_happened(ext: Extension) -> None:
    """Neither a push nor a request at the PBX."""
    await ext.pbx.agent.expect_nothing(within=0.3, method="INVITE")
    assert ext.pushes() == []


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "SUBSCRIBE"])
async def test_a_stranger_learns_nothing(extension: MakeExtension, method: str) -> None:
    """Known account, unknown account, our Contact with its token: the same 403."""
    ext = await extension()
    token = (await ext.pbx.registered(ext.user)).uri
    host = "{}:{}".format(*ext.service.sip_address)
    stranger = Caller("sip:200@pbx.test", proxy=ext.service.sip_address, host=ELSEWHERE)
    shapes = set()
    async with stranger:
        for uri in (f"sip:{ext.user}@{host}", f"sip:nobody@{host}", token, ext.aor):
            if method == "INVITE":
                response = await stranger.call(uri).final()
            else:
                response = await stranger.request(method, uri)
            assert response.status == 403
            shapes.add(str(shape(response)))
    assert len(shapes) == 1
    await nothing_happened(ext)


async def test_an_app_may_call_as_itself_only(extension: MakeExtension) -> None:
    """Another's From: 403; its own: the PBX gets it, without what apps may not assert."""
    ext = await extension()
    other = await extension()
    phone = ext.phone(host=ELSEWHERE)
    assert (await phone.register()).status == 200
    for forged in (other.aor, "sip:anonymous@anonymous.invalid", "tel:+491"):
        call = phone.call("sip:200@pbx.test", from_value=f"<{forged}>;tag=x")
        assert (await call.final()).status == 403
    # not even into an account of ours
    call = phone.call(other.aor, from_value="<sip:200@pbx.test>;tag=x")
    assert (await call.final()).status == 403
    await nothing_happened(other)

    asserted = (
        ("P-Asserted-Identity", "<sip:boss@pbx.test>"),
        ("Remote-Party-ID", "<sip:boss@pbx.test>"),
        ("Diversion", "<sip:boss@pbx.test>"),
        ("History-Info", "<sip:boss@pbx.test>;index=1"),
        ("X-Push-ID", "forged"),
        ("X-Other", "stays"),
    )
    phone.call("sip:200@pbx.test", headers=asserted)
    invite = await ext.pbx.agent.expect(method="INVITE", within=5)
    assert invite.uri == "sip:200@pbx.test"
    assert invite.header("X-Other") == "stays"
    for name, _ in asserted[:-1]:
        assert invite.all(name) == []
    assert invite.all("Record-Route")
    ext.pbx.agent.respond(invite, 486, "Busy Here", to_tag="busy")
    await phone.agent.expect(status=486, method="INVITE", within=5)
    record = await ext.record()
    assert (record["direction"], record["verdict"]) == ("outgoing", "busy")


async def test_an_app_may_not_choose_the_way(extension: MakeExtension) -> None:
    """A Route to somebody else is refused, also behind one to us."""
    ext = await extension()
    phone = ext.phone(host=ELSEWHERE)
    await phone.register()
    async with await SipAgent("evil").open(host="127.0.0.3") as evil:
        us = "<sip:{}:{};lr>".format(*ext.service.sip_address)
        for route in (f"<sip:{evil.hostport};lr>", f"{us}, <sip:{evil.hostport};lr>"):
            call = phone.call("sip:200@pbx.test", headers=(("Route", route),))
            assert (await call.final()).status == 403
        phone.call("sip:200@pbx.test", headers=(("Route", us),))
        invite = await ext.pbx.agent.expect(method="INVITE", within=5)
        assert invite.all("Route") == []
        assert evil.history == []


async def test_an_app_that_moved_has_to_register_again(extension: MakeExtension) -> None:
    """The flow is host and port: a new socket is a stranger."""
    ext = await extension()
    phone = ext.phone(host=ELSEWHERE)
    await phone.register()
    phone.sleep()
    await phone.wake()
    assert (await phone.call("sip:200@pbx.test").final()).status == 403
    await phone.register()
    phone.call("sip:200@pbx.test")
    await ext.pbx.agent.expect(method="INVITE", within=5)


async def test_the_pbx_reaches_its_own_accounts_only(extension: MakeExtension) -> None:
    """Another PBX, trusted for others, gets 404 for known and unknown alike."""
    ext = await extension()
    async with Pbx(host="127.0.0.4") as other_pbx:
        await extension(at=other_pbx)
        answers = set()
        for user in (ext.user, "nobody"):
            call = other_pbx.call(user, next_hop=ext.service.sip_address)
            response = await call.final()
            assert response.status == 404
            answers.add(str(shape(response)))
        assert len(answers) == 1
    await nothing_happened(ext)


async def test_register_known_and_unknown_look_the_same(extension: MakeExtension) -> None:
    """Challenge and refusal of an unknown AOR are those of a known one with a wrong password."""
    ext = await extension()
    shapes = []
    for user in (ext.user, "nobody"):
        async with Caller(f"sip:{user}@pbx.test", proxy=ext.service.sip_address) as caller:
            phone = ext.service.phone(f"sip:{user}@pbx.test", password="wrong")
            phone.agent = caller.agent
            first = await phone.agent.request(phone.register_request(), phone.proxy)
            again = await phone.register()
            assert (first.status, again.status) == (401, 401)
            for response in (first, again):
                offered = [
                    [part for part in value.split(", ") if "nonce=" not in part]
                    for value in response.all("WWW-Authenticate")
                ]
                shapes.append((shape(response), offered))
    assert shapes.count(shapes[0]) == 4
    assert "MD5" in str(shapes[0])
    assert "SHA-256" in str(shapes[0])


async def test_registrar_rules(extension: MakeExtension) -> None:
    """423, order, fetch, several phones, replay, SHA-256, removal of all."""
    ext = await extension("one", "two")
    one, two = ext.phone("one"), ext.phone("two")
    brief = await one.register(expires_s=5)
    assert (brief.status, brief.header("Min-Expires")) == (423, "60")
    assert (await one.register()).status == 200
    listed = (await two.register(algorithm="SHA-256")).listed("Contact")
    assert len(listed) == 2
    assert two.contact in listed[0]
    fetched = await one.register(contact="", expires_s=None)
    assert (fetched.status, len(fetched.listed("Contact"))) == (200, 2)
    one.registration_cseq -= 5
    assert (await one.register()).status == 500
    one.registration_cseq += 10
    star = await one.register(contact="*", expires_s=0)
    assert (star.status, star.all("Contact")) == (200, [])
    assert (await one.register(contact="*", expires_s=60)).status == 400


async def test_a_captured_register_cannot_be_sent_again(extension: MakeExtension) -> None:
    """The very credentials in a new transaction: 401 with stale=true."""
    ext = await extension()
    phone = ext.phone()
    await phone.register()
    captured = phone.agent.sent[-1][1].decode()
    head, _, _ = captured.partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    headers = [h for h in headers if h[0] not in ("Via", "Content-Length")]
    replay = build(start, [phone.agent.via(), *headers])  # type: ignore[list-item]
    response = await phone.agent.request(replay, phone.proxy)
    assert response.status == 401
    assert "stale=true" in response.header("WWW-Authenticate")


async def test_a_burst_of_registers(extension: MakeExtension) -> None:
    """Three Call-IDs at once, each sent twice: three 200s' worth of answers, one binding."""
    ext = await extension()
    phones = [ext.phone("same") for _ in range(3)]
    await phones[0].wake()
    for phone in phones[1:]:
        phone.agent = phones[0].agent
    answers = await asyncio.gather(*(phone.register() for phone in phones))
    assert [answer.status for answer in answers] == [200] * 3
    for _, data, to in list(phones[0].agent.sent):
        phones[0].agent.send(data, to)
    fetched = await phones[0].register(contact="", expires_s=None)
    assert len(fetched.listed("Contact")) == 1


async def test_in_trunk_we_challenge_the_app(extension: MakeExtension, pbx: Pbx) -> None:
    """407 in the app's realm; the PBX never sees the answer."""
    app_auth = {"user": "app", "realm": "apps.test", "password": "app secret"}
    ext = await extension(registered=False, topology="trunk", password=None, app_auth=app_auth)
    phone = ext.phone(password="app secret", auth_user="app", host=ELSEWHERE)
    assert (await phone.register()).status == 200
    call = phone.call("sip:200@pbx.test")
    invite = await pbx.agent.expect(method="INVITE", within=5)
    assert phone.agent.received(status=407)
    assert invite.all("Proxy-Authorization") == []
    pbx.agent.respond(invite, 480, "Nobody", to_tag="x")
    assert (await call.final()).status == 480
