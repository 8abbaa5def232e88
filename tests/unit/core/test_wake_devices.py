"""Several devices in one call: whose answer counts, and who is left ringing."""

import pytest

from push_proxy.core.actions import Finish, Move, PushType, StoreInvite
from push_proxy.core.events import AppActed, AppAction, PushOutcome
from push_proxy.core.forking import COMPLETED_ELSEWHERE
from push_proxy.core.ids import DeviceId
from push_proxy.core.model import CallState, Verdict
from tests.unit.core.playbook import (
    Answered,
    Cancel,
    Over,
    Playbook,
    Push,
    Relay,
    Reply,
    Ring,
    Took,
    Wait,
    asleep,
    fresh,
    registers,
)

A = DeviceId("a")
RINGING, ANSWERED, ENDED = Move(CallState.RINGING), Move(CallState.ANSWERED), Move(CallState.ENDED)


def two_awake() -> Playbook:
    """Both are rung."""
    return Playbook(fresh("a"), fresh("b")) << Ring("a") << Ring("b") << StoreInvite()


def one_awake() -> Playbook:
    """A is rung, B is pushed."""
    return Playbook(fresh("a"), asleep("b")) << Ring("a") << Push("b") << StoreInvite()


@pytest.mark.parametrize("status", [300, 301, 302, 305, 380])
def test_a_redirection_waits_for_those_who_ring(status: int) -> None:
    """It is not passed on while another may answer; that answer wins over it."""
    with two_awake() as call:
        _ = call >> Answered("b", 180) << Relay(2) << RINGING
        _ = call >> Answered("a", status) >> Wait(20)
        _ = call >> Answered("b", 200) << Relay(2) << ANSWERED << Over(Verdict.ANSWERED)


@pytest.mark.parametrize("status", [300, 302, 380])
def test_a_redirection_waits_for_those_who_wake(status: int) -> None:
    """It goes upstream when nobody else has come."""
    with one_awake() as call:
        _ = call >> Took("b") >> Answered("a", status) >> Wait(5) << Push("b") >> Took("b")
        _ = call >> Wait(10) << Relay(1) << Push("b", PushType.CANCEL) << ENDED
        _ = call << Over(Verdict.FORWARDED, "device")


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [(302, 486, 1), (486, 302, 2), (486, 500, 1), (480, 401, 2), (404, 603, 2), (302, 600, 2)],
)
def test_the_best_of_two_refusals(first: int, second: int, best: int) -> None:
    """6xx, else the lowest class, and in the 4xx what helps the caller (RFC 3261 §16.7)."""
    with two_awake() as call:
        _ = call >> Answered("a", first) >> Answered("b", second)
        _ = call << Relay(best) << ENDED << Finish


@pytest.mark.parametrize("status", [600, 603, 604, 606])
def test_6xx_while_another_only_wakes(status: int) -> None:
    """Upstream at once: no answer of the other one can cross it. Its screen is cleared."""
    with one_awake() as call:
        _ = call >> Took("b") >> Answered("a", status) << Relay(1)
        _ = call << Push("b", PushType.CANCEL) << ENDED << Finish >> registers("b")


@pytest.mark.parametrize("status", [302, 404, 486, 500])
def test_anything_less_leaves_the_others_alone(status: int) -> None:
    """One refuses, the other wakes, rings and answers."""
    with one_awake() as call:
        _ = call >> Answered("a", status) >> registers("b") << Ring("b")
        _ = call >> Answered("b", 200) << Relay(2) << ANSWERED << Over(Verdict.ANSWERED)


@pytest.mark.parametrize("action", list(AppAction))
def test_refused_on_the_screen_while_another_wakes(action: AppAction) -> None:
    """Before it has registered: it is not rung when it does, the other goes on and answers."""
    with Playbook(asleep("a"), asleep("b")) as call:
        _ = call << Push("a") << Push("b") << StoreInvite() >> Took("a") >> Took("b")
        _ = call >> AppActed(device=A, action=action) >> registers("a")
        _ = call >> registers("b") << Ring("b") >> AppActed(device=A, action=action)
        _ = call >> Answered("b", 200) << Relay(1) << ANSWERED << Over(Verdict.ANSWERED)


@pytest.mark.parametrize(
    ("action", "status", "verdict"),
    [(AppAction.DECLINE, 603, "declined"), (AppAction.BUSY, 486, "busy")],
)
def test_refused_on_the_screen_and_the_other_cannot_be_woken(
    action: AppAction, status: int, verdict: str
) -> None:
    """The person's refusal is the answer, and not that the other was asleep."""
    with Playbook(asleep("a"), asleep("b")) as call:
        _ = call << Push("a") << Push("b") << StoreInvite() >> Took("a")
        _ = call >> AppActed(device=A, action=action) >> Took("b", PushOutcome.REJECTED)
        _ = call << Reply(status, verdict) << ENDED << Finish


def test_three_and_the_second_answers() -> None:
    """One has refused, one answers, one rings: only that one is cancelled, with the Reason."""
    call = Playbook(fresh("a"), fresh("b"), fresh("c"))
    with call << Ring("a") << Ring("b") << Ring("c") << StoreInvite():
        _ = call >> Answered("a", 486) >> Answered("c", 180) << Relay(3) << RINGING
        _ = call >> Answered("b", 200) << Relay(2) << Cancel(3, COMPLETED_ELSEWHERE)
        _ = call << ANSWERED << Over(Verdict.ANSWERED, "device")
