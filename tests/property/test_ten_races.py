"""The races that lose calls elsewhere: each as a play in which only the timing is drawn.

`race_stage.run` plays each a thousand times; what holds in any play is checked there and in
`wire`, what holds in this one here. The guard behind each: tests/README.md.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from push_proxy.core.actions import AckAndBye, CancelBranch, Fork, LateInvite, PushType, SendPush
from push_proxy.core.events import (
    AppActed,
    AppAction,
    BranchFailed,
    CallerCancelled,
    CallerLost,
    DeviceUnregistered,
    GivingUp,
    InviteStored,
    PushAnswered,
    PushOutcome,
    TimePassed,
    TokenRotated,
)
from push_proxy.core.forking import COMPLETED_ELSEWHERE
from push_proxy.core.ids import DeviceId, PushId
from push_proxy.core.model import RingMode, Verdict
from tests.property.race_stage import TIMES, Call, Stage, asleep, awake, binding, run

PHONE = DeviceId("p")

pytestmark = pytest.mark.timeout(400 * TIMES)  # busy machines are slow


def answers(stage: Stage, *, rings: bool = True, status: int = 200, most_s: float = 1.0) -> None:
    """Every phone that is rung rings, and gives this final response."""

    def rung(call: Call, fork: Fork) -> None:
        first, then = stage.soon(most_s), stage.soon(most_s)
        if rings:
            stage.at(first, lambda: stage.responds(call, fork.branch, 180))
        stage.at(first + then, lambda: stage.responds(call, fork.branch, status))

    stage.on(Fork, rung)


def answered(call: Call) -> bool:
    return call.wire.outcome is not None and call.wire.outcome.verdict is Verdict.ANSWERED


def register_meets_the_wait(stage: Stage) -> None:
    """Race 1: the REGISTER comes while the INVITE is being dealt with, or within the push."""
    answers(stage)
    if stage.maybe(0.3):  # a millisecond before the INVITE
        call = stage.invite(awake("p"))
        stage.at(stage.soon(0.1), lambda: stage.registers(binding("p")))
    else:
        known = binding("p", 4000) if stage.maybe() else None
        stage.at(stage.soon(0.2), lambda: stage.registers(binding("p")))
        call = stage.invite(asleep("p", binding=known))
    stage.play()
    assert answered(call)
    assert len(call.forks()) == 1


def test_race_1_register_meets_the_wait() -> None:
    """However the REGISTER and the push's answer fall, the call is delivered, once."""
    run(register_meets_the_wait)


def cancel_while_waking(stage: Stage) -> None:
    """Race 2: the caller gives up at any moment of the wake."""
    chosen = stage.settings(deadline_s=15.0)
    call = stage.invite(asleep("p", late_invite=True), settings=chosen)
    reason = stage.draw.choice(("", "Q.850;cause=16", COMPLETED_ELSEWHERE))
    gone_s = stage.draw.choice((stage.soon(0.1), stage.near(5.0), stage.near(15.0)))
    back_s = stage.near(gone_s) if stage.maybe() else stage.near(gone_s + chosen.late_invite_s)
    stage.at(gone_s, lambda: stage.tell(call, CallerCancelled(reason)))
    stage.at(back_s, lambda: stage.registers(binding("p"), times=2))
    stage.play()
    rung = bool(call.forks())
    assert call.wire.finals in ([487], [480])
    farewells = call.pushes(PushType.CANCEL) + call.pushes(PushType.ANSWERED_ELSEWHERE)
    assert len(farewells) == (0 if rung else 1)
    assert call.count(LateInvite) <= (0 if rung else 1)
    for order in call.orders:
        assert not (isinstance(order, Fork) and call.orders.index(order) > _end(call))


def _end(call: Call) -> int:
    finals = [n for n, order in enumerate(call.orders) if type(order).__name__ == "Finish"]
    return finals[0]


def test_race_2_cancel_while_waking() -> None:
    """487 in the same step; no INVITE after it but the late one; the screen is cleared once."""
    run(cancel_while_waking)


def the_old_call_and_the_next(stage: Stage) -> None:
    """Race 3: A, CANCEL, B, and one REGISTER."""
    answers(stage)
    first = stage.invite(asleep("p"), name="A")
    gone_s = stage.soon(2.0)
    comes_s = gone_s + 0.002 + stage.soon(3.0)
    stage.at(gone_s, lambda: stage.tell(first, CallerCancelled("")))
    stage.at(gone_s + 0.001, lambda: _ignore(stage.invite(asleep("p"), name="B")))
    stage.at(comes_s, lambda: stage.registers(binding("p")))
    stage.play()
    _, second = stage.calls
    assert not first.forks()
    if comes_s < 15 and second.wire.settings.ack_s is None:
        assert answered(second)
        assert len(second.forks()) == 1


def _ignore(_: object) -> None:
    """The call is found on the stage."""


def test_race_3_the_old_call_takes_nothing_from_the_next() -> None:
    """The REGISTER brings B, and only B; nothing of A waits any more."""
    run(the_old_call_and_the_next)


def two_calls(stage: Stage) -> None:
    """Race 4: B comes while A wakes the phone; one REGISTER; one of them may be cancelled."""
    plain = stage.settings(ack_s=None)
    first = stage.invite(asleep("p"), name="A", settings=plain)
    between_s = stage.soon(0.1)
    comes_s = between_s + 0.001 + stage.soon(3.0)
    stage.at(between_s, lambda: _ignore(stage.invite(asleep("p"), name="B", settings=plain)))
    stage.at(comes_s, lambda: stage.registers(binding("p"), times=stage.draw.choice((1, 3))))
    who, gone_s = stage.draw.choice((None, 0, 1)), stage.near(comes_s)
    if who is not None:
        gone_s = max(gone_s, between_s + 0.0005)
        stage.at(gone_s, lambda: stage.tell(stage.calls[who], CallerCancelled("")))
    stage.on(Fork, lambda call, fork: stage.at(20, lambda: stage.responds(call, fork.branch, 200)))
    stage.play()
    second = stage.calls[1]
    for number, call in enumerate((first, second)):
        cancelled = who == number
        assert len(call.forks()) == (
            int(gone_s >= comes_s and bool(call.forks())) if cancelled else 1
        )
        assert answered(call) or cancelled
        assert len(call.pushes()) <= 2
    assert {push.push for push in first.pushes()}.isdisjoint(p.push for p in second.pushes())


def test_race_4_two_calls_one_register() -> None:
    """Both are delivered, with pushes of their own, and cancelled apart."""
    run(two_calls)


def register_burst(stage: Stage) -> None:
    """Race 5: retransmissions, new Call-IDs and refreshed tokens, all within a moment."""
    answers(stage, rings=stage.maybe(), most_s=2.0)
    call = stage.invite(asleep("p"), settings=stage.settings(ack_s=None))
    if stage.maybe():
        stage.on(Fork, _second_connection(stage))
    begins_s = stage.soon(3.0)
    for number in range(stage.draw.randint(2, 6)):
        bound = binding("p", token=stage.draw.choice("TU"), call_id=f"{number % 3}")
        if stage.maybe(0.3):
            bound = replace(bound, device=DeviceId("~q"))  # the same phone under another name
        when_s = begins_s + stage.soon(0.5)
        stage.at(when_s, lambda bound=bound: stage.registers(bound))  # type: ignore[misc]
    stage.play()
    assert answered(call)
    assert len(call.forks()) == 1


def _second_connection(stage: Stage) -> Callable[[Call, Fork], None]:
    """The phone has the call, and registers from another port as well."""

    def rung(call: Call, fork: Fork) -> None:
        stage.at(0.0, lambda: stage.responds(call, fork.branch, 180))
        stage.at(0.001 + stage.soon(), lambda: stage.registers(binding("p", 5001)))

    return rung


def test_race_5_a_burst_of_registers() -> None:
    """One INVITE for one phone, however often and under whatever names it registers."""
    run(register_burst)


def token_rotates(stage: Stage) -> None:
    """Race 6: the phone wakes with a new token; the provider refuses the old one meanwhile."""
    answers(stage)
    stage.outcome = None
    rotates_s, comes_s = stage.soon(2.0), stage.soon(4.0)
    refused_s = stage.near(rotates_s)

    def pushed(call: Call, push: SendPush) -> None:
        old = len(call.pushes()) == 1
        result = PushOutcome.REJECTED if old else PushOutcome.ACCEPTED
        told = PushAnswered(device=PHONE, push=push.push, outcome=result)
        stage.at(refused_s if old else stage.soon(), lambda: stage.tell(call, told))

    stage.on(SendPush, pushed)
    chosen = stage.settings(ack_s=None)
    call = stage.invite(asleep("p"), settings=chosen)

    def rotated() -> None:
        call.wire.rotations += 1
        stage.tell(call, TokenRotated(PHONE))

    stage.at(rotates_s, rotated)
    stage.at(comes_s, lambda: stage.registers(binding("p", token="new")))
    stage.play()
    first_alone = refused_s <= min(rotates_s, comes_s)
    if not first_alone:
        assert answered(call)
        assert len(call.forks()) == 1
        assert len(call.pushes()) == (2 if rotates_s < comes_s else len(call.pushes()))


def test_race_6_the_token_rotates_in_the_wake() -> None:
    """The call is delivered; a refusal of the old token takes nothing from the new one."""
    run(token_rotates)


def register_at_the_deadline(stage: Stage) -> None:
    """Race 7: the REGISTER comes as the wait ends."""
    deadline_s = stage.draw.choice((5.0, 15.0))
    chosen = stage.settings(deadline_s=deadline_s, ack_s=None, repush_after_s=None)
    expires_s = stage.draw.choice((None, None, deadline_s))
    call = stage.invite(asleep("p", late_invite=True), settings=chosen, expires_s=expires_s)
    if stage.maybe():
        stage.invite(asleep("p"), name="B", settings=chosen)
    comes_s = stage.near(deadline_s)
    stage.at(comes_s, lambda: stage.registers(binding("p")))
    if stage.maybe(0.3):
        gone_s = stage.near(deadline_s)
        stage.at(gone_s, lambda: stage.tell(call, CallerCancelled("")))
    answers(stage)
    stage.play()
    rung = bool(call.forks())
    assert len(call.wire.finals) == 1
    assert len(call.pushes(PushType.CANCEL)) == (0 if rung else 1)
    assert call.count(LateInvite) <= (0 if rung else 1)
    if comes_s > _ended_s(call) + 1e-6:
        assert call.count(LateInvite) == int(chosen.late_invite_s > 0)


def _ended_s(call: Call) -> float:
    return call.wire.ended_at - call.wire.invite.received_at


def test_race_7_a_register_at_the_deadline() -> None:
    """One final response, and either an INVITE before it or a farewell after it, not both."""
    run(register_at_the_deadline)


def push_at_the_deadline(stage: Stage) -> None:
    """Race 7: as the wait for one phone ends its token rotates, while another phone rings on."""
    chosen = stage.settings(deadline_s=15.0, ack_s=None, repush_after_s=5.0)
    ring_mode = stage.draw.choice(list(RingMode))
    call = stage.invite(
        awake("b"), asleep("p"), settings=replace(chosen, ring_mode=ring_mode, together_s=3.0)
    )
    rings = call.forks()

    def rung(call: Call, fork: Fork) -> None:
        stage.at(stage.soon(), lambda: stage.responds(call, fork.branch, 180))
        stage.at(30.0, lambda: stage.responds(call, fork.branch, 200))

    stage.on(Fork, rung)
    for fork in rings:
        rung(call, fork)

    def rotated() -> None:
        call.wire.rotations += 1
        stage.tell(call, TokenRotated(PHONE))

    for _ in range(2):
        stage.at(stage.near(15.0), rotated)
    stage.play()
    assert answered(call)
    assert len(call.forks()) == 1
    for push in call.pushes(device="p"):
        assert 0 < push.deadline_s <= 15.0


def test_race_7_a_push_at_the_deadline() -> None:
    """Every push is in time for its phone to be waited for, or is not sent."""
    run(push_at_the_deadline)


def a_dead_flow(stage: Stage) -> None:
    """Race 8: the phone's connection is half open, or breaks; the phone comes over a new one."""
    transport = stage.draw.choice(("udp", "tcp", "tls"))
    old = binding("p", transport=transport)
    phone = replace(awake("p", binding=old), pushable=stage.maybe())
    call = stage.invite(phone, settings=stage.settings(ack_s=None))
    found_s = stage.draw.choice((stage.soon(2.0), 32.0))
    host = stage.draw.choice(("192.0.2.1", "203.0.113.9"))
    new = binding("p", 7000, transport=transport, host=host)
    comes_s = stage.near(found_s) if found_s < 10 else stage.soon(8.0)
    status = stage.draw.choice((408, 430, 503))
    first = call.forks()[0].branch

    def broken() -> None:
        if stage.maybe(0.2):
            line = call.wire.lines[first]
            if line.status < 200:
                call.wire.broken(line, stage.now)
                line.status, line.local, line.unsent = 503, True, True
                stage.tell(call, BranchFailed(branch=first, reason="flow"))
        else:
            stage.responds(call, first, status, local=True)

    stage.at(found_s, broken)
    stage.at(comes_s, lambda: stage.registers(new, times=stage.draw.choice((1, 2))))

    def rung(call: Call, fork: Fork) -> None:
        if fork.binding.source == new.source:
            stage.at(stage.soon(), lambda: stage.responds(call, fork.branch, 180))
            stage.at(3.0, lambda: stage.responds(call, fork.branch, 200))

    stage.on(Fork, rung)
    stage.play()
    assert answered(call)
    assert [fork.binding.source for fork in call.forks()] == [old.source, new.source]


def test_race_8_a_dead_flow() -> None:
    """The INVITE goes to the new flow, once, in the same transaction, whoever noticed first."""
    run(a_dead_flow)


def answer_glare(stage: Stage) -> None:
    """Race 9: A answers while B wakes or answers too, and the caller gives up."""
    ring_mode = stage.draw.choice(list(RingMode))
    chosen = stage.settings(ack_s=None, ring_mode=ring_mode, late_invite_s=30.0)
    picks_s = {"a": stage.soon(2.0), "b": stage.soon(2.0)}
    crosses = stage.maybe()

    def rung(call: Call, fork: Fork) -> None:
        device = str(fork.binding.device)
        stage.at(0.0, lambda: stage.responds(call, fork.branch, 180))
        stage.at(picks_s[device], lambda: stage.responds(call, fork.branch, 200))

    def cancelled(call: Call, cancel: CancelBranch) -> None:
        if crosses:  # the phone had picked up before the CANCEL came
            stage.responds_next(call, cancel.branch, 200)

    stage.on(Fork, rung)
    stage.on(CancelBranch, cancelled)
    call = stage.invite(awake("a"), asleep("b", late_invite=True), settings=chosen)
    comes_s = stage.near(picks_s["a"])
    stage.at(comes_s, lambda: stage.registers(binding("b")))
    gone = stage.maybe()
    if gone:
        gone_s = stage.near(min(picks_s.values()))
        stage.at(gone_s, lambda: stage.tell(call, CallerCancelled("")))
    stage.play()
    winners = [b for b, line in call.wire.lines.items() if 200 <= line.status < 300]
    assert call.count(AckAndBye) == len(winners) - int(answered(call))
    assert answered(call) or gone
    assert len(call.pushes(PushType.ANSWERED_ELSEWHERE) + call.pushes(PushType.CANCEL)) <= 1


def test_race_9_answers_cross() -> None:
    """One answer wins; every other 2xx is ended with ACK and BYE; B hears of it once."""
    run(answer_glare)


def something_fails(stage: Stage) -> None:
    """Race 10: store, provider, node or PBX fail in the middle of it."""
    stage.outcome = None
    stage.stores = False
    call = stage.invite(asleep("p"), asleep("q"), settings=stage.settings(deadline_s=15.0))
    if stage.maybe(0.7):
        ok = stage.maybe()
        stage.at(stage.soon(20.0), lambda: stage.tell(call, InviteStored(ok)))
    else:
        stage.at(20.0, lambda: stage.tell(call, InviteStored(False)))
    for push in call.pushes():
        told = PushAnswered(
            device=push.device, push=push.push, outcome=stage.draw.choice(list(PushOutcome))
        )
        for _ in range(stage.draw.choice((0, 1, 1, 2))):  # never, once, or told twice
            stage.at(stage.soon(16.0), lambda told=told: stage.tell(call, told))  # type: ignore[misc]
    stray = PushAnswered(device=PHONE, push=PushId("of another call"), outcome=PushOutcome.ACCEPTED)
    stage.at(stage.soon(16.0), lambda: stage.tell(call, stray))
    if stage.maybe():
        stage.at(stage.near(15.0), lambda: stage.registers(binding("p")))
    fate = stage.draw.choice((None, GivingUp("stopped"), CallerLost("reset")))
    if fate is not None:

        def falls() -> None:
            stage.tell(call, fate)
            assert not call.open, "somebody waits for a service or a PBX that is gone"

        stage.at(stage.soon(16.0), falls)
    answers(stage)
    stage.play()
    for push in call.pushes():
        assert 0 < push.deadline_s <= 15.0
    assert call.count(Fork) <= 1


def test_race_10_something_fails_in_the_middle() -> None:
    """Whatever fails or keeps silent, the call ends once and nothing of it is kept."""
    run(something_fails)


def one_refuses(stage: Stage) -> None:
    """Further: one refuses (by SIP or on the push screen) while another wakes or rings."""
    ring_mode = stage.draw.choice(list(RingMode))
    chosen = stage.settings(ack_s=None, deadline_s=15.0, ring_mode=ring_mode)
    status = stage.draw.choice((302, 404, 486, 488, 500, 503, 600, 603))
    other = stage.draw.choice((None, 200, 480, 486))
    by_app = stage.maybe(0.3)

    def rung(call: Call, fork: Fork) -> None:
        final = status if fork.binding.device == "a" else other
        if final is not None:
            stage.at(stage.soon(), lambda: stage.responds(call, fork.branch, 180))
            stage.at(1.0 + stage.soon(), lambda: stage.responds(call, fork.branch, final))

    stage.on(Fork, rung)
    call = stage.invite(asleep("a"), asleep("b"), settings=chosen)
    stage.at(stage.soon(3.0), lambda: stage.registers(binding("a")))
    stage.at(stage.soon(3.0), lambda: stage.registers(binding("b")))
    if by_app:
        acted = AppActed(device=DeviceId("a"), action=stage.draw.choice(list(AppAction)))
        stage.at(stage.soon(3.0), lambda: stage.tell(call, acted))
    stage.play()
    lines = {str(line.binding.device): line for line in call.wire.lines.values()}
    ended_all = "a" in lines and lines["a"].status >= 600
    if other == 200 and not ended_all:
        assert answered(call), "one phone's refusal took the call from the other"
    if other in {480, 486} and len(lines) == 2 and not by_app:
        first = min(status // 100, 4) if status < 600 else 6
        assert call.wire.finals[0] // 100 == first, "not the best of both answers"
    if other is None and status == 302 and not by_app:
        assert call.wire.finals in ([302], [480]), "a redirection counts when nobody answers"


def test_further_one_refuses_while_another_wakes() -> None:
    """Only a 6xx ends it for all; anything less waits for the others."""
    run(one_refuses)


def answer_crosses_a_decline(stage: Stage) -> None:
    """Further: one declines for all, the other has just picked up."""
    stage.crosses_s = stage.draw.choice((0.0, 0.3, 0.999, 1.001, 2.0))
    call = stage.invite(awake("a"), awake("b"), settings=stage.settings(ack_s=None))
    declines, rings = (fork.branch for fork in call.forks())
    stage.at(stage.soon(), lambda: stage.responds(call, rings, 180))
    stage.at(1.0, lambda: stage.responds(call, declines, stage.draw.choice((600, 603))))
    stage.play()
    in_time = stage.crosses_s < 1.0
    assert answered(call) == in_time
    assert call.count(AckAndBye) == int(not in_time)


def test_further_an_answer_crosses_a_decline() -> None:
    """Within a second the answer wins (RFC 3261 §16.7 step 5); a later one is ended."""
    run(answer_crosses_a_decline)


def comes_and_goes(stage: Stage) -> None:
    """Further: refresh and de-register race, and the timer is late."""
    answers(stage)
    ring_mode = stage.draw.choice(list(RingMode))
    chosen = stage.settings(ack_s=None, ring_mode=ring_mode)
    call = stage.invite(awake("p"), asleep("q"), settings=chosen)
    for _ in range(stage.draw.randint(1, 4)):
        gone, back = stage.soon(4.0), stage.soon(4.0)
        who = stage.draw.choice("pq")
        left = DeviceUnregistered(DeviceId(who))
        port = stage.draw.choice((5000, 5001))
        stage.at(gone, lambda left=left: stage.tell(call, left))  # type: ignore[misc]
        stage.at(back, lambda who=who, port=port: stage.registers(binding(who, port)))  # type: ignore[misc]
    stage.at(stage.soon(4.0), lambda: stage.tell(call, TimePassed()))
    stage.at(4.5, lambda: stage.registers(binding("p")))
    stage.play()
    assert answered(call)


def test_further_registers_and_unregisters() -> None:
    """The call finds a phone that comes and goes, never twice at once."""
    run(comes_and_goes)
