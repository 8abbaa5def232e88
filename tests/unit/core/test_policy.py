"""Policies in the pure core: which rule fits, what the PBX is told, what becomes of the call."""

import time
from typing import Any

import pytest

from push_proxy.core.actions import Finish, Note, StoreInvite
from push_proxy.core.actions import Reply as ReplyAction
from push_proxy.core.diversion import Diversions
from push_proxy.core.events import (
    AppActed,
    AppAction,
    CallerCancelled,
    Candidate,
    Invite,
    InviteStored,
    PushOutcome,
    WakeSettings,
)
from push_proxy.core.ids import CallId, DeviceId
from push_proxy.core.incoming import callers_of
from push_proxy.core.message import parse
from push_proxy.core.model import Fault, Outcome, Verdict
from push_proxy.core.policy import PolicyCase, at_end, at_invite
from push_proxy.core.policy_rules import Policy, Rejection, Rule, When, fits
from push_proxy.core.redirect_target import allowed, canonical, contact_uri, is_account
from push_proxy.core.uri import MalformedUri
from push_proxy.core.wake import Ended, start

from .playbook import (
    START,
    Answered,
    Playbook,
    Push,
    Reply,
    Ring,
    Took,
    Wait,
    asleep,
    fresh,
    registers,
)

AOR = "sip:101@pbx.example"
DESK = "sip:800@pbx.example"
TO_DESK = Rule(when=(When.ALWAYS,), redirect=DESK)


def case(
    *rules: Rule, callers: tuple[str, ...] = ("+442079460001",), **diversions: Any
) -> PolicyCase:
    return PolicyCase(
        policy=Policy(rules=rules, targets=("*",)),
        aor=AOR,
        callers=callers,
        diversions=Diversions(**diversions),
    )


def redirect(*when: When, to: str = DESK, **fields: Any) -> Rule:
    return Rule(when=when, redirect=to, **fields)


def reject(*when: When, status: int = 486, reason: str = "", **fields: Any) -> Rule:
    return Rule(when=when, reject=Rejection(status, reason), **fields)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("*", "", True),
        ("*", "anything", True),
        ("+4420*", "+442079", True),
        ("+4420*", "+4421", False),
        ("+4420", "+44201", False),
        ("1?1", "101", True),
        ("1?1", "11", False),
        ("*@evil.example", "bob@EVIL.example", True),
        ("*@evil.example", "bob@evil.example.org", False),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "aXbY", False),
        ("a**", "a", True),
        ("[ab]", "a", False),
        ("a.c", "abc", False),
    ],
)
def test_patterns(pattern: str, text: str, expected: bool) -> None:
    """`*` is any text, `?` one character, nothing else is special, and case does not count."""
    assert fits(pattern, text) is expected


def test_a_hostile_pattern_takes_no_time() -> None:
    """Stars upon stars against a long name: no exponential search."""
    began = time.process_time()
    assert not fits("*a" * 60 + "b", "a" * 5000)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("target", "text", "contact"),
    [
        ("sip:800@pbx.example", "sip:800@pbx.example", "sip:800@pbx.example"),
        (
            "SIP:800@PBX.example:5070;transport=tcp",
            "sip:800@pbx.example:5070",
            "sip:800@pbx.example:5070;transport=tcp",
        ),
        ("sips:800@[2001:DB8::1]", "sips:800@[2001:db8::1]", "sips:800@[2001:db8::1]"),
        ("tel:+44-20.79(46)", "tel:+44207946", "sip:+44207946@pbx.example;user=phone"),
        ("tel:8001", "tel:8001", "sip:8001@pbx.example"),
        ("tel:*21#", "tel:*21#", "sip:*21%23@pbx.example"),
    ],
)
def test_targets(target: str, text: str, contact: str) -> None:
    """What patterns see, and what the PBX gets: a number is the PBX's to dial."""
    assert canonical(target) == text
    assert contact_uri(target, AOR) == contact


@pytest.mark.parametrize(
    "target",
    [
        "sip:pbx.example",
        "sip:800@pbx.example?Subject=x",
        "sip:800:secret@pbx.example",
        "sip:800@pbx.example;maddr=192.0.2.6",
        "sip:800@pbx.example;method=REFER",
        "sip:a%0d%0ab@pbx.example",
        "http://pbx.example",
        "tel:",
        "tel:+",
        "tel:me",
        "tel:+44;phone-context=x",
        "tel:+44\r\nVia: x",
        "",
    ],
)
def test_what_is_no_target(target: str) -> None:
    """Nothing that leads elsewhere than it says, and no line of a header's own."""
    with pytest.raises(MalformedUri):
        canonical(target)


def test_targets_are_allowed_by_host_not_by_look() -> None:
    """A host in the user part, or after it, opens no pattern."""
    patterns = ("sip:*@pbx.example", "tel:+44*")
    assert allowed("sip:800@pbx.example;user=phone", patterns)
    assert allowed("tel:+44-1", patterns)
    for target in (
        "sip:800@evil.example;x=@pbx.example",
        "sip:800@pbx.example.org",
        "sip:800%40pbx.example@evil.example",
        "sip:800@pbx.example:5071",
        "tel:+33",
    ):
        assert not allowed(target, patterns)
    assert is_account("sip:101@PBX.example:5070", AOR)
    assert is_account("tel:1-0-1", AOR)
    assert not is_account("sip:102@pbx.example", AOR)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ('From: "Ann" <sip:200@pbx.example>;tag=1', ("200", "200@pbx.example")),
        ("From: <tel:+44-20-79>;tag=1", ("+442079",)),
        (
            "From: <sip:anonymous@x>;tag=1\r\nPrivacy: id\r\n"  # noqa: ISC004 - two lines
            "P-Asserted-Identity: <sip:+4420@pbx.example>, <tel:+4420>",
            ("+4420", "+4420@pbx.example", "anonymous", "anonymous@x"),
        ),
        ("From: <<<", ()),
    ],
)
def test_callers(headers: str, expected: tuple[str, ...]) -> None:
    """Who calls: what the PBX vouches for and what From says, privacy or not."""
    message = parse(f"INVITE sip:1@x SIP/2.0\r\n{headers}\r\n\r\n".encode())
    assert callers_of(message) == expected


def test_the_first_rule_that_fits_counts() -> None:
    """Rules of other moments and other callers are passed over."""
    facts = case(
        reject(When.BUSY),
        reject(When.ALWAYS, callers=("+33*",)),
        reject(When.ALWAYS, status=404, callers=("+3*", "+4420*")),
        TO_DESK,
    )
    ruling = at_invite(facts)
    assert ruling.reject == Rejection(404)
    assert ruling.said == ("rule 3: reject 404",)
    assert at_end(facts, Verdict.BUSY).reject == Rejection(486)
    assert at_end(facts, Verdict.NOT_WOKEN).said == ()
    assert at_end(facts, Verdict.PROXY_ERROR).said == ()


def test_callers_without_a_name_fit_only_what_takes_all() -> None:
    """An anonymous caller is no number."""
    assert at_invite(case(reject(When.ALWAYS, callers=("*",)), callers=())).reject
    assert not at_invite(case(reject(When.ALWAYS, callers=("+*",)), callers=())).reject


@pytest.mark.parametrize(
    ("diversions", "why"),
    [
        ({"from_here": True, "count": 1}, "the call was diverted from here before"),
        ({"count": 5}, "diverted 5 times already"),
        ({"count": 7}, "diverted 7 times already"),
    ],
)
def test_loops_are_cut(diversions: dict[str, Any], why: str) -> None:
    """No rule redirects such a call; one that rejects still does."""
    ruling = at_invite(case(TO_DESK, reject(When.ALWAYS, status=480), **diversions))
    assert ruling.reject == Rejection(480)
    assert ruling.said == (f"rule 1: no redirect, {why}", "rule 2: reject 480")
    nothing = at_invite(case(TO_DESK, **diversions))
    assert (nothing.redirect, nothing.reject) == (None, None)


def test_four_diversions_are_none_too_many() -> None:
    """The fifth is still made."""
    assert at_invite(case(TO_DESK, count=4)).redirect == DESK


def begin(facts: PolicyCase | None, *candidates: Any, **settings: Any) -> Any:
    invite = Invite(call=CallId("call"), received_at=START, case=facts)
    return start(invite, candidates, WakeSettings(**settings), START)


@pytest.mark.parametrize(
    ("rule", "status", "verdict"),
    [
        (reject(When.ALWAYS, status=486), 486, Verdict.REFUSED),
        (reject(When.ALWAYS, status=603, reason="No"), 603, Verdict.REFUSED),
        (TO_DESK, 302, Verdict.FORWARDED),
    ],
)
def test_ruled_at_the_invite_nobody_is_woken(rule: Rule, status: int, verdict: Verdict) -> None:
    """One final response and the end: no push, no INVITE to a device, nothing kept in the store."""
    state, actions = begin(case(rule), asleep("a"), fresh("b"), late_invite_s=30.0)
    assert isinstance(state, Ended)
    assert state.finished
    kinds = [type(action) for action in actions if not isinstance(action, Note)]
    assert kinds[0] is ReplyAction
    assert kinds.count(ReplyAction) == 1
    assert {kind.__name__ for kind in kinds} == {"Reply", "Move", "Finish"}
    reply = next(action for action in actions if isinstance(action, ReplyAction))
    finish = next(action for action in actions if isinstance(action, Finish))
    assert reply.status == finish.outcome.status == status
    assert (finish.outcome.verdict, finish.outcome.fault) == (verdict, Fault.NOBODY)
    assert Note("policy", detail=at_invite(case(rule)).said[0]) in actions


def test_a_redirection_says_where_and_from_where() -> None:
    """Contact, Diversion and History-Info of the 302."""
    _, actions = begin(case(redirect(When.ALWAYS, to="tel:+4420")))
    reply = next(action for action in actions if isinstance(action, ReplyAction))
    assert dict(reply.headers) == {
        "Contact": "<sip:+4420@pbx.example;user=phone>;mp=1",
        "Diversion": "<sip:101@pbx.example>;reason=unconditional;counter=1",
        "History-Info": "<sip:101@pbx.example?Reason=SIP%3Bcause%3D302>;index=1",
    }


def test_without_a_rule_that_fits_the_call_is_an_ordinary_one() -> None:
    """Also when a redirection was cut: its reason stands in the timeline."""
    state, actions = begin(case(TO_DESK, count=5), asleep("a"))
    assert not isinstance(state, Ended)
    assert actions[1] == Note("policy", detail="rule 1: no redirect, diverted 5 times already")
    assert actions[-1] == StoreInvite()
    assert begin(None, asleep("a"))[1][1:] == actions[2:]


def played(*rules: Rule, candidates: tuple[Candidate, ...] = ()) -> Playbook:
    return Playbook(*candidates, case=case(*rules))


def finished(book: Playbook) -> Outcome:
    assert book.outcome is not None
    return book.outcome


def test_not_woken_goes_to_the_target() -> None:
    """302 at the deadline instead of 480; the fault is still the phone's, and it is told."""
    with played(redirect(When.NOT_WOKEN), candidates=(asleep("a", repush=False),)) as book:
        book << Push("a") << StoreInvite() >> InviteStored(ok=True)
        book.skip() >> Took("a")
        book.skip() >> Wait(15)
        book << Reply(302)
        book.skip()
    result = finished(book)
    assert (result.verdict, result.status) == (Verdict.FORWARDED, 302)
    assert (result.fault, result.ended_by) == (Fault.PHONE_OR_NETWORK, "deadline")
    assert "push service took the push" in result.advice


@pytest.mark.parametrize(
    ("status", "when", "fault"),
    [
        (486, When.BUSY, Fault.NOBODY),
        (603, When.DECLINED, Fault.NOBODY),
        (488, When.DEVICE_ERROR, Fault.APP),
    ],
)
def test_a_devices_refusal_goes_to_the_target(status: int, when: When, fault: Fault) -> None:
    """The device's own answer is not relayed then."""
    with played(redirect(when), candidates=(fresh("a"),)) as book:
        book << Ring("a") << StoreInvite() >> Answered("a", status)
        book << Reply(302)
        book.skip()
    assert (finished(book).verdict, finished(book).fault) == (Verdict.FORWARDED, fault)


def test_a_screens_decline_goes_to_the_target() -> None:
    """A person who declines at the push screen sends the caller on."""
    with played(redirect(When.DECLINED), candidates=(asleep("a"),)) as book:
        book << Push("a") << StoreInvite()
        book >> AppActed(device=DeviceId("a"), action=AppAction.DECLINE)
        book << Reply(302)
        book.skip()


def test_no_device_goes_to_the_target_at_once() -> None:
    """Nothing to wake: 302 within the INVITE's own step."""
    with played(redirect(When.NO_DEVICE)) as book:
        book << Reply(302)
        book.skip()
    assert finished(book).fault is Fault.APP_CONFIGURATION


def test_push_faults_go_to_the_target() -> None:
    """A dead token, and a provider that is away."""
    for outcome, when in (
        (PushOutcome.REJECTED, When.PUSH_REJECTED),
        (PushOutcome.UNAVAILABLE, When.PROVIDER_UNAVAILABLE),
    ):
        with played(redirect(when), candidates=(asleep("a"),)) as book:
            book << Push("a") << StoreInvite() >> Took("a", outcome)
            book << Reply(302)
            book.skip()
        assert finished(book).verdict is Verdict.FORWARDED


def test_a_chosen_answer_hides_no_verdict() -> None:
    """`reject` at an end changes what the caller gets, not what came of the call."""
    with played(reject(When.BUSY, status=480), candidates=(fresh("a"),)) as book:
        book << Ring("a") << StoreInvite() >> Answered("a", 486)
        book << Reply(480, "busy")
        book.skip()
    assert (finished(book).verdict, finished(book).status) == (Verdict.BUSY, 480)


def test_a_policy_never_follows_a_cancel() -> None:
    """The caller who hangs up gets 487, whatever the verdict is."""
    rules = [redirect(when) for when in When if when is not When.ALWAYS]
    with played(*rules, candidates=(asleep("a"),)) as book:
        book << Push("a") << StoreInvite() >> Took("a")
        book.skip() >> Wait(4)
        book.skip() >> CallerCancelled()
        book << Reply(487)
        book.skip()
    assert finished(book).status == 487


def test_while_a_device_still_wakes_no_rule_counts() -> None:
    """One is busy, the other may still answer: nobody is redirected before that is over."""
    with played(
        redirect(When.BUSY),
        candidates=(
            fresh("a"),
            asleep("b"),
        ),
    ) as book:
        book << Ring("a") << Push("b") << StoreInvite() >> Answered("a", 486)
        book >> registers("b", port=5001)
        book << Ring("b", 5001)
        book >> Answered("b", 200)
        book.skip()
    assert finished(book).verdict is Verdict.ANSWERED
