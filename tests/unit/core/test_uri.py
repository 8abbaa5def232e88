"""core.uri: SIP URIs, name-addrs and canonical AORs."""

import time

import pytest

from push_proxy.core.uri import MalformedUri, NameAddr, SipUri

UNUSUAL_USER = "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"


def test_a_uri_is_read_and_written() -> None:
    """All parts, unescaped; writing gives an equal URI."""
    text = "sip:+49%2030@PBX.Example.com:5070;transport=UDP;ob;pp=a%20b?Subject=x"
    uri = SipUri.parse(text)
    assert (uri.scheme, uri.user, uri.host, uri.port) == ("sip", "+49 30", "pbx.example.com", 5070)
    assert uri.params == {"transport": "UDP", "ob": "", "pp": "a b"}
    assert uri.headers == "Subject=x"
    assert SipUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "user", "password", "host"),
    [
        ("sip:example.com", "", None, "example.com"),
        ("sips:alice:secret@[2001:DB8::1]:5061", "alice", "secret", "2001:db8::1"),
        ("SIP:alice@example.com.", "alice", None, "example.com."),
        ("sip:sips%3Auser%40example.com@example.net", "sips:user@example.com", None, "example.net"),
        ("sip:%6c%6c@example.net", "ll", None, "example.net"),
        (
            f"sip:{UNUSUAL_USER}:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
            UNUSUAL_USER,
            "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)",
            "example.com",
        ),
    ],
)
def test_odd_but_valid_uris(text: str, user: str, password: str | None, host: str) -> None:
    """RFC 4475 §3.1.1.2 and §3.1.1.3 among them."""
    uri = SipUri.parse(text)
    assert (uri.user, uri.password, uri.host) == (user, password, host)
    assert SipUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    ["", "sip:", "sip:@host", "tel:+4930", "sip:a b", "sip:a@h:0", "sip:a@h:70000", "sip:a@@h",
     "sip:a@h:x", "<sip:a@h>", "http://h", "sip:a@[::1"],
)  # fmt: skip
def test_what_is_no_sip_uri_is_refused(text: str) -> None:
    """`MalformedUri`, never another exception."""
    with pytest.raises(MalformedUri):
        SipUri.parse(text)


@pytest.mark.parametrize(
    ("text", "display", "uri", "params"),
    [
        ("<sip:a@h>", "", "sip:a@h", {}),
        ("sip:a@h;tag=1", "", "sip:a@h", {"tag": "1"}),
        ("<sip:a@h;lr>;Tag=1;x", "", "sip:a@h;lr", {"tag": "1", "x": ""}),
        ('"B \\"o\\" \\\\" <sip:b@h> ; tag = 7', 'B "o" \\', "sip:b@h", {"tag": "7"}),
        ("The Caller <sip:b@h>", "The Caller", "sip:b@h", {}),
        ('"<sip:x@y>" <sip:b@h>', "<sip:x@y>", "sip:b@h", {}),
        (
            '<sip:b@h>;+sip.instance="<urn:uuid:0-1>";q=0.7',
            "",
            "sip:b@h",
            {"+sip.instance": "<urn:uuid:0-1>", "q": "0.7"},
        ),
        ("<tel:+4930>", "", "tel:+4930", {}),
        ('sip:a@h;x="<y>"', "", "sip:a@h", {"x": "<y>"}),
    ],
)
def test_name_addrs(text: str, display: str, uri: str, params: dict[str, str]) -> None:
    """Both forms, with quoted names and parameters."""
    value = NameAddr.parse(text)
    assert (value.display, value.uri, value.params) == (display, uri, params)


@pytest.mark.parametrize(
    "text", ["", "<>", "<sip:a@h", '"open <sip:a@h>', '"name" sip:a@h', "a b", ";tag=1"]
)
def test_what_is_no_name_addr_is_refused(text: str) -> None:
    """RFC 4475 §3.1.2.6 (unclosed quotes) among them."""
    with pytest.raises(MalformedUri):
        NameAddr.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "sip:bob@example.com",
        "sips:bob@EXAMPLE.com:5061;transport=tls",
        '"B" <sip:b%6fb@example.com>',
        " sip:bob@example.com ",
    ],
)
def test_one_aor_has_one_form(text: str) -> None:
    """Scheme, case of the host, port, parameters and needless escapes do not count."""
    assert NameAddr.parse(text).sip().aor == "sip:bob@example.com"


def test_users_differ_by_case_and_by_needed_escapes() -> None:
    """RFC 3261 §19.1.4: the user part is compared by case."""
    assert SipUri.parse("sip:Bob@h").aor != SipUri.parse("sip:bob@h").aor
    assert SipUri.parse("sip:a%40b@h").aor == "sip:a%40b@h"


def test_hostile_names_cost_no_time() -> None:
    """Unclosed quotes full of escapes are refused in linear time."""
    began = time.perf_counter()
    for text in ('"' + "\\a" * 8000, "<sip:a@h>" + ';a="\\' * 4000, "sip:" + "a;" * 8000):
        try:
            NameAddr.parse(text)
        except MalformedUri:
            continue
    assert time.perf_counter() - began < 0.2
