"""Single requests: MESSAGE, OPTIONS, PUBLISH and what nobody has heard of."""

import pytest

from tests.lab.fixtures import MakeBaresip
from tests.lab.phone import Caller
from tests.lab.sip_agent import new_tag
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_digest import digest_fields

from .conftest import REALM, MakeExtension
from .methods import (
    TEXT,
    Way,
    answer,
    arrived,
    cross,
    desk,
    every_leg,
    every_way,
    final,
    send_alone,
    take,
    talking,
)

CPIM = (
    ("Content-Type", "message/cpim"),
    ("Date", "Sat, 21 Nov 2026 23:00:00 GMT"),
    ("X-Lab", "a,b ; c"),
)
WORDS = "Grüße, 世界\r\n\x00 end".encode()


@every_leg
@pytest.mark.parametrize("by_phone", [False, True])
@pytest.mark.parametrize("method", ["MESSAGE", "PUBLISH", "FROBNICATE"])
async def test_alone(
    extension: MakeExtension, method: str, by: str, leg: str, *, by_phone: bool
) -> None:
    """Outside dialogs, in both directions: headers and body arrive byte for byte, the answer
    comes back with its own, and no Record-Route is put in.
    """
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        await phone.register()
        sender, taker = (phone, far) if by_phone else (far, phone)
        sent = await send_alone(sender, method, taker.aor, headers=CPIM, body=WORDS)
        taken = await take(taker, method)
        arrived(taken.invite, CPIM, WORDS)
        assert taken.invite.all("Record-Route") == []
        answer(taken, 202, "Accepted", headers=(("SIP-ETag", "x1"), TEXT), body=WORDS)
        arrived(await final(sent, 202), (("SIP-ETag", "x1"), TEXT), WORDS)


@every_way
async def test_message_inside(extension: MakeExtension, way: Way) -> None:
    """MESSAGE inside a call, from each side."""
    async with talking(await extension(by=way.by), way) as talk:
        for sender, taker in talk.both_ways:
            await cross(sender, taker, "MESSAGE", headers=CPIM, body=WORDS)


@every_leg
async def test_message_wakes(extension: MakeExtension, by: str, leg: str) -> None:
    """For a sleeping phone: it is pushed, registers, and gets it byte for byte; its answer goes
    back through the PBX.
    """
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        sent = await send_alone(far, "MESSAGE", ext.aor, headers=CPIM, body=WORDS)
        (push,) = await ext.sink.wait(1, kind="message")
        assert WORDS not in push.body
        await phone.register()
        taken = await take(phone, "MESSAGE")
        arrived(taken.invite, CPIM, WORDS)
        answer(taken, 202, "Accepted", headers=(TEXT,), body=WORDS)
        arrived(await final(sent, 202), (TEXT,), WORDS)
        assert len(ext.sink.pushes) == 1


async def test_message_wakes_baresip(extension: MakeExtension, make_baresip: MakeBaresip) -> None:
    """A real phone that starts at the push takes the MESSAGE: its 200 is the sender's."""
    ext = await extension()
    phone = ext.baresip(make_baresip)
    async with desk(ext) as far:
        await far.register()
        sent = await send_alone(far, "MESSAGE", ext.aor, headers=(TEXT,), body=b"hello")
        await ext.sink.wait(1, kind="message")
        await phone.start()
        await final(sent, 200)
    assert [push.type for push in ext.sink.pushes] == ["message"]


@every_leg
@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH", "FROBNICATE"])
async def test_asleep(extension: MakeExtension, method: str, by: str, leg: str) -> None:
    """For a sleeping phone: 480, and nobody is pushed."""
    ext = await extension(by=by)
    async with desk(ext) as far:
        await far.register()
        sent = await send_alone(far, method, ext.aor, headers=(TEXT, ("Event", "x")), body=b"hi")
        assert (await final(sent, 480)).header("To").startswith(f"<{ext.aor}>")
        assert ext.sink.pushes == []


@every_leg
@pytest.mark.parametrize("awake", [False, True])
async def test_options_from_the_pbx(
    extension: MakeExtension, by: str, leg: str, *, awake: bool
) -> None:
    """OPTIONS to the AOR, which the PBX sends to our Contact: 200 from us, awake or asleep."""
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        if awake:
            await phone.register()
        sent = await send_alone(far, "OPTIONS", ext.aor)
        response = await final(sent, 200)
        for method in ("INVITE", "PRACK", "UPDATE", "REFER", "NOTIFY", "MESSAGE"):
            assert method in response.listed("Allow")
        assert phone.agent.received(method="OPTIONS") == []
        assert ext.sink.pushes == []


@every_leg
async def test_options_from_the_phone(extension: MakeExtension, by: str, leg: str) -> None:
    """To us: 200 at once, a keep-alive; to another extension: it is that one's to answer."""
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        await phone.register()
        far.agent.handlers.clear()
        ours = "sip:{}:{}".format(*ext.service.sip_address)
        assert (await phone.request("OPTIONS", ours)).status == 200
        sent = await send_alone(phone, "OPTIONS", far.aor)
        taken = await take(far, "OPTIONS")
        answer(taken, 200, "OK", headers=(("Allow", "X-LAB"),))
        assert (await final(sent, 200)).all("Allow") == ["X-LAB"]


@every_leg
async def test_publication(extension: MakeExtension, by: str, leg: str) -> None:
    """PUBLISH (RFC 3903) of the phone: entity tag, refresh by SIP-If-Match, 412 when it is gone."""
    ext = await extension(by=by)
    kind = (("Event", "presence"), ("Content-Type", "application/pidf+xml"), ("Expires", "600"))
    async with desk(ext) as server, ext.phone(leg) as phone:
        await server.register()
        await phone.register()
        first = await send_alone(phone, "PUBLISH", server.aor, headers=kind, body=b"<presence/>")
        taken = await take(server, "PUBLISH")
        arrived(taken.invite, kind, b"<presence/>")
        answer(taken, headers=(("SIP-ETag", "dx200xyz"), ("Expires", "600")))
        etag = (await final(first, 200)).header("SIP-ETag")
        again = (("Event", "presence"), ("SIP-If-Match", etag), ("Expires", "0"))
        second = await send_alone(phone, "PUBLISH", server.aor, headers=again)
        taken = await take(server, "PUBLISH")
        arrived(taken.invite, again, b"")
        answer(taken, 412, "Conditional Request Failed")
        await final(second, 412)


@pytest.mark.parametrize("status", [302, 401, 407, 420, 480, 486, 488, 493, 600, 603, 606])
async def test_refusals_reach_the_pbx(extension: MakeExtension, status: int) -> None:
    """What the phone refuses a call with is what the PBX gets, with the headers that matter."""
    ext = await extension()
    told = (
        ("Warning", '399 lab "not now"'),
        ("Unsupported", "x-lab"),
        ("Contact", "<sip:other@192.0.2.1>"),
        ("Retry-After", "7;duration=60"),
    )
    async with ext.phone() as phone:
        await phone.register()
        # Straight to our Contact, as the PBX itself would: a PBX makes something else of some.
        (binding,) = await ext.pbx.bindings(ext.user)
        async with Caller("sip:desk@pbx.test", proxy=ext.service.sip_address) as caller:
            call = caller.call(ext.aor, request_uri=binding.uri)
            incoming = await phone.incoming()
            challenge = 'Digest realm="phone", nonce="n", x-odd="a, b"'
            incoming.reject(status, "As It Is", headers=(*told, ("WWW-Authenticate", challenge)))
            response = await call.final()
            assert (response.status, response.reason) == (status, "As It Is")
            arrived(response, told, b"")
            fields = digest_fields(response.header("WWW-Authenticate"))
            assert (fields["realm"], fields["nonce"], fields["x-odd"]) == ("phone", "n", "a, b")


async def test_strangers_find_nobody(extension: MakeExtension) -> None:
    """From another address every method gets the same 403, whatever stands in it, and an
    invented dialog 481.
    """
    ext = await extension()
    async with ext.phone() as phone:
        await phone.register()
        async with ext.service.phone(ext.aor, password="x", host="127.0.0.9") as stranger:
            for method in ("MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "FROBNICATE"):
                for to in (ext.aor, f"sip:nobody@{REALM}"):
                    answer_ = await stranger.request(method, to)
                    assert (answer_.status, answer_.reason) == (403, "Forbidden"), method
            forged = Dialog(
                agent=stranger.agent,
                call_id="forged",
                local=f"<{ext.aor}>;tag={new_tag()}",
                remote=f"<{ext.aor}>;tag={new_tag()}",
                remote_target=phone.contact,
                routes=["<sip:x@{}:{};lr>".format(*ext.service.sip_address)],
                cseq=1,
            )
            for method in ("INFO", "UPDATE", "NOTIFY", "REFER", "MESSAGE", "PRACK"):
                assert (await forged.request(method)).status == 481
        assert phone.agent.received(method="MESSAGE") == []
