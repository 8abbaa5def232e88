"""What nobody may read in a copied message, and what must stay readable."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from push_proxy.core.message import parse
from push_proxy.signaling import _stack  # noqa: TID251 - what the stack does to each copy

from .messages import SDP, message


def mask(messages: list[bytes]) -> list[bytes]:
    return [_stack.mask(message) for message in messages]


SECRET = "S3cretValue"
DIGEST = (
    'Digest username="101", realm="pbx.example.com", nonce="n0nce", uri="sip:pbx.example.com", '
    f'response="{SECRET}", cnonce="{SECRET}", nc=00000001, qop=auth, algorithm=MD5'
)
ROUTE_TOKEN = base64.urlsafe_b64encode(bytes((1, *range(60)))).decode().rstrip("=")


@pytest.mark.parametrize(
    "header",
    [
        f"Authorization: {DIGEST}",
        f"authorization:{DIGEST}",
        f"Proxy-Authorization \t: {DIGEST}",
        f'Authorization: Digest username="101",\r\n\tresponse="{SECRET}",\r\n cnonce={SECRET}',
        f'Authorization: Digest response = "{SECRET}"',
        f'Authorization: Digest username="101", response="{SECRET} with \\" quotes',
        f"Authorization: Digest {SECRET}",
        f'Authorization: Digest username="101", {SECRET}, realm="x"',
        f"Authorization: Basic {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"Authorization: {SECRET}",
        f"Authorization: AKAv1-MD5 {SECRET}, {SECRET}",
        f'Authentication-Info: rspauth="{SECRET}", cnonce="{SECRET}", nextnonce="n0nce"',
        f"Contact: <sip:101@192.0.2.1;pn-provider=fcm;pn-param=app;pn-prid={SECRET}>;expires=60",
        f"Contact: <sip:101@192.0.2.1;PN-PRID={SECRET}>",
        f"Contact: <sip:101@192.0.2.1;pn-prid={SECRET}:{SECRET}/{SECRET}%3D>",
        f"Contact: <sip:101@192.0.2.1;%70n-pri%64={SECRET}>",
        f"Contact: <sip:101@192.0.2.1;pn%2Dprid={SECRET}>",
        f'Contact: <sip:101@192.0.2.1>;pn-tok="{SECRET}"',
        f"Contact: <sip:101@192.0.2.1;app-id=1;pn-type=firebase;pn-tok={SECRET}>",
        f"Contact: <sip:101@10.0.0.7:5060;pp={SECRET}>",
        f"Refer-To: <sip:300@192.0.2.1?Authorization={SECRET}>",
        f"Refer-To: <sip:300:{SECRET}@192.0.2.1>",
        f"Route: <sip:101:{SECRET}@192.0.2.1;lr>, <sips:101:{SECRET}@192.0.2.1;lr>",
        f"X-Api-Token: {SECRET}",
        f"x-auth-key : {SECRET}\r\n {SECRET}",
        f"X-Session-Cookie: a={SECRET}",
    ],
)
def test_no_secret_of_a_header_is_kept(header: str) -> None:
    """Wherever a secret stands in a header, it does not stand in what is kept, which is as long
    as before and reads the same elsewhere.
    """
    raw = message("REGISTER sip:pbx.example.com SIP/2.0", header, "X-Push-ID: 4711")
    (masked,) = mask([raw])
    assert SECRET.encode() not in masked
    assert len(masked) == len(raw)
    assert all(now in (before, ord("*")) for before, now in zip(raw, masked, strict=True))
    assert b"X-Push-ID: 4711" in masked
    kept = parse(masked)
    assert kept.first("from") == '"Ann" <sip:555@pbx.example.com>;tag=1'
    assert kept.call_id == "sip-1"


@pytest.mark.parametrize(
    "line",
    [
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{SECRET}|2^20|1:32",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 INLINE:{SECRET};inline:{SECRET}",
        f"a=ice-pwd:{SECRET}",
        f"a=key-mgmt:mikey {SECRET}",
        f"k=base64:{SECRET}",
        f"K=clear:{SECRET}",
    ],
)
def test_no_key_of_a_media_description_is_kept(line: str) -> None:
    """Media keys are masked, also in a part of a multipart body; the rest of the SDP stays."""
    for body in (f"{SDP}{line}\r\n", f"--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}{line}\n"):
        raw = message("INVITE sip:101@10.0.0.7 SIP/2.0", body=body)
        (masked,) = mask([raw])
        assert SECRET.encode() not in masked
        assert b"m=audio 4000 RTP/SAVP 0" in masked
        assert parse(masked).body == masked[-len(body) :]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/dtmf-relay", "Signal=4\r\nDuration=160\r\n"),
        ("application/dtmf-relay", "Signal= 4\nDuration= 160\n"),
        ("application/dtmf", "4"),
        ("application/vnd.nortelnetworks.digits; x=dtmf ", "Signal=4\r\n"),
    ],
)
def test_digits_that_somebody_keys_in_are_not_kept(kind: str, body: str) -> None:
    """They may be a PIN."""
    raw = message("INFO sip:101@10.0.0.7 SIP/2.0", f"Content-Type: {kind}", body=body)
    (masked,) = mask([raw])
    assert b"4" not in masked[-len(body) :]
    assert len(masked) == len(raw)


def test_our_own_tokens_are_not_kept() -> None:
    """The user part of our Record-Route would let its reader send requests into the dialog."""
    raw = message(
        f"BYE sip:{ROUTE_TOKEN}@10.0.0.7:5060;lr SIP/2.0",
        f"Record-Route: <sip:{ROUTE_TOKEN}@10.0.0.7:5060;lr>,<sips:{ROUTE_TOKEN}@10.0.0.7;lr>",
    )
    (masked,) = mask([raw])
    assert ROUTE_TOKEN.encode() not in masked
    assert b"@10.0.0.7:5060;lr>" in masked


def test_what_is_no_secret_stays() -> None:
    """A message without secrets is kept as it was: names, numbers, challenges, call ids."""
    raw = message(
        "INVITE sip:101@10.0.0.7:5060;transport=tcp SIP/2.0",
        'WWW-Authenticate: Digest realm="pbx.example.com", nonce="n0nce", qop="auth"',
        'Contact: <sip:alice@192.0.2.1:5060;pn-provider=apns>;+sip.instance="<urn:uuid:1>"',
        "Allow: INVITE, ACK",
        "X-Push-ID: 4b1f0a52-8a3b-4c19-9f0e-2d5a6f7c8e90",
        body=f"{SDP}a=ice-ufrag:abcd\r\na=fingerprint:sha-256 AA:BB\r\n",
    )
    assert mask([raw]) == [raw]
    assert mask([]) == []


def test_username_and_nonce_stay_beside_a_masked_response() -> None:
    """Who tried, where and with which challenge is what a support case needs."""
    (masked,) = mask([message("REGISTER sip:x SIP/2.0", f"Authorization: {DIGEST}")])
    value = parse(masked).first("authorization") or ""
    assert 'username="101", realm="pbx.example.com", nonce="n0nce"' in value
    assert 'uri="sip:pbx.example.com", response=*' in value
    assert value.endswith("nc=00000001, qop=auth, algorithm=MD5")


TEXT = st.text("abcXYZ019+/=-_.~", min_size=12, max_size=80)
PLACES = [
    'Authorization: Digest username="u", response="{}"',
    "Proxy-Authorization: Basic {}",
    "Contact: <sip:u@h;pn-prid={};pn-param=p>",
    "Contact: <sip:u@h;pp={}>",
    "X-Secret: {}",
    "Route: <sip:u:{}@h>",
]


@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), TEXT, st.sampled_from(["\r\n", "\n", "\r"])),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([str.upper, str.lower, str.title, str]),
)
@settings(max_examples=300, deadline=None)
def test_no_secret_survives_beside_others(
    drawn: list[tuple[str, str, str]], spelling: type[str]
) -> None:
    """However names are spelt, lines end and secrets follow each other, none of a list is kept,
    and no message changes another one's.
    """
    raws, secrets = [], []
    for place, text, end in drawn:
        name, _, value = place.partition(":")
        secret = f"<<{text}>>".strip("<>")
        secrets.append(secret)
        header = f"{spelling(name)}:{value.format(secret)}"
        raws.append(
            message("INVITE sip:u@h SIP/2.0", header, body=SDP).replace(b"\r\n", end.encode())
        )
    plain = message("INVITE sip:plain@h SIP/2.0", body=SDP)
    masked = mask([plain, *raws, plain])
    assert masked[0] == masked[-1] == plain
    for raw, kept, secret in zip(raws, masked[1:-1], secrets, strict=True):
        assert len(kept) == len(raw)
        assert secret.encode() not in kept


@given(st.lists(st.binary(max_size=400), max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_masked_without_a_fault(raws: list[bytes]) -> None:
    """What is no SIP at all neither fails nor changes its length."""
    assert [len(each) for each in mask(raws)] == [len(each) for each in raws]


def test_what_people_write_is_not_kept() -> None:
    """The text of a MESSAGE within a call: who wrote when is shown, not what."""
    raw = message("MESSAGE sip:101@pbx SIP/2.0", "Content-Type: text/plain", body=SECRET)
    (masked,) = mask([raw])
    assert SECRET.encode() not in masked
    assert masked == raw.replace(SECRET.encode(), b"*" * len(SECRET))


@pytest.mark.parametrize(
    "hostile",
    [
        "Authorization: Digest " + "a" * 60_000,
        "Authorization: Digest " + "authorization:" * 4_000,
        "X-Note: " + "sip:a:" * 10_000,
        "X-Note: " + "pn-" * 20_000,
        "X-Note: %20 " + "pn-" * 20_000,
        "X-Note: " + "pn-provider=" * 5_000,
        "X-Note: " + "pn-" * 10_000 + 'a="' + "b" * 30_000 + '"',
        "X-Note: " + "pp=" * 20_000,
        "X-Note: " + "inline:" * 8_000,
        "X-Note: " + "authorization=" * 4_000,
        "CSeq: 1 INFO\r\n\r\n" + "dtmf " * 12_000,
    ],
    ids=lambda text: text[:24],
)
def test_a_message_made_to_be_slow_is_masked_like_any_other(hostile: str) -> None:
    """What a stranger writes costs no more than its length: all of SIP cannot stand still for
    seconds because one message of 60 kB repeats the beginning of a secret.
    """
    raw = f"INVITE sip:101@pbx SIP/2.0\r\nCall-ID: x\r\n{hostile}\r\n\r\n".encode()
    # Square in the length, so many of them would outlive any patience.
    assert all(len(each) == len(raw) for each in mask([raw] * 64))
