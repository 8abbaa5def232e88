"""core.incoming: what a push says of the caller."""

import pytest

from push_proxy.core.incoming import IncomingCall, incoming_call
from push_proxy.core.message import parse

FROM = 'From: "Ann" <sip:555@pbx.example.com>;tag=1'


def read(*lines: str, body: str = "") -> IncomingCall:
    head = "\r\n".join(["INVITE sip:101@10.0.0.7 SIP/2.0", *lines])
    return incoming_call(parse(f"{head}\r\n\r\n{body}".encode()))


@pytest.mark.parametrize(
    ("lines", "caller"),
    [
        ([FROM], ("555", "Ann")),
        (["f: <sip:555@pbx>;tag=1"], ("555", "")),
        (["From: tel:+49301;tag=1"], ("+49301", "")),
        ([FROM, "P-Asserted-Identity: <sip:+4930@pbx>"], ("+4930", "Ann")),
        ([FROM, 'P-Asserted-Identity: "A, B" <sip:77@pbx>, <tel:+1>'], ("77", "A, B")),
        ([FROM, 'P-Asserted-Identity: "B" <tel:+49301;ext=5>'], ("+49301", "B")),
        ([FROM, "P-Asserted-Identity: garbage <"], ("555", "Ann")),
        (["From: <urn:service:sos>;tag=1"], ("", "")),
        (["From: garbage <"], ("", "")),
        ([], ("", "")),
        ([FROM, "Privacy: id"], ("", "")),
        ([FROM, "P-Asserted-Identity: <sip:1@pbx>", "Privacy: critical;id"], ("", "")),
        ([FROM, "Privacy: none"], ("555", "Ann")),
    ],
)
def test_caller(lines: list[str], caller: tuple[str, str]) -> None:
    """What the PBX vouches for, else From; nothing with ``Privacy: id``."""
    call = read(*lines)
    assert (call.number, call.name) == caller


@pytest.mark.parametrize(
    ("body", "video"),
    [
        ("v=0\r\nm=audio 4000 RTP/AVP 0\r\n", False),
        ("v=0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 99\r\n", True),
        ("v=0\nm=video 4002 RTP/AVP 99\n", True),
        ("v=0\r\nm=video 0 RTP/AVP 99\r\n", False),
        ("v=0\r\na=m=video 1\r\n", False),
        ("", False),
    ],
)
def test_video(body: str, video: bool) -> None:
    """An offered video stream that is not switched off."""
    assert read(FROM, body=body).video is video


def test_what_the_wake_wants() -> None:
    """100rel only when it is required; Expires in seconds; nonsense is no Expires."""
    call = read(FROM, "Require: timer, 100rel", "Expires: 60")
    assert (call.requires_100rel, call.expires_s) == (True, 60.0)
    call = read(FROM, "Supported: 100rel", "Expires: soon")
    assert (call.requires_100rel, call.expires_s) == (False, None)


def test_what_must_not_reach_the_app() -> None:
    """Names of ours never; the caller's identity not when privacy is asked for."""
    assert set(read(FROM, "X-Push-ID: forged", "P-Asserted-Identity: <sip:1@pbx>").strip) == {
        "x-push-id",
    }
    assert "p-asserted-identity" in read(FROM, "Privacy: id").strip
