"""Policies, whatever is written in them or in the INVITE: nothing raises, nothing leads astray."""

import fnmatch

from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core.diversion import MOST, diversions_of, headers
from push_proxy.core.message import MalformedMessage, parse
from push_proxy.core.model import Verdict
from push_proxy.core.policy import PolicyCase, at_end, at_invite
from push_proxy.core.policy_rules import Policy, Rejection, Rule, When, fits
from push_proxy.core.redirect_target import canonical, contact_uri
from push_proxy.core.uri import MalformedUri, NameAddr, SipUri

AOR = "sip:101@pbx.example"

_texts = st.text("ab*?1@.+", max_size=12)
_tails = st.lists(
    st.sampled_from(
        (
            ":5070",
            ";transport=tcp",
            ";maddr=192.0.2.66",
            ";MADDR=192.0.2.66",
            ";x=%0d%0aVia:",
            ";x=\r\nVia:",
            ";%3Cx",
            ";<x>",
            "?Route=%3Csip:x%3E",
            "@evil.example",
            "%40",
            ";@pbx.example",
        )
    ),
    max_size=3,
).map("".join)
_targets = st.one_of(
    st.builds(
        "{}:{}@{}{}".format,
        st.sampled_from(["sip", "sips", "Sip"]),
        st.text("a1+%40<>;\r\n é", min_size=1, max_size=5),
        st.sampled_from(["pbx.example", "EVIL.example", "[2001:db8::1]", "192.0.2.1"]),
        _tails,
    ),
    st.text("+-.()#*;= 123\n", max_size=6).map("tel:{}".format),
)
_line = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
_entry = st.one_of(
    _line,
    st.builds(
        "<{}>;{}={}".format,
        st.sampled_from([AOR, "sip:101@push.example", "sip:150@x", "tel:101", "sip:9@x;cause=486"]),
        st.sampled_from(["index", "counter", "mp", "reason"]),
        st.sampled_from(["1", "1.1", "2", "", "999999", "x"]),
    ),
)
_entries = st.lists(_entry, max_size=6).map(", ".join)
_rules = st.builds(
    Rule,
    when=st.lists(st.sampled_from(list(When)), min_size=1, max_size=3).map(tuple),
    callers=st.lists(_texts, max_size=2).map(tuple),
    redirect=st.just("sip:800@pbx.example"),
    reject=st.none() | st.just(Rejection(486)),
)


@given(_texts, _texts)
def test_patterns_mean_what_file_names_patterns_mean(pattern: str, text: str) -> None:
    """`*` and `?` as in file names, in linear time of our own."""
    assert fits(pattern, text) == fnmatch.fnmatchcase(text.lower(), pattern.lower())


@given(_targets)
def test_a_redirection_goes_where_its_pattern_was_looked_at(target: str) -> None:
    """What is no target is refused as such; of every other one the PBX reads in the Contact what
    was compared with the patterns, in one header line.
    """
    try:
        looked_at = canonical(target)
    except MalformedUri:
        return
    contact = contact_uri(target, AOR)
    assert contact.isascii()
    assert contact.isprintable()
    assert NameAddr.parse(f"<{contact}>;mp=1").uri == contact
    read = SipUri.parse(contact)
    assert not {"maddr", "method"} & read.params.keys()
    assert not read.headers
    if looked_at.startswith("tel:"):
        assert (read.scheme, read.user, read.host) == ("sip", looked_at[4:], "pbx.example")
    else:
        assert canonical(contact) == looked_at
        port = "" if read.port is None else f":{read.port}"
        assert looked_at.endswith(port)
        assert looked_at == f"{read.scheme}:{read.aor.removeprefix('sip:')}{port}"


@given(_entries, _entries, st.lists(_rules, max_size=5), st.sampled_from(list(Verdict)))
def test_whatever_the_invite_tells(
    diversion: str, history: str, rules: list[Rule], verdict: Verdict
) -> None:
    """Never an error; no redirection of a call that was diverted from here or too often; the
    headers of a 302 stand on one line each and name the account as the newest.
    """
    text = (
        "INVITE sip:101@push.example SIP/2.0\r\nFrom: <sip:1@x>\r\nTo: <sip:101@pbx.example>\r\n"
        f"Diversion: {diversion}\r\nHistory-Info: {history}\r\n\r\n"
    )
    try:
        message = parse(text.encode())
    except MalformedMessage:
        return
    found = diversions_of(message, AOR)
    case = PolicyCase(
        policy=Policy(rules=tuple(rules)), aor=AOR, callers=("1", "1@x"), diversions=found
    )
    for ruling in (at_invite(case), at_end(case, verdict)):
        assert not (ruling.redirect and ruling.reject)
        if ruling.redirect:
            assert not found.from_here
            assert found.count < MOST
    written, told, index = headers(found, aor=AOR, led=verdict)
    assert written.startswith(f"<{AOR}>;reason=")
    assert told.endswith(f"<{AOR}?Reason={told.rpartition('?Reason=')[2]}")
    assert all("\n" not in line and "\r" not in line for line in (written, told, index))
    assert len(written) + len(told) < 5_000
