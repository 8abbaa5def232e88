"""core.message: what Python reads of a SIP message, RFC 4475's torture included."""

import time

import pytest

from push_proxy.core.message import MalformedMessage, parse, split_commas

REGISTER = b"""REGISTER sip:pbx.example.com SIP/2.0\r
Via: SIP/2.0/UDP 192.0.2.7:5062;rport;branch=z9hG4bKnashds8\r
Max-Forwards: 70\r
From: "Bob" <sip:bob@pbx.example.com>;tag=a73kszlfl\r
To: <sip:bob@pbx.example.com>\r
Call-ID: 1j9FpLxk3uxtm8tn@biloxi.example.com\r
CSeq: 2 REGISTER\r
Contact: <sip:bob@192.0.2.7:5062>;+sip.instance="<urn:uuid:0-1>";expires=600, <sip:b@h>\r
Supported: path, outbound, gruu\r
User-Agent: A phone/1.0\r
Authorization: Digest username="bob", realm="pbx", nonce="abc", uri="sip:pbx", response="0"\r
Expires: 600\r
Content-Length: 0\r
\r
"""

# RFC 4475 §3.1.1.1, "A Short Tortuous INVITE".
TORTUOUS = (
    b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
    b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
    b'from   : "J Rosenberg \\\\\\"" <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
    b"MaX-fOrWaRdS: 0068\r\n"
    b"Call-ID: wsinv.ndaksdj@192.0.2.1\r\n"
    b"Content-Length   : 150\r\n"
    b"cseq: 0009\r\n  INVITE\r\n"
    b"Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\n"
    b"s :\r\n"
    b"NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
    b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
    b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n"
    b"  branch  =   z9hG4bK9ikj8  ,\r\n"
    b" SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
    b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n'
    b'      newvalue ;\r\n  secondparam ; q = 0.33\r\n\r\n' + b"x" * 150
)  # fmt: skip


def test_a_register_is_read() -> None:
    """Names match in any case; values keep their text; the body ends at Content-Length."""
    message = parse(REGISTER)
    assert message.is_request
    assert (message.method, message.request_uri) == ("REGISTER", "sip:pbx.example.com")
    assert message.first("EXPIRES") == "600"
    assert message.first("absent") is None
    assert message.call_id == "1j9FpLxk3uxtm8tn@biloxi.example.com"
    assert (message.cseq, message.cseq_method) == (2, "REGISTER")
    assert len(message.all("contact")) == 1
    assert message.values("m") == [
        '<sip:bob@192.0.2.7:5062>;+sip.instance="<urn:uuid:0-1>";expires=600',
        "<sip:b@h>",
    ]
    assert message.has_token("k", "OUTBOUND")
    assert not message.has_token("require", "path")
    assert message.body == b""


def test_the_short_tortuous_invite_is_read() -> None:
    """RFC 4475 §3.1.1.1: folding, blanks around colons, compact forms, odd case."""
    message = parse(TORTUOUS)
    assert message.first("to") == "sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n"
    assert message.first("From") == (
        '"J Rosenberg \\\\\\"" <sip:jdrosen@example.com> ; tag = 98asjd8'
    )
    assert (message.cseq, message.cseq_method) == (9, "INVITE")
    assert message.first("subject") == ""
    assert len(message.all("via")) == 2
    assert len(message.values("via")) == 3
    assert message.first("newfangledheader") == "newfangled value continued newfangled value"
    assert message.body == b"x" * 150


def test_a_response_is_read() -> None:
    """Status and reason; a reason phrase may be empty or hold UTF-8 (RFC 4475 §3.1.1.12)."""
    answer = parse("SIP/2.0 200 = 2**3 * 5**2 но сто\r\nCSeq: 1 INVITE\r\n\r\n".encode())
    assert (answer.status, answer.reason) == (200, "= 2**3 * 5**2 но сто")
    assert not answer.is_request
    assert parse(b"SIP/2.0 100\r\nl: 0\r\n\r\n").reason == ""


def test_an_unusual_method_is_a_method() -> None:
    """RFC 4475 §3.1.1.2: any token names a method."""
    message = parse(
        b"!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)@example.com "
        b"SIP/2.0\r\ni: x\r\n\r\n"
    )
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"


def test_leading_empty_lines_and_bare_line_feeds_are_accepted() -> None:
    """RFC 3261 §7.5 and lenient senders."""
    message = parse(b"\r\n\r\nOPTIONS sip:a SIP/2.0\nVia: x\nl: 2\n\nabc")
    assert message.first("v") == "x"
    assert message.body == b"ab"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nVia: x\r\n",
        b"INVITE sip:a SIP/7.0\r\nVia: x\r\n\r\n",
        b"INVITE sip:user@example.com; lr SIP/2.0\r\nVia: x\r\n\r\n",
        b"INVITE  sip:a  SIP/2.0\r\nVia: x\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nno colon\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\n: nameless\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nContent-Length: -999\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nContent-Length: 9999\r\n\r\nshort",
        b"SIP/2.0 4294967301 better not break the receiver\r\nVia: x\r\n\r\n",
        b"\xff\xfe\x00\x01\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nX: a\nRoute: <sip:b>\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nX: a\rRoute: <sip:b>\r\n\r\n",
        b"INVITE sip:a SIP/2.0\nX: a\rRoute: <sip:b>\n\n",
    ],
)
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    """RFC 4475 §3.1.2: errors raise MalformedMessage and nothing else."""
    with pytest.raises(MalformedMessage):
        parse(raw)


@pytest.mark.parametrize("value", ["36893488147419103232 REGISTER", "x INVITE", "1", ""])
def test_an_unreadable_cseq_raises_when_asked_for(value: str) -> None:
    """RFC 4475 §3.1.2.4: scalar fields with overlarge values."""
    message = parse(f"REGISTER sip:a SIP/2.0\r\nCSeq: {value}\r\n\r\n".encode())
    with pytest.raises(MalformedMessage):
        _ = message.cseq


def test_commas_in_quotes_and_brackets_do_not_split() -> None:
    """Also when a quote or bracket is never closed."""
    assert split_commas('"a, \\", b" <sip:x,y@z>, <sip:c>,,d') == [
        '"a, \\", b" <sip:x,y@z>',
        "<sip:c>",
        "d",
    ]
    assert split_commas('a, "b, c') == ["a", '"b, c']
    assert split_commas("<a, b") == ["<a, b"]


def test_hostile_quotes_cost_no_time() -> None:
    """Unclosed quotes and escapes are read in linear time."""
    began = time.perf_counter()
    split_commas('"\\' * 8000 + ",")
    split_commas("<" * 16000 + ",")
    assert time.perf_counter() - began < 0.2
