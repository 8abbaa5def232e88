"""Ring mode ``together``: who is awake waits for who is not, then all begin at once."""

from typing import Any

import pytest

from push_proxy.core.actions import Finish, LateInvite, Move, PushType, StoreInvite
from push_proxy.core.events import (
    AppActed,
    AppAction,
    CallerCancelled,
    Candidate,
    DeviceUnregistered,
    PushOutcome,
    TokenRotated,
)
from push_proxy.core.forking import COMPLETED_ELSEWHERE
from push_proxy.core.ids import DeviceId
from push_proxy.core.model import CallState, RingMode, Verdict
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
    plain,
    registers,
)

DESK, MOBILE = DeviceId("desk"), DeviceId("mobile")
RINGING, ANSWERED, ENDED = Move(CallState.RINGING), Move(CallState.ANSWERED), Move(CallState.ENDED)


def together(*candidates: Candidate, **settings: Any) -> Playbook:
    """A call of an account whose devices ring together."""
    settings = {"repush_after_s": None, **settings}
    return Playbook(*candidates, ring_mode=RingMode.TOGETHER, **settings)


def desk_and_mobile(**settings: Any) -> Playbook:
    """The desk phone is awake, the mobile is pushed."""
    call = together(plain("desk"), asleep("mobile"), **settings)
    return call << Push("mobile") << StoreInvite() >> Took("mobile")


def test_desk_waits_for_the_mobile() -> None:
    """Both INVITEs leave in the same step, when the mobile has registered."""
    with desk_and_mobile() as call:
        _ = call >> Wait(4) >> registers("mobile") << Ring("desk") << Ring("mobile")
        _ = call >> Answered("mobile", 180) << Relay(2) << RINGING
        _ = call >> Answered("desk", 200) << Relay(1) << Cancel(2, COMPLETED_ELSEWHERE)
        _ = call << ANSWERED << Over(Verdict.ANSWERED)


def test_nobody_to_wait_for() -> None:
    """All awake: rung at once. One sleeping alone: rung when it registers."""
    with together(fresh("a"), plain("b")) as call:
        _ = call << Ring("a") << Ring("b") << StoreInvite()
    with together(asleep("a")) as call:
        _ = call << Push("a") << StoreInvite() >> registers("a") << Ring("a")


def test_the_limit() -> None:
    """After ``together_s`` what is awake rings; the mobile is added when it comes."""
    with desk_and_mobile(together_s=10) as call:
        _ = call >> Wait(9.9) >> Wait(0.1) << Ring("desk") >> Wait(2)
        _ = call >> registers("mobile") << Ring("mobile")


def test_the_limit_is_over_and_nobody_is_awake() -> None:
    """Nothing to ring: the first that comes rings at once."""
    with together(asleep("a"), asleep("b"), together_s=10) as call:
        _ = call << Push("a") << Push("b") << StoreInvite() >> Took("a") >> Wait(11)
        _ = call >> registers("a") << Ring("a")


def test_two_mobiles_wait_for_each_other() -> None:
    """The first to register does not ring before the second."""
    with together(asleep("a"), asleep("b")) as call:
        _ = call << Push("a") << Push("b") << StoreInvite() >> registers("a") >> Wait(3)
        _ = call >> registers("a", port=7) >> registers("b") << Ring("a", 7) << Ring("b")


@pytest.mark.parametrize("outcome", [PushOutcome.REJECTED, PushOutcome.UNAVAILABLE])
def test_a_push_that_fails_ends_the_waiting(outcome: PushOutcome) -> None:
    """Nobody waits for a phone that cannot be woken."""
    with together(plain("desk"), asleep("mobile")) as call:
        _ = call << Push("mobile") << StoreInvite() >> Took("mobile", outcome) << Ring("desk")


@pytest.mark.parametrize("action", list(AppAction))
def test_a_refusal_ends_the_waiting(action: AppAction) -> None:
    """The mobile's owner declines before it has registered: the desk phone rings at once."""
    with desk_and_mobile() as call:
        _ = call >> AppActed(device=MOBILE, action=action) << Ring("desk")
        _ = call >> registers("mobile")


def test_a_silent_phone_given_up_early() -> None:
    """With ``ack_s`` nobody waits longer for it than that."""
    with desk_and_mobile(ack_s=3) as call:
        _ = call >> Wait(3) << Ring("desk") >> registers("mobile") << Ring("mobile")


def test_cancel_while_it_waits() -> None:
    """487; the desk phone never hears of it; the mobile's screen is cleared."""
    with desk_and_mobile() as call:
        _ = call >> Wait(2) >> CallerCancelled("") << Reply(487) << Push("mobile", PushType.CANCEL)
        _ = call << ENDED << Over(Verdict.CALLER_CANCELLED)


def test_what_waited_is_not_to_blame() -> None:
    """The caller gave up because the mobile did not wake, not because the desk was silent."""
    with desk_and_mobile() as call:
        _ = call >> Wait(9) >> CallerCancelled("") << Reply(487) << Push("mobile", PushType.CANCEL)
        _ = call << ENDED << Over(Verdict.NOT_WOKEN)


def test_a_waiting_iphone_hears_of_the_end() -> None:
    """It shows the call since its push, was never rung, and will not register again."""
    with together(asleep("a", late_invite=True), asleep("b", late_invite=True)) as call:
        _ = call << Push("a") << Push("b") << StoreInvite() >> Took("a") >> Took("b")
        _ = call >> registers("a") >> CallerCancelled("") << Reply(487)
        _ = call << Push("a", PushType.CANCEL) << Push("b", PushType.CANCEL) << LateInvite
        _ = call << ENDED << Finish >> registers("a", port=8) >> registers("b") << LateInvite


def test_the_waiting_one_declines() -> None:
    """It is not rung with the others; alone, its answer is the call's."""
    with desk_and_mobile() as call:
        _ = call >> AppActed(device=DESK, action=AppAction.BUSY) >> Wait(3)
        _ = call >> registers("mobile") << Ring("mobile") >> Answered("mobile", 404)
        _ = call << Relay(1) << ENDED << Finish


def test_the_waiting_one_leaves() -> None:
    """A fresh phone whose binding ends while it waits is pushed; a desk phone is just gone."""
    with together(fresh("a"), asleep("b")) as call:
        _ = call << Push("b") << StoreInvite() >> DeviceUnregistered(DeviceId("a")) << Push("a")
        _ = call >> registers("b") >> registers("a") << Ring("a") << Ring("b")
    with desk_and_mobile() as call:
        _ = call >> DeviceUnregistered(DESK) >> registers("mobile") << Ring("mobile")


def test_nobody_is_left() -> None:
    """The only waiting phone leaves, the other could not be woken: 480 at once."""
    with together(plain("desk"), asleep("mobile")) as call:
        _ = call << Push("mobile") << StoreInvite() >> DeviceUnregistered(DESK)
        _ = call >> Took("mobile", PushOutcome.REJECTED) << Reply(480, "push_rejected")
        _ = call << ENDED << Finish


def test_the_deadline_begins_with_the_ringing() -> None:
    """A desk phone that waited has as long to answer as one that was rung at once."""
    with desk_and_mobile(together_s=10, deadline_s=12) as call:
        _ = call >> Wait(10) << Ring("desk") >> Wait(11.9) >> Wait(0.1) << Cancel(1)
        _ = call << Reply(480, "not_woken") << Push("mobile", PushType.CANCEL) << ENDED << Finish


def test_a_fresh_phone_that_says_nothing_when_rung() -> None:
    """It is pushed a second after it was rung, however long it had waited."""
    with together(fresh("a"), asleep("b"), together_s=10) as call:
        _ = call << Push("b") << StoreInvite() >> Took("b") >> Wait(10) << Ring("a")
        _ = call >> Wait(0.9) >> Wait(0.1) << Push("a")


def test_one_phone_under_two_names_rings_once() -> None:
    """The newest of its bindings takes the INVITE."""
    with together(asleep("a"), asleep("b"), asleep("c")) as call:
        _ = call << Push("a") << Push("b") << Push("c") << StoreInvite()
        _ = call >> registers("a", instance="urn:1") >> Wait(1)
        _ = call >> registers("b", instance="urn:1", port=3) >> Wait(1)
        _ = call >> registers("c") << Ring("b", 3) << Ring("c")


def test_a_token_rotates_while_others_wait() -> None:
    """The sleeping phone is pushed again, the waiting one is not pushed at all."""
    with desk_and_mobile() as call:
        _ = call >> TokenRotated(MOBILE) << Push("mobile") >> TokenRotated(DESK)
        _ = call >> registers("mobile") << Ring("desk") << Ring("mobile")


def test_the_waiting_flow_was_dead() -> None:
    """Found when it is rung: waited for anew, while the other rings on."""
    with together(fresh("a"), asleep("b")) as call:
        _ = call << Push("b") << StoreInvite() >> registers("b") << Ring("a") << Ring("b")
        _ = call >> Answered("b", 180) << Relay(2) << RINGING
        _ = call >> Answered("a", 430, local=True) << Push("a")
        _ = call >> registers("a", port=9) << Ring("a", 9)


def test_the_invite_expires_while_they_wait() -> None:
    """The INVITE's own Expires ends it, and nobody is rung after it."""
    with desk_and_mobile(together_s=10, expires_s=6) as call:
        _ = call >> Wait(6) << Reply(487) << Push("mobile", PushType.CANCEL) << ENDED << Finish
