"""core.wake: a call's flow, from the INVITE to its end."""

import pytest

from push_proxy.core.actions import (
    AckAndBye,
    Finish,
    ForgetInvite,
    Move,
    PushType,
    SendTrying,
    StoreInvite,
)
from push_proxy.core.events import (
    AppActed,
    AppAction,
    AppEvent,
    AppReported,
    CallerCancelled,
    CallerLost,
    DeviceUnregistered,
    InviteStored,
    PushOutcome,
    TokenRotated,
)
from push_proxy.core.forking import COMPLETED_ELSEWHERE
from push_proxy.core.ids import DeviceId
from push_proxy.core.model import CallState, Ringing, Verdict
from push_proxy.core.wake import Ended
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
    binding,
    fresh,
    plain,
    registers,
)

PHONE = DeviceId("phone")
STORED = InviteStored(ok=True)
RINGING, ANSWERED, ENDED = Move(CallState.RINGING), Move(CallState.ANSWERED), Move(CallState.ENDED)


def test_held_pushed_woken_answered() -> None:
    """The main job."""
    with Playbook(asleep("phone")) as call:
        _ = call << Push("phone") << StoreInvite()
        _ = call >> STORED << SendTrying() >> Took("phone") << Reply(180)
        _ = call >> Wait(2) >> registers("phone") << Ring("phone")
        _ = call >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Answered("phone", 200) << Relay(1, forgets=True) << ANSWERED
        _ = call << Over(Verdict.ANSWERED, "device")
        assert isinstance(call.state, Ended)
        assert call.state.finished


def test_fresh_phone_is_rung_and_not_pushed() -> None:
    """Rung at once; a provisional within the second spares the push."""
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> STORED << SendTrying()
        _ = call >> Wait(0.9) >> Answered("phone", 100) >> Wait(5)
        _ = call >> Answered("phone", 180) << Relay(1) << RINGING


def test_fresh_phone_that_says_nothing_is_pushed() -> None:
    """After a second; its REGISTER on the same flow brings no second INVITE."""
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> Wait(0.99) >> Wait(0.01) << Push("phone")
        _ = call >> registers("phone") >> Answered("phone", 200)
        _ = call << Relay(1) << ANSWERED << Finish


def test_phone_without_push_target_is_rung() -> None:
    """However long ago it was heard; with nothing heard back, 480 at the deadline."""
    with Playbook(plain("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> Wait(15) << Cancel(1)
        _ = call << Reply(480, "registered_not_ringing") << ENDED << Finish


def test_second_push() -> None:
    """One, five seconds after the first was taken without a sign of life."""
    with Playbook(asleep("phone")) as call:
        _ = call << Push("phone") << StoreInvite() >> Took("phone") >> Wait(4.9) >> Wait(0.1)
        _ = call << Push("phone") >> Took("phone") >> Wait(9.9) >> Wait(0.1)
        _ = call << Reply(480, "not_woken") << Push("phone", PushType.CANCEL) << ENDED << Finish


@pytest.mark.parametrize("sign", [AppEvent.PUSH_RECEIVED, AppEvent.UI_SHOWN])
def test_no_second_push_after_a_sign_of_life(sign: AppEvent) -> None:
    """The app has it: it must not be told twice."""
    with Playbook(asleep("phone")) as call:
        _ = call << Push("phone") << StoreInvite() >> Took("phone")
        _ = call >> AppReported(device=PHONE, event=sign) >> Wait(14)


def test_no_second_push_for_apns() -> None:
    """Where a second push would ring a second time there is none."""
    with Playbook(asleep("phone", repush=False)) as call:
        _ = call << Push("phone") << StoreInvite() >> Took("phone") >> Wait(14)


def test_silent_phone_is_given_up_early() -> None:
    """With ``ack_s`` no sign of life until then ends its part."""
    with Playbook(asleep("phone"), ack_s=4, repush_after_s=None) as call:
        _ = call << Push("phone") << StoreInvite() >> Took("phone") >> Wait(4)
        _ = call << Reply(480, "not_woken") << Push("phone", PushType.CANCEL) << ENDED << Finish


@pytest.mark.parametrize(
    ("policy", "at_start", "after_push"),
    [
        (Ringing.PUSH_ACCEPTED, False, True),
        (Ringing.IMMEDIATELY, True, False),
        (Ringing.DEVICE_RINGS, False, False),
    ],
)
def test_what_the_caller_hears(policy: Ringing, at_start: bool, after_push: bool) -> None:
    """180 of our own as policy says, once, and never before the INVITE is durable."""
    with Playbook(asleep("phone"), ringing=policy) as call:
        _ = call << Push("phone") << StoreInvite() >> STORED << SendTrying()
        if at_start:
            _ = call << Reply(180)
        _ = call >> Took("phone")
        if after_push:
            _ = call << Reply(180)


@pytest.mark.parametrize("policy", list(Ringing))
def test_100rel_required(policy: Ringing) -> None:
    """Nothing but 100 of our own: the caller could not acknowledge it (RFC 3262 §3)."""
    with Playbook(asleep("phone"), requires_100rel=True, ringing=policy) as call:
        _ = call << Push("phone") << StoreInvite() >> STORED << SendTrying() >> Took("phone")
        _ = call >> registers("phone") << Ring("phone")
        _ = call >> Answered("phone", 183) << Relay(1) << RINGING


def test_two_phones_one_answers() -> None:
    """The loser is cancelled with the Reason; no order after that (RFC 3326)."""
    with Playbook(asleep("a"), asleep("b"), asleep("c")) as call:
        _ = call << Push("a") << Push("b") << Push("c") << StoreInvite()
        _ = call >> registers("a") << Ring("a") >> registers("b", port=2) << Ring("b", 2)
        _ = call >> Answered("b", 200) << Relay(2) << Cancel(1, COMPLETED_ELSEWHERE)
        _ = call << Push("c", PushType.ANSWERED_ELSEWHERE) << ANSWERED << Finish
        _ = call >> registers("c") >> Wait(5) >> Answered("a", 200) << AckAndBye


def test_one_refuses_while_another_wakes() -> None:
    """486 is that phone's alone; the best answer goes upstream when nobody is left."""
    with Playbook(asleep("a"), asleep("b")) as call:
        _ = call << Push("a") << Push("b") << StoreInvite() >> registers("a") << Ring("a")
        _ = call >> Answered("a", 486) >> registers("a", port=9)
        _ = call >> Took("b", PushOutcome.UNAVAILABLE) << Relay(1)
        _ = call << Push("b", PushType.CANCEL) << ENDED << Over(Verdict.BUSY, "device")


def test_decline_everywhere() -> None:
    """603 cancels the others, waits for what crosses, and goes upstream (RFC 3261 §16.7)."""
    with Playbook(asleep("a"), asleep("b")) as call:
        _ = call << Push("a") << Push("b") << StoreInvite()
        _ = call >> registers("a") << Ring("a") >> registers("b", port=2) << Ring("b", 2)
        _ = call >> Answered("a", 603) << Cancel(2) >> registers("b", port=3)
        _ = call >> Answered("b", 487) << Relay(1) << ENDED << Over(Verdict.DECLINED)


def test_answer_crosses_a_decline() -> None:
    """A 2xx wins over a 6xx that has not gone upstream yet."""
    with Playbook(fresh("a"), fresh("b")) as call:
        _ = call << Ring("a") << Ring("b") << StoreInvite()
        _ = call >> Answered("a", 603) << Cancel(2) >> Answered("b", 200)
        _ = call << Relay(2) << ANSWERED << Over(Verdict.ANSWERED)


def test_decline_does_not_wait_for_the_silent() -> None:
    """A second later the 603 goes upstream, whatever the others do."""
    with Playbook(fresh("a"), plain("b")) as call:
        _ = call << Ring("a") << Ring("b") << StoreInvite() >> Answered("a", 603) << Cancel(2)
        _ = call >> Wait(1) << Relay(1) << ENDED << Over(Verdict.DECLINED)


def test_phone_redirects() -> None:
    """A 3xx ends its part; it is better than a 4xx."""
    with Playbook(fresh("a"), fresh("b")) as call:
        _ = call << Ring("a") << Ring("b") << StoreInvite()
        _ = call >> Answered("a", 488) >> Answered("b", 302)
        _ = call << Relay(2) << ENDED << Over(Verdict.FORWARDED)


def test_503_of_a_phone_is_not_ours() -> None:
    """500 instead: 503 would take the whole proxy out of service (RFC 3261 §16.7)."""
    with Playbook(plain("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 503)
        _ = call << Reply(500, "device_error") << ENDED << Over(Verdict.DEVICE_ERROR)


@pytest.mark.parametrize("outcome", [PushOutcome.UNAVAILABLE, PushOutcome.REJECTED])
def test_no_push_gets_through_to_a_registered_phone(outcome: PushOutcome) -> None:
    """It has not been heard lately, but it is registered: it is rung there, not given up."""
    phone = asleep("phone", binding=binding("phone"))
    with Playbook(phone) as call:
        _ = call << Push("phone") << StoreInvite() >> Took("phone", outcome) << Ring("phone")
        _ = call >> Answered("phone", 180) << Relay(1) << RINGING


def test_no_push_gets_through_and_the_binding_is_dead() -> None:
    """Rung in vain until the wake's end: it is the push that did not get through."""
    phone = asleep("phone", binding=binding("phone"))
    with Playbook(phone) as call:
        _ = call << Push("phone") << StoreInvite()
        _ = call >> Took("phone", PushOutcome.UNAVAILABLE) << Ring("phone") >> Wait(15)
        _ = call << Cancel(1) << Reply(480, "provider_unavailable")
        _ = call << Push("phone", PushType.CANCEL) << ENDED
        _ = call << Over(Verdict.PROVIDER_UNAVAILABLE)


@pytest.mark.parametrize(("status", "local"), [(408, True), (503, True), (430, False)])
def test_dead_flow_of_a_fresh_phone(status: int, local: bool) -> None:
    """It is pushed at once and rung where it registers."""
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", status, local=local)
        _ = call << Push("phone") >> registers("phone", port=7) << Ring("phone", 7)


def test_flow_fails_after_the_phone_has_moved() -> None:
    """A ringing phone keeps its branch; when that flow dies the INVITE follows it."""
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> registers("phone", port=7) >> Answered("phone", 503, local=True)
        _ = call << Ring("phone", 7)


def test_moved_phone_may_answer_on_both_flows() -> None:
    """The INVITE moved, the old flow was only slow: its 200 wins all the same."""
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> registers("phone", port=7)
        _ = call << Cancel(1, "") << Ring("phone", 7)
        _ = call >> Answered("phone", 200, branch=1)
        _ = call << Relay(1) << Cancel(2, COMPLETED_ELSEWHERE) << ANSWERED << Finish


def test_the_old_flows_refusal_is_nobodys() -> None:
    """The branch that was called off ends with 487, or rings: neither concerns the caller."""
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> registers("phone", port=7)
        _ = call << Cancel(1, "") << Ring("phone", 7)
        _ = call >> Answered("phone", 180, branch=1) >> Answered("phone", 487, branch=1)
        _ = call >> Answered("phone", 180) << Relay(2) << RINGING


def test_a_phone_that_hears_sip_gets_no_terminal_push() -> None:
    """Pushed because it was slow, it has answered by SIP since: the CANCEL reaches it."""
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> Wait(1) << Push("phone") >> Took("phone")
        _ = call >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> CallerCancelled("") << Reply(487) << Cancel(1) << ENDED << Finish


def test_a_phone_called_off_may_still_answer_late() -> None:
    """The INVITE had moved, the caller has gone: the old flow's 200 is ended by us."""
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> registers("phone", port=7)
        _ = call << Cancel(1, "") << Ring("phone", 7)
        _ = call >> CallerCancelled("") << Reply(487) << Cancel(2) << ENDED << Finish
        _ = call >> Answered("phone", 487, branch=2)
        _ = call >> Answered("phone", 200, branch=1) << AckAndBye


def test_two_names_one_phone() -> None:
    """The same ``+sip.instance`` is one phone, whatever device it says it is."""
    with Playbook(asleep("a"), asleep("b")) as call:
        _ = call << Push("a") << Push("b") << StoreInvite()
        _ = call >> registers("a", instance="urn:1") << Ring("a")
        _ = call >> Answered("a", 180) << Relay(1) << RINGING
        _ = call >> registers("b", instance="urn:1", port=3)


def test_a_phone_nobody_knew_of() -> None:
    """One that registers during the call is rung too."""
    with Playbook(asleep("a")) as call:
        _ = call << Push("a") << StoreInvite() >> registers("~new") << Ring("~new")
        _ = call >> Answered("~new", 200) << Relay(1) << Push("a", PushType.ANSWERED_ELSEWHERE)
        _ = call << ANSWERED << Finish


def test_no_push_after_the_wakes_end() -> None:
    """Not to a new token, nor for a flow that nothing was ever heard on."""
    with Playbook(asleep("a"), plain("b"), repush_after_s=None, ack_s=None) as call:
        _ = call << Push("a") << Ring("b") << StoreInvite() >> Took("a")
        _ = call >> Answered("b", 100) >> Wait(20)
        _ = call >> TokenRotated(DeviceId("a")) >> Answered("b", 486)
        _ = call << Relay(1) << Push("a", PushType.CANCEL) << ENDED << Finish


def test_deadlines_later_than_the_wake() -> None:
    """A second push that would be due after the end, or a slow fresh phone, changes nothing."""
    with Playbook(asleep("a"), fresh("b"), repush_after_s=60, fresh_answer_s=60) as call:
        _ = call << Push("a") << Ring("b") << StoreInvite() >> Took("a") >> Wait(15)
        _ = call << Cancel(1) << Reply(480, "not_woken")
        _ = call << Push("a", PushType.CANCEL) << ENDED << Finish


def test_token_rotates() -> None:
    """Pushed again; the old token's refusal changes nothing, nor does a late rotation."""
    with Playbook(asleep("phone")) as call:
        _ = call << Push("phone") << StoreInvite()
        old = call.pushes["phone"]
        _ = call >> TokenRotated(PHONE) << Push("phone")
        new = call.pushes["phone"]
        assert old != new
        call.pushes["phone"] = old
        _ = call >> Took("phone", PushOutcome.REJECTED)
        call.pushes["phone"] = new
        _ = call >> Took("phone") >> registers("phone") << Ring("phone") >> TokenRotated(PHONE)


def test_declined_on_the_push_screen() -> None:
    """603 at once when nobody else is left; no push to one who knows."""
    with Playbook(asleep("phone")) as call:
        _ = call << Push("phone") << StoreInvite() >> STORED << SendTrying() >> Took("phone")
        _ = call << Reply(180) >> AppActed(device=PHONE, action=AppAction.DECLINE)
        _ = call << Reply(603, "declined") << ForgetInvite() << ENDED << Over(Verdict.DECLINED)


def test_busy_on_one_screen_while_another_rings() -> None:
    """That device's part ends, its INVITE too; the other goes on."""
    with Playbook(fresh("a"), fresh("b")) as call:
        _ = call << Ring("a") << Ring("b") << StoreInvite()
        _ = call >> AppActed(device=DeviceId("a"), action=AppAction.BUSY) << Cancel(1)
        _ = call >> Answered("b", 404) << Relay(2) << ENDED << Over(Verdict.BUSY)


def test_cancel_while_it_rings() -> None:
    """487 first; the Reason goes on to the phone; its 200 that crosses is ended by us."""
    reason = "Q.850;cause=16"
    with Playbook(fresh("phone")) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> CallerCancelled(reason) << Reply(487) << Cancel(1, reason) << ENDED
        _ = call << Over(Verdict.CALLER_CANCELLED, "caller") >> STORED << ForgetInvite()
        _ = call >> Answered("phone", 200) << AckAndBye
        assert isinstance(call.state, Ended)
        assert call.state.finished


def test_answered_at_the_pbx() -> None:
    """Who still wakes is told that another phone has it."""
    with Playbook(asleep("phone")) as call:
        _ = call << Push("phone") << StoreInvite() >> CallerCancelled(COMPLETED_ELSEWHERE)
        _ = call << Reply(487) << Push("phone", PushType.ANSWERED_ELSEWHERE) << ENDED
        _ = call << Over(Verdict.ANSWERED_ELSEWHERE, "pbx")


def test_pbx_vanishes() -> None:
    """No final response, but everybody is told."""
    with Playbook(asleep("a"), fresh("b")) as call:
        _ = call << Push("a") << Ring("b") << StoreInvite() >> CallerLost("reset")
        _ = call << Cancel(1) << Push("a", PushType.CANCEL) << ENDED << Over(Verdict.PBX_LOST)


def test_timer_c() -> None:
    """A phone that rings for ever is cancelled; each 18x restarts the timer (RFC 3261 §16.8)."""
    with Playbook(fresh("phone"), timer_c_s=185) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Wait(184) >> Answered("phone", 180) << Relay(1) >> Wait(184) >> Wait(1)
        _ = call << Cancel(1) << Reply(480, "no_answer") << ENDED << Over(Verdict.NO_ANSWER)


def test_the_invite_expires() -> None:
    """Its own Expires ends it with 487, and no push outlives it (RFC 3261 §13.3.1)."""
    with Playbook(asleep("phone"), expires_s=6) as call:
        _ = call << Push("phone") << StoreInvite() >> Took("phone") >> Wait(5) << Push("phone")
        _ = call >> Wait(1) << Reply(487) << Push("phone", PushType.CANCEL) << ENDED
        _ = call << Over(Verdict.NOT_WOKEN, "pbx")


def test_phone_comes_back_elsewhere() -> None:
    """Unregistered and registered again before it said a word: the INVITE moves."""
    with Playbook(asleep("phone")) as call:
        _ = call << Push("phone") << StoreInvite() >> registers("phone") << Ring("phone")
        _ = call >> DeviceUnregistered(PHONE) >> registers("phone", port=8)
        _ = call << Cancel(1) << Ring("phone", 8)


def test_late_phone_still_rings_beside_another() -> None:
    """The deadline ends waiting, not the call: who comes later is rung too."""
    with Playbook(asleep("a"), asleep("b"), repush_after_s=None) as call:
        _ = call << Push("a") << Push("b") << StoreInvite() >> Took("b")
        _ = call >> registers("a") << Ring("a") >> Answered("a", 180) << Relay(1) << RINGING
        _ = call >> Wait(30) >> registers("b", port=4) << Ring("b", 4)
