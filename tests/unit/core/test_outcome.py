"""core.outcome: verdict, fault and phase, as docs/contracts.md has them."""

from typing import Any

import pytest

from push_proxy.core.events import PushOutcome
from push_proxy.core.forking import Answer
from push_proxy.core.ids import DeviceId, Instant
from push_proxy.core.model import CallState, Fault, Verdict
from push_proxy.core.outcome import (
    FAULTS,
    cancelled,
    causes,
    exhausted,
    part_verdict,
    was_answered_elsewhere,
)
from push_proxy.core.part import Part, Reach
from tests.unit.core.playbook import binding

NOW = Instant(100.0)
HUNG_UP, TIMER = "Q.850;cause=127", "Q.850;cause=0"
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


def part(reached: Reach = Reach.NOTHING, *, ago_s: float = 60.0, **fields: Any) -> Part:
    return Part(device=DeviceId("a"), reached=reached, reached_at=Instant(NOW - ago_s), **fields)


def refused(status: int, reached: Reach = Reach.REGISTERED) -> Part:
    return part(reached, answer=Answer(status=status))


def test_a_token_that_has_ended_is_named() -> None:
    """Where that leaves nothing to wake; a device that got further decides by itself."""
    gone = part(token_fault="Unregistered")
    ended = exhausted((part(), gone), status=480, ended_by="proxy")
    assert ended.verdict is Verdict.NO_DEVICE
    assert "a (Unregistered)" in ended.advice
    further = exhausted((part(Reach.ACCEPTED), gone), status=480, ended_by="deadline")
    assert "Unregistered" not in further.advice


@pytest.mark.parametrize(
    ("failure", "event"),
    [
        (PushOutcome.MISCONFIGURED, "push_misconfigured"),
        (PushOutcome.REJECTED, "push_rejected"),
        (PushOutcome.UNAVAILABLE, "push_unavailable"),
    ],
)
def test_a_push_not_taken_is_explained_by_its_reason(failure: PushOutcome, event: str) -> None:
    """A revoked key is no fault of the app's token: the advice leads to the reason."""
    ended = exhausted((part(Reach.PUSHED, failure=failure),), status=480, ended_by="deadline")
    assert event in ended.advice
    assert "docs/push-reasons.md" in ended.advice


def test_every_verdict_has_a_fault() -> None:
    """And only overload and our own errors are ours."""
    assert set(FAULTS) == set(Verdict)
    ours = {verdict for verdict, fault in FAULTS.items() if fault is Fault.PROXY}
    assert ours == {Verdict.OVERLOADED, Verdict.PROXY_ERROR}


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (part(), Verdict.NO_DEVICE),
        (part(binding=binding("a")), Verdict.REGISTERED_NOT_RINGING),
        (part(Reach.PUSHED, failure=PushOutcome.REJECTED), Verdict.PUSH_REJECTED),
        (part(Reach.PUSHED, failure=PushOutcome.MISCONFIGURED), Verdict.PUSH_REJECTED),
        (part(Reach.PUSHED, failure=PushOutcome.UNAVAILABLE), Verdict.PROVIDER_UNAVAILABLE),
        (part(Reach.PUSHED), Verdict.PROVIDER_UNAVAILABLE),
        (part(Reach.ACCEPTED), Verdict.NOT_WOKEN),
        (part(Reach.WOKE), Verdict.WOKE_NOT_REGISTERED),
        (part(Reach.REGISTERED), Verdict.REGISTERED_NOT_RINGING),
        (part(Reach.RANG), Verdict.NO_ANSWER),
        (refused(486), Verdict.BUSY),
        (refused(600), Verdict.BUSY),
        (refused(603), Verdict.DECLINED),
        (refused(302), Verdict.FORWARDED),
        (refused(480, Reach.RANG), Verdict.NO_ANSWER),
        (refused(480), Verdict.DEVICE_ERROR),
        (refused(488), Verdict.DEVICE_ERROR),
        (refused(415), Verdict.DEVICE_ERROR),
        (refused(500, Reach.RANG), Verdict.DEVICE_ERROR),
    ],
)
def test_what_came_of_a_device(one: Part, verdict: Verdict) -> None:
    """Each way in which a device may fail has a verdict of its own."""
    assert part_verdict(one) is verdict


def test_the_furthest_device_decides() -> None:
    """Not the first, nor the last to fail."""
    parts = (part(Reach.ACCEPTED), part(Reach.RANG), part(Reach.REGISTERED))
    result = exhausted(parts, status=480, ended_by="deadline")
    assert (result.verdict, result.phase) == (Verdict.NO_ANSWER, CallState.RINGING)


@pytest.mark.parametrize(
    ("one", "reason", "ringing", "verdict", "phase", "ended_by"),
    [
        # no patience: nothing had failed yet
        (part(Reach.ACCEPTED, ago_s=4.9), HUNG_UP, False, "caller_cancelled", "waking", "caller"),
        (part(Reach.PUSHED, ago_s=1), "", False, "caller_cancelled", "waking", "caller"),
        # a CANCEL hides no failure
        (part(Reach.ACCEPTED, ago_s=5), HUNG_UP, False, "not_woken", "waking", "caller"),
        (part(Reach.WOKE, ago_s=9), TIMER, False, "woke_not_registered", "waking", "pbx"),
        (part(Reach.REGISTERED, ago_s=9), "", False, "registered_not_ringing", "waking", "caller"),
        (part(Reach.PUSHED, ago_s=9), "", False, "provider_unavailable", "waking", "caller"),
        # it rang
        (part(Reach.RANG), HUNG_UP, True, "caller_cancelled", "ringing", "caller"),
        (part(Reach.RANG), TIMER, True, "no_answer", "ringing", "pbx"),
        (part(Reach.RANG), "SIP;cause=480", True, "no_answer", "ringing", "pbx"),
        (refused(486), HUNG_UP, False, "busy", "waking", "caller"),
        # another phone at the PBX took it
        (part(Reach.ACCEPTED), ELSEWHERE, False, "answered_elsewhere", "waking", "pbx"),
        (part(Reach.RANG), ELSEWHERE, True, "answered_elsewhere", "ringing", "pbx"),
    ],
)
def test_cancelled(
    one: Part, reason: str, ringing: bool, verdict: str, phase: str, ended_by: str
) -> None:
    """What had gone wrong for five seconds is what went wrong."""
    result = cancelled((one,), reason, ringing=ringing, now=NOW, grace_s=5.0)
    assert (result.verdict, result.phase, result.ended_by) == (verdict, phase, ended_by)
    assert result.status == 487


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        ("", set()),
        ("Q.850;cause=16", {("Q.850", 16)}),
        ('Q.850;cause=16;text="Terminated"', {("Q.850", 16)}),
        ("q.850 ; text=x ; cause = 0", {("Q.850", 0)}),
        ('SIP;cause=200;text="a, SIP;cause=486"', {("SIP", 200)}),
        ('SIP;text="elsewhere";cause=200, Q.850;cause=26', {("SIP", 200), ("Q.850", 26)}),
        ("nonsense,,;cause=x", set()),
        (f"SIP;cause={'9' * 5000}", set()),
    ],
)
def test_reason_header(reason: str, found: set[tuple[str, int]]) -> None:
    """Several values, parameters in any order, quoted text that looks like more (RFC 3326)."""
    assert causes(reason) == found
    assert was_answered_elsewhere(reason) == (("SIP", 200) in found)
