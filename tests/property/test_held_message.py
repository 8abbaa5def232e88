"""A held MESSAGE under any interleaving: one final response, no order after it, no double copy."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from push_proxy.core.actions import Fork, PushType, Relay, Reply, SendPush, SendTrying
from push_proxy.core.events import (
    BranchFailed,
    CallerLost,
    Candidate,
    DeviceRegistered,
    DeviceUnregistered,
    GivingUp,
    PushAnswered,
    PushOutcome,
    ResponseReceived,
    TimePassed,
    TokenRotated,
)
from push_proxy.core.held_message import (
    MOST_S,
    Ended,
    Hold,
    HoldEvent,
    HoldState,
    MessageEnded,
    MessageResult,
    Step,
    deadline,
    start,
    step,
)
from push_proxy.core.ids import AccountKey, BranchId, CallId, DeviceId, Instant, PushId, ResponseId
from push_proxy.core.model import Address, Binding

NAMES = ("a", "b", "c")
NOW = 1_000_000.0
names = st.sampled_from(NAMES)
ports = st.integers(1, 3)
finals = st.sampled_from([200, 202, 302, 404, 415, 480, 482, 486, 500, 503, 600, 603])


def binding(name: str, port: int, at: float) -> Binding:
    source = Address("203.0.113.9", 40000 + port * 10 + ord(name), "tcp")
    return Binding(
        account=AccountKey("t/1"),
        device=DeviceId(name),
        contact=f"sip:1@{source.host}:{source.port}",
        source=source,
        local=Address("10.0.0.7", 5060, "tcp"),
        call_id=f"reg-{name}",
        cseq=1,
        expires_at=Instant(at + 600),
        heard_at=Instant(at),
    )


@st.composite
def candidates(draw: st.DrawFn) -> tuple[Candidate, ...]:
    """Up to three devices: asleep, half awake or awake, with or without push."""
    found = []
    for name in draw(st.lists(names, unique=True)):
        bound = draw(st.booleans())
        flow = draw(st.booleans())
        found.append(
            Candidate(
                device=DeviceId(name),
                pushable=draw(st.booleans()),
                binding=binding(name, draw(ports), NOW - draw(st.integers(0, 60)))
                if bound
                else None,
                fresh=bound and flow and draw(st.booleans()),
                flow=flow,
                returns=bound and not flow and draw(st.booleans()),
            )
        )
    return tuple(found)


class Messages(RuleBasedStateMachine):
    """The world around one MESSAGE."""

    state: HoldState

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.hold = Hold(message=CallId("m"), received_at=Instant(NOW), hold_s=15)
        self.forks: dict[BranchId, Binding] = {}
        self.sent_at: dict[BranchId, float] = {}
        self.silent: set[BranchId] = set()
        """Tries that have had no response at all."""
        self.open: set[BranchId] = set()
        self.pushes: dict[PushId, DeviceId] = {}
        self.coming: set[DeviceId] = set()
        """Those whose connection has broken."""
        self.newest: dict[DeviceId, PushId] = {}
        """Of each device's pushes, unless the provider has refused it."""
        self.received: dict[ResponseId, tuple[BranchId, int]] = {}
        self.finals: list[int] = []
        self.ends: list[MessageEnded] = []
        self.lost = False
        self.trying = 0

    @initialize(devices=candidates(), hold_s=st.sampled_from([1, 5, 15, 60]))
    def begin(self, devices: tuple[Candidate, ...], hold_s: float) -> None:
        self.hold = replace(self.hold, hold_s=hold_s)
        self.coming = {each.device for each in devices if each.returns}
        self.carry_out(start(self.hold, devices, Instant(self.now)))

    # what happens

    def tell(self, event: HoldEvent) -> None:
        self.carry_out(step(self.state, event, Instant(self.now)))

    @rule(name=names, port=ports)
    def registers(self, name: str, port: int) -> None:
        bound = binding(name, port, self.now)
        for branch in tuple(self.silent):
            if self.forks[branch].device == name and self.forks[branch].source != bound.source:
                self.open.discard(branch)  # its phone has left that flow
        self.coming.discard(DeviceId(name))
        self.tell(DeviceRegistered(bound))

    @rule(name=names)
    def unregisters(self, name: str) -> None:
        self.tell(DeviceUnregistered(DeviceId(name)))

    @rule(name=names)
    def rotates(self, name: str) -> None:
        self.tell(TokenRotated(DeviceId(name)))

    @precondition(lambda self: self.pushes)
    @rule(data=st.data(), outcome=st.sampled_from(PushOutcome))
    def provider_answers(self, data: st.DataObject, outcome: PushOutcome) -> None:
        push = data.draw(st.sampled_from(sorted(self.pushes)))
        device = self.pushes.pop(push)
        if outcome is not PushOutcome.ACCEPTED and self.newest.get(device) == push:
            del self.newest[device]
        self.tell(PushAnswered(device=device, push=push, outcome=outcome))

    @precondition(lambda self: self.forks)
    @rule(data=st.data(), status=finals, provisional=st.booleans())
    def device_answers(self, data: st.DataObject, status: int, provisional: bool) -> None:
        branch = data.draw(st.sampled_from(sorted(self.forks)))
        status = 100 if provisional else status
        response = ResponseId(len(self.received) + 1)
        self.received[response] = (branch, status)
        self.silent.discard(branch)
        if status >= 200:
            self.open.discard(branch)
        if status == 482:
            for other, bound in self.forks.items():
                if other < branch and bound.device == self.forks[branch].device:
                    self.silent.discard(other)
        self.tell(ResponseReceived(branch=branch, response=response, status=status))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from([430, 503, 408, 0]))
    def flow_fails(self, data: st.DataObject, how: int) -> None:
        branch = data.draw(st.sampled_from(sorted(self.open)))
        self.open.discard(branch)
        self.silent.discard(branch)
        self.coming.add(self.forks[branch].device)
        if how == 0:
            self.tell(BranchFailed(branch=branch, reason="stale"))
        else:
            self.tell(
                ResponseReceived(
                    branch=branch, response=ResponseId(0), status=how, reason="", local=True
                )
            )

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.5, 6.0]))
    def time_passes(self, seconds: float) -> None:
        target = self.now + seconds
        while (due := deadline(self.state)) is not None and due <= target:
            self.now = max(self.now, due)
            self.tell(TimePassed())
        self.now = target

    @precondition(lambda self: self.now > NOW + 4)
    @rule(stopping=st.booleans())
    def it_is_over(self, stopping: bool) -> None:
        self.lost = self.lost or not stopping
        self.tell(GivingUp("stopped") if stopping else CallerLost())

    # what must hold of each order

    def carry_out(self, result: Step) -> None:
        ended_before = bool(self.ends)
        self.state, actions = result
        assert not (ended_before and actions), actions
        for action in actions:
            assert not self.ends, "an order after the end"
            match action:
                case Fork():
                    self.forked(action)
                case SendPush():
                    self.pushed(action)
                case SendTrying():
                    assert self.now >= NOW + 3.5, "RFC 4320: not before Timer E is at T2"
                    self.trying += 1
                case Relay():
                    branch, status = self.received[action.response]
                    assert branch == action.branch
                    assert status >= 200
                    assert status != 503
                    self.finals.append(status)
                case Reply():
                    assert action.status in {480, 500, 503}
                    self.finals.append(action.status)
                case MessageEnded():
                    self.ends.append(action)

    def forked(self, fork: Fork) -> None:
        bound = fork.binding
        assert fork.branch == len(self.forks) + 1
        for other in self.open:
            elsewhere = self.forks[other]
            assert (elsewhere.source, elsewhere.contact) != (bound.source, bound.contact)
            in_doubt = other in self.silent and self.now - self.sent_at[other] >= 2.0
            assert in_doubt, "two devices, and no reason to doubt the first"
        self.forks[fork.branch] = bound
        self.sent_at[fork.branch] = self.now
        self.open.add(fork.branch)
        self.silent.add(fork.branch)

    def pushed(self, push: SendPush) -> None:
        assert push.type is PushType.MESSAGE
        assert push.push not in self.pushes
        assert 0 < push.deadline_s <= min(self.hold.hold_s, MOST_S)
        self.pushes[push.push] = push.device
        self.newest[push.device] = push.push

    # and always

    @invariant()
    def one_end(self) -> None:
        if isinstance(self.state, Ended):
            assert len(self.ends) == 1
            assert len(self.finals) == (0 if self.lost and not self.finals else 1)
            delivered = self.ends[0].result is MessageResult.DELIVERED
            assert delivered == (self.finals[:1] != [] and 200 <= self.finals[0] < 300)
        else:
            assert not self.ends
            assert not self.finals
        assert self.trying <= 1

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if isinstance(self.state, Ended):
            return
        assert deadline(self.state) is not None
        assert self.now <= self.hold.until
        unanswered = set(self.forks) - {b for b, s in self.received.values() if s >= 200}
        assert unanswered or self.coming or self.newest

    def teardown(self) -> None:
        """Left alone it ends, in time."""
        for _ in range(20):
            due = deadline(self.state)
            if due is None:
                break
            self.now = max(self.now, due)
            self.tell(TimePassed())
        assert isinstance(self.state, Ended)


@pytest.mark.timeout(400)  # busy machines are slow
def test_any_interleaving_keeps_the_invariants() -> None:
    """1,000 runs of 30 steps."""
    run_state_machine_as_test(
        Messages,
        settings=settings(
            max_examples=1000,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            report_multiple_bugs=False,
        ),
    )
