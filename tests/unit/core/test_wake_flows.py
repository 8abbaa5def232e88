"""core.wake over TCP and TLS: connections that end, or are left behind, in the midst of a call."""

from typing import Any

import pytest

from push_proxy.core.actions import AckAndBye, Finish, Move, Note, PushType, SendPush, StoreInvite
from push_proxy.core.events import (
    CallerCancelled,
    Candidate,
    DeviceUnregistered,
    Invite,
    PushOutcome,
    WakeSettings,
)
from push_proxy.core.forking import COMPLETED_ELSEWHERE
from push_proxy.core.ids import CallId, DeviceId, Instant
from push_proxy.core.model import CallState, Verdict
from push_proxy.core.wake import start
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
    registers,
)

PHONE = DeviceId("phone")
RINGING, ANSWERED, ENDED = Move(CallState.RINGING), Move(CallState.ANSWERED), Move(CallState.ENDED)
TCP = {"transport": "tcp"}


def fresh(**fields: Any) -> Candidate:
    """A phone that was heard just now over its connection."""
    return asleep("phone", binding=binding("phone", **TCP), fresh=True, **fields)


def plain(**fields: Any) -> Candidate:
    """A phone with a connection, and nothing to push to."""
    bound = binding("phone", **TCP)
    return Candidate(device=PHONE, pushable=False, binding=bound, **fields)


@pytest.mark.parametrize("status", [430, 503, 408])
def test_a_lost_flow_is_no_answer(status: int) -> None:
    """The phone is pushed at once, and rung on its new connection, in the same call."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", status, local=True)
        _ = call << Push("phone") >> Took("phone") >> registers("phone", port=7, **TCP)
        _ = call << Ring("phone", 7) >> Answered("phone", 200) << Relay(2) << ANSWERED
        _ = call << Over(Verdict.ANSWERED)


def test_a_ringing_phone_changes_its_network() -> None:
    """Its connection ends while it rings: it comes back, is rung again, and answers."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Wait(20) >> Answered("phone", 430, local=True) << Push("phone")
        _ = call >> Wait(2) >> registers("phone", port=7, **TCP) << Ring("phone", 7)
        _ = call >> Answered("phone", 180) << Relay(2) >> Answered("phone", 200) << Relay(2)
        _ = call << ANSWERED << Over(Verdict.ANSWERED)


def test_a_ringing_phone_left_its_connection_behind() -> None:
    """No FIN comes from a network that is gone: its REGISTER from another host moves the INVITE."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> registers("phone", host="203.0.113.9", **TCP)
        _ = call << Cancel(1, "") << Ring("phone") >> Answered("phone", 180, branch=2) << Relay(2)
        _ = call >> Answered("phone", 408, branch=1, local=True)
        _ = call >> Answered("phone", 200, branch=2) << Relay(2) << ANSWERED << Finish


def test_a_second_connection_of_a_ringing_phone_moves_nothing() -> None:
    """From the same host both may live: the phone answers where it rings."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> registers("phone", port=7, **TCP) >> Answered("phone", 200)
        _ = call << Relay(1) << ANSWERED << Finish


def test_a_phone_without_a_push_target_is_waited_for() -> None:
    """Its flow breaks: it has as long as a wake to register again, and no longer."""
    with Playbook(plain()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Wait(1)
        _ = call >> Answered("phone", 430, local=True) >> Wait(13.9) >> Wait(0.1)
        _ = call << Reply(480, "registered_not_ringing") << ENDED
        _ = call << Over(Verdict.REGISTERED_NOT_RINGING, "deadline")


def test_a_registered_phone_without_connection_is_waited_for() -> None:
    """Nothing can be sent and nothing pushed: it most likely connects again just now."""
    with Playbook(plain(flow=False, returns=True)) as call:
        _ = call << StoreInvite() >> Wait(3) >> registers("phone", port=7, **TCP)
        _ = call << Ring("phone", 7)
    with Playbook(plain(flow=False, returns=True)) as call:
        _ = call << StoreInvite() >> Wait(15) << Reply(480, "no_device") << ENDED
        _ = call << Over(Verdict.NO_DEVICE, "deadline")


def test_a_phone_that_is_gone_for_good_is_not_waited_for() -> None:
    """Its connection ended long ago: it is off, and the caller is told at once."""
    with Playbook(plain(flow=False)) as call:
        _ = call << Reply(480, "no_device") << ENDED << Over(Verdict.NO_DEVICE, "proxy")


def test_a_phone_whose_token_has_ended() -> None:
    """The timeline says why it is not woken, also when another phone is."""
    dead = Candidate(device=DeviceId("dead"), pushable=False, token_fault="Unregistered")
    invite = Invite(call=CallId("c1"), received_at=Instant(0.0))
    _, actions = start(invite, (dead, asleep("phone")), WakeSettings(), Instant(0.0))
    assert Note("token_dead", DeviceId("dead"), "Unregistered") in actions
    with Playbook(dead) as call:
        _ = call << Reply(480, "no_device") << ENDED << Over(Verdict.NO_DEVICE, "proxy")


def test_a_sleeping_phone_is_pushed_however_lately_it_was_heard() -> None:
    """Its connection is gone: the INVITE is not sent into it, nor when the push fails."""
    phone = asleep("phone", binding=binding("phone", **TCP), flow=False)
    with Playbook(phone) as call:
        _ = call << Push("phone") << StoreInvite() >> Took("phone", PushOutcome.REJECTED)
        _ = call << Reply(480, "push_rejected") << ENDED << Over(Verdict.PUSH_REJECTED)


def test_it_rang_and_never_came_back() -> None:
    """A wake's time after its flow broke the call is over, and its screen is cleared."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Wait(30) >> Answered("phone", 430, local=True)
        order = call.waiting[0]
        assert isinstance(order, SendPush)
        assert order.deadline_s == pytest.approx(15)
        _ = call << Push("phone") >> Took("phone") >> Wait(15) << Reply(480, "no_answer")
        _ = call << Push("phone", PushType.CANCEL) << ENDED << Over(Verdict.NO_ANSWER, "deadline")


def test_silence_is_no_new_beginning() -> None:
    """Timer B on a connection that swallowed the INVITE: the wake's time is long over."""
    with Playbook(plain(), ack_s=None, deadline_s=40) as call:
        _ = call << Ring("phone") << StoreInvite() >> Wait(32)
        _ = call >> Answered("phone", 408, local=True) >> Wait(8)
        _ = call << Reply(480, "registered_not_ringing") << ENDED << Finish


def test_one_push_is_enough_for_some_providers() -> None:
    """APNs would ring twice: a phone that was pushed is waited for, not pushed again."""
    with Playbook(asleep("phone", repush=False)) as call:
        _ = call << Push("phone") << StoreInvite() >> Took("phone") >> registers("phone", **TCP)
        _ = call << Ring("phone") >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Wait(20) >> Answered("phone", 430, local=True) >> Wait(14)
        _ = call >> registers("phone", port=7, **TCP) << Ring("phone", 7)


def test_a_push_under_way_is_enough() -> None:
    """The provider has not answered yet: a second push would bring nothing more."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Wait(1) << Push("phone")
        _ = call >> Answered("phone", 430, local=True) >> Took("phone")
        _ = call >> registers("phone", port=7, **TCP) << Ring("phone", 7)


def test_a_flow_that_breaks_again() -> None:
    """Each new connection gets the INVITE once, and never two at a time."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite()
        for port in (7, 8, 9):
            _ = call >> Answered("phone", 430, local=True) << Push("phone") >> Took("phone")
            _ = call >> registers("phone", port=port, **TCP) << Ring("phone", port)
            _ = call >> registers("phone", port=port, **TCP)


def test_unregistering_in_between_ends_nothing() -> None:
    """Some phones remove their old binding before they make the new one."""
    with Playbook(plain()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 430, local=True)
        _ = call >> DeviceUnregistered(PHONE) >> registers("phone", port=7, **TCP)
        _ = call << Ring("phone", 7)


def test_others_ring_on_while_one_is_waited_for() -> None:
    """Another device answers: the one whose flow broke is told by push, if it was pushed."""
    other = Candidate(device=DeviceId("desk"), pushable=False, binding=binding("desk"))
    with Playbook(fresh(), other) as call:
        _ = call << Ring("phone") << Ring("desk") << StoreInvite()
        _ = call >> Answered("phone", 430, local=True) << Push("phone") >> Took("phone")
        _ = call >> Answered("desk", 200) << Relay(2)
        _ = call << Push("phone", PushType.ANSWERED_ELSEWHERE) << ANSWERED << Finish


def test_the_cancel_of_a_moved_invite_says_nothing_of_an_answer() -> None:
    """Only those who lost the call are told that somebody else has it."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> registers("phone", port=7, **TCP)
        _ = call << Cancel(1, "") << Ring("phone", 7) >> Answered("phone", 200, branch=1)
        _ = call << Relay(1) << Cancel(2, COMPLETED_ELSEWHERE) << ANSWERED << Finish


def test_an_answer_over_another_connection() -> None:
    """The phone rings on although its connection is gone, and answers the INVITE it had."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Answered("phone", 430, local=True) << Push("phone") >> Took("phone")
        _ = call >> registers("phone", port=7, **TCP) << Ring("phone", 7)
        _ = call >> Answered("phone", 200, branch=1)
        _ = call << Relay(1) << Cancel(2, COMPLETED_ELSEWHERE) << ANSWERED << Over(Verdict.ANSWERED)


@pytest.mark.parametrize("status", [482, 486])
def test_a_phone_that_still_rings_is_not_busy(status: int) -> None:
    """It takes the INVITE on its new connection for a second call: it is waited for as it rings."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Answered("phone", 430, local=True) << Push("phone") >> Took("phone")
        _ = call >> registers("phone", port=7, **TCP) << Ring("phone", 7)
        _ = call >> Answered("phone", 100) >> Answered("phone", status) >> Wait(60)
        _ = call >> Answered("phone", 200, branch=1) << Relay(1) << ANSWERED << Finish


def test_a_phone_that_rang_anew_may_be_busy() -> None:
    """A person has refused, once it rang on the new connection; or it never rang on the old one."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Answered("phone", 430, local=True) << Push("phone") >> Took("phone")
        _ = call >> registers("phone", port=7, **TCP) << Ring("phone", 7)
        _ = call >> Answered("phone", 180) << Relay(2) >> Answered("phone", 486) << Relay(2)
        _ = call << ENDED << Over(Verdict.BUSY)
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 430, local=True)
        _ = call << Push("phone") >> Took("phone") >> registers("phone", port=7, **TCP)
        _ = call << Ring("phone", 7) >> Answered("phone", 486) << Relay(2) << ENDED << Finish


def test_a_phone_that_still_rings_when_the_caller_gives_up() -> None:
    """No CANCEL reaches its old branch: a terminal push takes the call from its screen."""
    with Playbook(fresh()) as call:
        _ = call << Ring("phone") << StoreInvite() >> Answered("phone", 180) << Relay(1) << RINGING
        _ = call >> Answered("phone", 430, local=True) << Push("phone") >> Took("phone")
        _ = call >> registers("phone", port=7, **TCP) << Ring("phone", 7)
        _ = call >> Answered("phone", 486) >> CallerCancelled("") << Reply(487)
        _ = call << Push("phone", PushType.CANCEL) << ENDED << Finish
        _ = call >> Answered("phone", 200, branch=1) << AckAndBye
