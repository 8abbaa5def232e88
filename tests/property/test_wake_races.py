"""Any interleaving of what may happen to a call: the invariants hold (docs/architecture.md)."""

import os
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

from push_proxy.core.diversion import Diversions
from push_proxy.core.events import (
    AppActed,
    AppAction,
    AppEvent,
    AppReported,
    BranchFailed,
    CallerCancelled,
    CallerLost,
    Candidate,
    DeviceRegistered,
    DeviceUnregistered,
    Event,
    GivingUp,
    Invite,
    InviteStored,
    PushAnswered,
    PushOutcome,
    ResponseReceived,
    TimePassed,
    TokenRotated,
    WakeSettings,
)
from push_proxy.core.ids import AccountKey, BranchId, CallId, DeviceId, Instant, ResponseId
from push_proxy.core.model import Address, Binding, Ringing, RingMode
from push_proxy.core.policy import PolicyCase
from push_proxy.core.policy_rules import Policy, Rejection, Rule, When
from push_proxy.core.wake import Ended, Live, State, deadline, start, step
from tests.property.wire import Wire

TIMES = int(os.environ.get("PUSH_PROXY_RACES", "1"))
DEVICES = tuple(DeviceId(name) for name in ("a", "b", "c"))
STRANGER = DeviceId("~new")
STATUSES = (
    100,
    180,
    183,
    200,
    200,
    202,
    300,
    302,
    401,
    408,
    415,
    430,
    480,
    482,
    486,
    487,
    488,
    500,
    503,
    600,
    603,
)
REASONS = ("", "Q.850;cause=16", "Q.850;cause=0", 'SIP;cause=200;text="elsewhere, really"')


def binding(
    device: DeviceId,
    *,
    port: int = 5000,
    instance: str | None = None,
    host: str = "192.0.2.1",
    transport: str = "udp",
) -> Binding:
    source = Address(host, port, transport)
    return Binding(
        account=AccountKey("acme/101"),
        device=device,
        contact=f"sip:{device}@{source.host}:{source.port}",
        source=source,
        local=Address("192.0.2.9", 5060),
        call_id="r",
        cseq=1,
        expires_at=Instant(9e9),
        instance=instance,
    )


TRANSPORTS = st.sampled_from(["udp", "tcp"])
INSTANCES = st.sampled_from([None, None, "urn:uuid:shared"])
SETTINGS = st.builds(
    WakeSettings,
    deadline_s=st.sampled_from([5.0, 15.0]),
    ringing=st.sampled_from(Ringing),
    repush_after_s=st.sampled_from([None, 1.0, 5.0]),
    ack_s=st.sampled_from([None, 3.0]),
    fresh_answer_s=st.sampled_from([1.0, 7.0]),
    late_invite_s=st.sampled_from([0.0, 30.0, 90.0]),
    ring_mode=st.sampled_from(RingMode),
    together_s=st.sampled_from([3.0, 10.0]),
)
RULES = st.builds(
    Rule,
    when=st.sampled_from([tuple(When), (When.NOT_WOKEN, When.BUSY), (When.DECLINED,)]),
    callers=st.sampled_from([(), ("+44*",), ("+49*",)]),
    redirect=st.just("sip:800@pbx.example"),
) | st.builds(
    Rule,
    when=st.sampled_from([(When.ALWAYS,), (When.NO_DEVICE, When.NO_ANSWER), (When.DEVICE_ERROR,)]),
    callers=st.sampled_from([("+49*",), ()]),
    reject=st.sampled_from([Rejection(486), Rejection(603)]),
)
CASES = st.builds(
    PolicyCase,
    policy=st.builds(Policy, rules=st.lists(RULES, min_size=1, max_size=2).map(tuple)),
    aor=st.just("sip:101@pbx.example"),
    callers=st.just(("+442079460001",)),
    diversions=st.builds(Diversions, count=st.sampled_from([0, 5])),
)


@st.composite
def candidates(draw: st.DrawFn) -> tuple[Candidate, ...]:
    found = []
    for device in DEVICES[: draw(st.integers(0, 3))]:
        instance = draw(INSTANCES)
        bound = draw(
            st.none()
            | st.builds(binding, st.just(device), instance=st.just(instance), transport=TRANSPORTS)
        )
        flow = bound is None or bound.source.transport == "udp" or draw(st.booleans())
        found.append(
            Candidate(
                device=device,
                pushable=draw(st.booleans()),
                repush=draw(st.booleans()),
                binding=bound,
                fresh=bound is not None and flow and draw(st.booleans()),
                flow=flow,
                returns=not flow and draw(st.booleans()),
                late_invite=draw(st.booleans()),
            )
        )
    return tuple(found)


class Races(RuleBasedStateMachine):
    """Feeds the machine with anything at any time, and checks what it orders."""

    state: State
    wire: Wire
    now: Instant
    answers: int
    sound = False

    @initialize(
        devices=candidates(),
        chosen=SETTINGS,
        requires_100rel=st.booleans(),
        expires_s=st.sampled_from([None, None, None, 8.0]),
        case=st.none() | CASES,
    )
    def invited(
        self,
        devices: tuple[Candidate, ...],
        chosen: WakeSettings,
        requires_100rel: bool,
        expires_s: float | None,
        case: PolicyCase | None,
    ) -> None:
        self.now = Instant(1000.0)
        self.answers = 0
        invite = Invite(
            call=CallId("call"),
            received_at=self.now,
            requires_100rel=requires_100rel,
            expires_s=expires_s,
            case=case,
        )
        self.wire = Wire(invite, devices, chosen)
        self.state, actions = start(invite, devices, chosen, self.now)
        self.wire.take(actions, self.now)
        self.sound = True

    @property
    def finished(self) -> bool:
        """Every transaction is over: no response and no answer of the store can come."""
        return isinstance(self.state, Ended) and self.state.finished

    def feed(self, event: Event) -> None:
        before, was_over = self.state, self.wire.over
        self.sound = False
        self.wire.tell(event, self.now)
        self.state, actions = step(self.state, event, self.now)
        again = step(before, event, self.now)
        assert again == (self.state, actions), "the same step came out differently"
        self.wire.take(actions, self.now)
        if not was_over and self.wire.over:
            self.wire.check_reasons(actions)
        self.sound = True

    def tick(self) -> None:
        """Fire every deadline that has come, as the runtime's timer does."""
        for _ in range(50):
            due = deadline(self.state)
            if due is None or due > self.now:
                return
            self.feed(TimePassed())
        raise AssertionError("a deadline that does not pass")

    # what may happen

    @rule(seconds=st.sampled_from([0.0, 0.2, 1.0, 2.5, 5.0, 20.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        target = Instant(self.now + seconds)
        while (due := deadline(self.state)) is not None and due <= target:
            self.now = max(self.now, due)
            self.tick()
        self.now = target

    @rule(seconds=st.sampled_from([0.5, 5.0, 15.001]))
    def time_passes_unseen(self, seconds: float) -> None:
        """The loop is late: something else is told first."""
        self.now = Instant(self.now + seconds)

    @rule()
    def timer_fires(self) -> None:
        self.feed(TimePassed())

    @rule(ok=st.booleans())
    def store_answers(self, ok: bool) -> None:
        if self.wire.store_orders and self.wire.store_answer is None and not self.finished:
            self.feed(InviteStored(ok))

    @precondition(lambda self: any(p.pending for p in self.wire.pushes.values()))
    @rule(data=st.data(), outcome=st.sampled_from(PushOutcome))
    def provider_answers(self, data: st.DataObject, outcome: PushOutcome) -> None:
        waiting = [(d, p) for d, pushed in self.wire.pushes.items() for p in pushed.pending]
        device, push = data.draw(st.sampled_from(waiting))
        self.feed(PushAnswered(device=device, push=push, outcome=outcome))

    @rule(
        device=st.sampled_from([*DEVICES, STRANGER]),
        port=st.sampled_from([5000, 5001, 5002]),
        instance=INSTANCES,
        host=st.sampled_from(["192.0.2.1", "192.0.2.1", "203.0.113.9"]),
        transport=TRANSPORTS,
        times=st.sampled_from([1, 1, 3]),
    )
    def device_registers(
        self,
        device: DeviceId,
        port: int,
        instance: str | None,
        host: str,
        transport: str,
        times: int,
    ) -> None:
        bound = binding(device, port=port, instance=instance, host=host, transport=transport)
        for number in range(times):
            self.feed(DeviceRegistered(replace(bound, call_id=str(number))))

    @precondition(lambda self: any(line.status < 200 for line in self.wire.lines.values()))
    @rule(data=st.data(), returns=st.booleans())
    def flow_is_lost(self, data: st.DataObject, returns: bool) -> None:
        """A connection ends: every INVITE on it fails at once; its phone may come back at once."""
        unfinished = [line for line in self.wire.lines.values() if line.status < 200]
        lost = data.draw(st.sampled_from(unfinished)).binding
        for branch, line in tuple(self.wire.lines.items()):
            if line.binding.source == lost.source and line.status < 200:
                self.answers += 1
                self.feed(
                    ResponseReceived(
                        branch=branch, response=ResponseId(self.answers), status=430, local=True
                    )
                )
        if returns:
            source = replace(lost.source, port=lost.source.port + 10)
            contact = f"sip:{lost.device}@{source.host}:{source.port}"
            self.feed(DeviceRegistered(replace(lost, source=source, contact=contact)))

    @rule(device=st.sampled_from([*DEVICES, STRANGER]))
    def device_unregisters(self, device: DeviceId) -> None:
        self.feed(DeviceUnregistered(device))

    @precondition(lambda self: self.wire.may_respond(self.now))
    @rule(data=st.data(), status=st.sampled_from(STATUSES), times=st.sampled_from([1, 1, 2]))
    def device_responds(self, data: st.DataObject, status: int, times: int) -> None:
        branch = data.draw(st.sampled_from(self.wire.may_respond(self.now)))
        if self.wire.lines[branch].broken:
            status = 200  # the stack tells nothing else of a branch that it has given up
        local = status in {408, 430, 503} and data.draw(st.booleans())
        self.answers += 1
        for _ in range(times):
            self.feed(
                ResponseReceived(
                    branch=branch, response=ResponseId(self.answers), status=status, local=local
                )
            )

    @rule(branch=st.integers(0, 4))
    def order_fails(self, branch: int) -> None:
        if (line := self.wire.lines.get(BranchId(branch))) is not None and line.status < 200:
            self.wire.broken(line, self.now)
            line.status, line.local, line.unsent = 503, True, True
        if line is None or not line.broken or line.unsent:
            self.feed(BranchFailed(branch=BranchId(branch), reason="stale"))

    @rule(device=st.sampled_from([*DEVICES, STRANGER]), event=st.sampled_from(AppEvent))
    def app_reports(self, device: DeviceId, event: AppEvent) -> None:
        self.feed(AppReported(device=device, event=event))

    @rule(device=st.sampled_from(DEVICES), action=st.sampled_from(AppAction))
    def person_refuses(self, device: DeviceId, action: AppAction) -> None:
        self.feed(AppActed(device=device, action=action))

    @rule(device=st.sampled_from([*DEVICES, STRANGER]))
    def token_rotates(self, device: DeviceId) -> None:
        self.wire.rotations += 1
        self.feed(TokenRotated(device))

    @rule(reason=st.sampled_from(REASONS))
    def caller_cancels(self, reason: str) -> None:
        was_over = self.wire.over
        self.feed(CallerCancelled(reason))
        if not was_over:
            assert self.wire.finals == [487]

    @rule()
    def pbx_vanishes(self) -> None:
        self.feed(CallerLost("connection reset"))

    @rule()
    def service_gives_up(self) -> None:
        self.feed(GivingUp("stopped"))
        assert self.wire.over

    # what must hold

    @invariant()
    def deadline_exists_while_alive(self) -> None:
        if isinstance(self.state, Ended):
            assert (deadline(self.state) is None) == self.state.finished
        else:
            assert deadline(self.state) is not None

    @invariant()
    def state_tells_the_truth(self) -> None:
        assert isinstance(self.state, Ended) == self.wire.over

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """While the call is open some device may still answer."""
        if not isinstance(self.state, Live):
            return
        wakes = any(
            (pushed.pending or pushed.accepted) and device not in self.wire.acted
            for device, pushed in self.wire.pushes.items()
        )
        returns = any(device not in self.wire.acted for device in self.wire.returning)
        assert wakes or returns or any(line.open for line in self.wire.lines.values())

    def teardown(self) -> None:
        """Left alone, every wake ends, and forgets what it stored."""
        if not self.sound:
            return
        for _ in range(100):
            due = deadline(self.state)
            if due is None:
                break
            self.now = max(self.now, due)
            self.tick()
        assert isinstance(self.state, Ended)
        assert self.state.finished
        assert self.wire.forgets == int(self.wire.store_answer or 0)


@pytest.mark.timeout(400 * TIMES)  # a failure is made small before it is shown
def test_any_interleaving_keeps_the_invariants() -> None:
    """Exactly one final response, one open INVITE per phone, nothing but cleaning up after."""
    run_state_machine_as_test(
        Races,
        settings=settings(
            max_examples=1000 * TIMES,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            report_multiple_bugs=False,
        ),
    )
