"""The plain agent's own claims: digest vectors of RFC 7616, exact bytes, honest expectations."""

import time

import pytest

from tests.lab import sdp
from tests.lab.phone import Caller, Phone
from tests.lab.sip_agent import SipAgent, UnexpectedSipError
from tests.lab.sip_digest import Credentials, response_hash
from tests.lab.sip_message import build, parse


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_digest_of_rfc_7616(algorithm: str, expected: str) -> None:
    """The worked example of RFC 7616 section 3.9.1."""
    fields = {
        "realm": "http-auth@example.org",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "uri": "/dir/index.html",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    }
    credentials = Credentials("Mufasa", "Circle of Life")
    assert response_hash(credentials, fields, method="GET", algorithm=algorithm) == expected


def test_parse_keeps_order_and_bytes() -> None:
    """Header order, repeated and compact headers, folded lines and body bytes survive parsing."""
    raw = (
        b"INVITE sip:101@127.0.0.1 SIP/2.0\r\n"
        b"v: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKone, SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKtwo\r\n"
        b"Via: SIP/2.0/UDP 10.0.0.3\r\n"
        b'f: "a, b" <sip:a@b;tag=uri>;tag=real\r\n'
        b"Subject: folded\r\n  line\r\n"
        b"\r\n\x00body\r\n"
    )
    message = parse(raw)
    assert (message.method, message.uri) == ("INVITE", "sip:101@127.0.0.1")
    assert len(message.listed("Via")) == 3
    assert (message.branch, message.from_tag) == ("z9hG4bKone", "real")
    assert message.header("subject") == "folded line"
    assert (message.body, message.raw) == (b"\x00body\r\n", raw)


async def test_call_between_two_agents() -> None:
    """A caller and a phone set up, hold and end a call with nothing in between."""
    async with (
        Phone("sip:101@lab.test", proxy=("127.0.0.1", 1)) as phone,
        Caller("sip:200@lab.test", proxy=("127.0.0.1", 1)) as caller,
    ):
        call = caller.call("sip:101@lab.test", next_hop=phone.agent.address)
        incoming = await phone.incoming()
        incoming.trying()
        incoming.ring()
        await call.expect(180)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        callee = incoming.dialog()
        dialog.send("INVITE", body=sdp.HOLD)
        assert (await callee.expect("INVITE")).body == sdp.HOLD
        callee.send("BYE")
        await dialog.expect_bye()
        await phone.agent.expect(method="BYE", status=200, within=5)
        call.send_again()
        await phone.agent.expect(method="INVITE", within=5)
        assert len(phone.agent.received(method="INVITE", call_id=call.invite.call_id)) == 3


async def test_expectations_fail_plainly() -> None:
    """A missing message fails at its deadline, an unwanted one at once; both name what came."""
    async with SipAgent("one") as one, SipAgent("two") as two:
        with pytest.raises(UnexpectedSipError, match="no OPTIONS within"):
            await one.expect(method="OPTIONS", within=0.01)
        options = build("OPTIONS sip:lab SIP/2.0", [two.via(), ("CSeq", "1 OPTIONS")])
        two.send(options, one.address)
        begin = time.monotonic()
        with pytest.raises(UnexpectedSipError, match="should not have got 'OPTIONS"):
            await one.expect_nothing(within=30)
        assert time.monotonic() - begin < 10
        two.send(b"\r\n\r\n", one.address)
        two.send(options, one.address)
        await one.expect(method="OPTIONS", within=5)
        assert one.garbage == [b"\r\n\r\n"]


async def test_retransmits_only_when_asked() -> None:
    """`request` repeats after T1 with `retransmit`, and never without."""
    async with SipAgent("deaf") as deaf, SipAgent("asking") as asking:
        for retransmit, count in ((False, 1), (True, 2)):
            call_id = f"repeat-{retransmit}"
            headers = [asking.via(), ("Call-ID", call_id), ("CSeq", "1 OPTIONS")]
            data = build("OPTIONS sip:lab SIP/2.0", headers)
            with pytest.raises(UnexpectedSipError):
                await asking.request(data, deaf.address, within=1.3, retransmit=retransmit)
            assert len(deaf.received(call_id=call_id)) == count
