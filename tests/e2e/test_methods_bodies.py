"""What is inside messages crosses untouched: bodies, signatures, identities, sizes."""

import sys
from pathlib import Path

import pytest

from tests.lab import sdp
from tests.lab.process import Process
from tests.lab.sip_message import Header

from .conftest import Extension, MakeExtension
from .methods import (
    WAYS,
    Way,
    answer,
    answer_to,
    arrived,
    begun,
    cross,
    desk,
    every_way,
    every_way_over_udp,
    final,
    hang_up,
    send_alone,
    take,
    talking,
)

BOUNDARY = ("Content-Type", 'multipart/mixed;boundary="a=b:c d"')
MULTIPART = (
    b"preamble, to be ignored\r\n--a=b:c d\r\n"
    b"Content-Type: application/sdp\r\n\r\n" + sdp.OFFER + b"\r\n--a=b:c d\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Disposition: x ;handling=optional\r\n\r\n"
    + bytes(range(256))
    + b"\r\n--a=b:c d--\r\nepilogue"
)
SIGNED = (
    "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwicHB0Ijoic2hha2VuIn0.eyJhdHRlc3QiOiJBIn0.sig_-na"
    "ture;info=<https://cert.example.org/passport.cer>;alg=ES256;ppt=shaken"
)
IDENTITY: tuple[Header, ...] = (
    ("Identity", SIGNED),
    ("Identity", "second..one;info=<https://b.example.org/x?a=1,2&b=%20>;alg=ES256;ppt=div"),
    ("Date", "Sat, 21 Nov 2026 23:02:01 GMT"),
)
CURIOUS: tuple[Header, ...] = (
    ("X-Lab-Curious", '"quoted, comma" ;p="a;b";;q , <x>'),
    ("Call-Info", "<http://a.example/p,q.png> ;purpose=icon, <cid:1@x>;answer-after=0"),
    ("Alert-Info", "<urn:alert:source:internal>"),
    ("Geolocation", "<cid:target123@atlanta.example.com>"),
    ("Subject", "Grüße aus Köln, 你好"),
    ("User-to-User", "56a390f3d2b7310023a2;encoding=hex;purpose=foo"),
    ("P-Early-Media", "supported"),
    ("Accept-Contact", '*;mobility="mobile";require;explicit'),
    ("Session-ID", "ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000"),
    ("Organization", "  spaced   out".strip()),
)


def padded(size: int) -> bytes:
    """An offer with attributes until it has that many bytes."""
    lines, number = [sdp.OFFER], 0
    length = len(sdp.OFFER)
    while length < size:
        line = b"a=candidate:%d 1 UDP 2130706431 192.0.2.1 %d typ host\r\n" % (number, number)
        lines.append(line)
        length += len(line)
        number += 1
    return b"".join(lines)


@every_way
async def test_multipart(extension: MakeExtension, way: Way) -> None:
    """A multipart body whose boundary needs its quotes, with binary parts: the same bytes and
    the same Content-Type in the INVITE, in its 200, in re-INVITE, INFO and MESSAGE.
    """
    ext = await extension(by=way.by)
    async with begun(ext, way, body=MULTIPART, headers=(BOUNDARY,)) as new:
        call, incoming = new.call, new.incoming
        arrived(incoming.invite, (BOUNDARY,), MULTIPART)
        answer(incoming, headers=(BOUNDARY,), body=MULTIPART)
        response = await call.final()
        arrived(response, (BOUNDARY,), MULTIPART)
        sides = (call.dialog(response), incoming.dialog())
        sides[0].ack(response)
        await incoming.expect_ack()
        for sender, taker in (sides, sides[::-1]):
            for method in ("INVITE", "INFO", "MESSAGE"):
                await cross(
                    sender,
                    taker,
                    method,
                    headers=(BOUNDARY,),
                    body=MULTIPART,
                    answer_headers=(BOUNDARY,),
                    answer=MULTIPART,
                )
        await hang_up(*sides)


@every_way
async def test_identity_untouched(extension: MakeExtension, way: Way) -> None:
    """RFC 8224: what a PASSporT signs over arrives as it was signed (From, To, Date, body), and
    so do the Identity headers themselves; in a re-INVITE as well.
    """
    async with talking(await extension(by=way.by), way, headers=IDENTITY) as talk:
        arrived(talk.seen, IDENTITY, talk.invite.body)
        for name in ("From", "To", "Call-ID", "Content-Type"):
            assert talk.seen.all(name) == talk.invite.all(name)
        for sender, taker in talk.both_ways:
            sent = sender.send("INVITE", body=sdp.HOLD, headers=IDENTITY)
            seen = await taker.expect("INVITE")
            arrived(seen, IDENTITY, sdp.HOLD)
            assert (seen.header("From"), seen.header("To")) == (sender.local, sender.remote)
            contact = ("Contact", f"<{taker.agent.uri('lab')}>")
            taker.agent.respond(seen, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=b"x")
            sender.ack(await answer_to(sender, sent, 200))
            await taker.expect("ACK")


@every_way
async def test_headers_untouched(extension: MakeExtension, way: Way) -> None:
    """Headers that we know nothing of keep their bytes and their order, in requests and answers."""
    async with talking(
        await extension(by=way.by), way, headers=CURIOUS, answer_headers=CURIOUS
    ) as talk:
        arrived(talk.seen, CURIOUS, talk.invite.body)
        order = [name for name, _ in CURIOUS]
        assert [name for name, _ in talk.seen.headers if name in order] == order
        for sender, taker in talk.both_ways:
            await cross(sender, taker, "INFO", headers=CURIOUS, answer_headers=CURIOUS)


@pytest.mark.parametrize("private", [False, True])
async def test_asserted_identity(extension: MakeExtension, *, private: bool) -> None:
    """RFC 3325: what the PBX asserts reaches the phone, unless the caller asks for Privacy: id;
    the From stays as it is.
    """
    ext = await extension()
    asserted = (
        ("P-Asserted-Identity", '"Ann, A." <sip:+4930123@pbx.test;user=phone>'),
        ("P-Asserted-Identity", "<tel:+4930123>"),
    )
    privacy = (("Privacy", "id;critical" if private else "none"),)
    async with desk(ext) as far, ext.phone() as phone:
        await far.register()
        ext.wake_on_push(phone.register)
        call = far.call(ext.aor, headers=(*asserted, *privacy))
        incoming = await phone.incoming(within=10)
        arrived(incoming.invite, privacy, call.invite.body)
        wanted = [] if private else [value for _, value in asserted]
        assert incoming.invite.all("P-Asserted-Identity") == wanted
        assert incoming.invite.header("From") == call.invite.header("From")
        incoming.reject(486, "Busy Here")
        await call.final()
    assert (await ext.record())["caller_number"] == ("" if private else "+4930123")


async def test_apps_assert_nothing(extension: MakeExtension) -> None:
    """What only the network may say is taken from an app's requests, outside and inside dialogs;
    its wish (P-Preferred-Identity, Privacy) passes.
    """
    claims = (
        ("P-Asserted-Identity", "<sip:boss@pbx.test>"),
        ("Remote-Party-ID", "<sip:boss@pbx.test>;party=calling"),
        ("Diversion", "<sip:boss@pbx.test>"),
        ("History-Info", "<sip:boss@pbx.test>;index=1"),
        ("X-Push-Reason", "none"),
    )
    wishes = (("P-Preferred-Identity", "<sip:me@pbx.test>"), ("Privacy", "id"))
    async with talking(await extension(), Way("outgoing"), headers=(*claims, *wishes)) as talk:
        arrived(talk.seen, wishes, talk.invite.body)
        for name, _ in claims:
            assert talk.seen.all(name) == []
        sent = talk.near.send("INFO", headers=(*claims, *wishes))
        seen = await talk.there.expect("INFO")
        arrived(seen, wishes, b"")
        for name, _ in claims:
            assert seen.all(name) == []
        talk.far.agent.respond(seen, 200, "OK")
        await answer_to(talk.near, sent, 200)


STREAMS = [way for way in WAYS if "udp" not in (way.by, way.leg)]


@pytest.mark.parametrize("size", [3_000, 12_000])
@every_way_over_udp
async def test_large_over_udp(extension: MakeExtension, way: Way, size: int) -> None:
    """INVITE, its answer, re-INVITE and MESSAGE of many kilobytes: forwarded in one datagram,
    never by another transport, every byte kept.
    """
    await large(await extension(), way, padded(size))


@pytest.mark.parametrize("way", STREAMS, ids=str)
async def test_large_over_streams(extension: MakeExtension, way: Way) -> None:
    """The same with 60 kilobytes over TCP and TLS."""
    await large(await extension(by=way.by), way, padded(60_000), far_by="tcp")


async def large(ext: Extension, way: Way, body: bytes, *, far_by: str = "udp") -> None:
    """Everything that may be large, with this body."""
    kind, other = (sdp.CONTENT_TYPE,), (("Content-Type", "x/y"),)
    async with begun(ext, way, body=body, far_by=far_by) as new:
        call, incoming = new.call, new.incoming
        arrived(incoming.invite, kind, body)
        incoming.accept(body)
        response = await call.final()
        arrived(response, kind, body)
        sides = (call.dialog(response), incoming.dialog())
        sides[0].ack(response)
        await incoming.expect_ack()
        for sender, taker in (sides, sides[::-1]):
            changed = body[:-2] + b"!!"
            await cross(sender, taker, "INVITE", body=body, answer_headers=kind, answer=changed)
            await cross(sender, taker, "MESSAGE", headers=other, body=body)
        await hang_up(*sides)
        sent = await send_alone(new.caller, "MESSAGE", new.callee.aor, headers=other, body=body)
        taken = await take(new.callee, "MESSAGE")
        arrived(taken.invite, (), body)
        answer(taken)
        await final(sent, 200)


async def test_fragmented(workdir: Path) -> None:
    """The same where a packet holds 1500 bytes: IP takes the datagrams apart and puts them
    together, and nobody notices.
    """
    inner = "test_large_over_udp"
    script = (
        "ip link set lo mtu 1500 up && "
        f'"$0" -m pytest -q -p no:cacheprovider "{__file__}" -k {inner} && '
        "grep ^Ip: /proc/net/snmp"
    )
    log = workdir / "fragmented.log"
    run = Process(
        ["unshare", "--map-root-user", "--net", "sh", "-c", script, sys.executable],
        name="fragmented",
        log=log,
        cwd=Path(__file__).parents[2],
    )
    run.start()
    code = await run.wait_exit(within_s=60)
    if "unshare failed" in run.output():
        pytest.skip(f"no network of its own: {run.output().strip()}")
    assert code == 0, run.output()
    names, values = (line.split()[1:] for line in run.output().splitlines()[-2:])
    ip = dict(zip(names, map(int, values), strict=True))
    assert ip["ReasmOKs"] > 20
    assert ip["ReasmFails"] == 0
