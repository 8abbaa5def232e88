"""Hostile text: readers refuse in their own words, and what they write they read again."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core.digest import Challenge, digest_params, quoted, unescape
from push_proxy.core.ids import Instant
from push_proxy.core.message import MalformedMessage, parse, split_commas
from push_proxy.core.model import Credentials
from push_proxy.core.nonces import Asker, Nonces, Proof
from push_proxy.core.register import BadRegister, read_register
from push_proxy.core.registration_answer import Answer
from push_proxy.core.uri import MalformedUri, NameAddr, SipUri

SIPPY = st.text(alphabet='sip:@;=?%<>"\\,.[]*0123456789aAé \t\r\n-', max_size=120)
NAMES = ["Contact", "m", "Expires", "CSeq", "Call-ID", "Require", "Path", "Authorization", "l"]
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), SIPPY), max_size=8)


@given(st.binary(max_size=300) | SIPPY.map(str.encode))
def test_any_bytes_are_a_message_or_malformed(raw: bytes) -> None:
    """Nothing else comes of them."""
    with contextlib.suppress(MalformedMessage):
        parse(raw)
    Answer.read(200, "OK", local=False, raw=raw)


@given(HEADERS)
def test_any_register_is_read_or_refused(headers: list[tuple[str, str]]) -> None:
    """With a status for the answer."""
    lines = ["REGISTER sip:pbx SIP/2.0", *(f"{name}: {value}" for name, value in headers)]
    try:
        message = parse("\r\n".join([*lines, "", ""]).encode())
    except MalformedMessage:
        return
    refusal: BadRegister | None = None
    try:
        asked = read_register(message)
    except BadRegister as error:
        refusal = error
    else:
        assert all(contact.identity for contact in asked.contacts)
    assert refusal is None or (refusal.status in (400, 403, 420) and refusal.reason)
    Answer.read(200, "OK", local=False, raw=message.raw)


@given(SIPPY)
def test_any_address_is_read_or_malformed(text: str) -> None:
    """And a URI that is read is the same after writing."""
    for read in (NameAddr.parse, SipUri.parse):
        with contextlib.suppress(MalformedUri):
            read(text)
    with contextlib.suppress(MalformedUri):
        uri = SipUri.parse(text)
        assert SipUri.parse(str(uri)) == uri
        assert SipUri.parse(uri.aor).aor == uri.aor


@given(SIPPY)
def test_splitting_loses_only_commas_and_blanks(text: str) -> None:
    """Whatever is quoted or bracketed."""
    joined = "".join(split_commas(text))
    assert sorted(c for c in joined if c not in ", \t\r\n") == sorted(
        c for c in text if c not in ", \t\r\n"
    )


@given(st.text(max_size=40))
def test_quoting_is_undone(text: str) -> None:
    """A realm with quotes and backslashes survives a challenge."""
    value = f'Digest realm={quoted(text)}, nonce="n"'
    assert unescape(digest_params(value)["realm"]) == text
    challenge = Challenge.parse(value)
    assert challenge is not None
    assert challenge.realm == text


@given(st.lists(SIPPY.map(lambda text: "Digest " + text), max_size=3))
def test_no_garbage_is_a_proof(values: list[str]) -> None:
    """Credentials made up of anything are wrong, without an error."""
    asker = Asker(user="a", realm="r", credentials=Credentials(password="p"), host="h")
    nonces = Nonces(b"k" * 32)
    assert nonces.judge(values, asker, method="REGISTER", now=Instant(1e9)) is Proof.WRONG
