"""A wake that dies at any moment and is made anew: whatever had happened, the invariants hold.

The phones and the PBX live on over the deaths: a phone knows an INVITE again by its branch's seed,
and the PBX counts the final responses that it got.
"""

from dataclasses import dataclass, field

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

from push_proxy.core.actions import (
    Action,
    CancelBranch,
    Finish,
    Fork,
    PushType,
    Relay,
    Reply,
    SendPush,
)
from push_proxy.core.events import (
    AnsweredBefore,
    AppActed,
    AppAction,
    CallerCancelled,
    Candidate,
    DeviceRegistered,
    Event,
    Invite,
    InviteStored,
    PushAnswered,
    PushOutcome,
    ResponseReceived,
    TimePassed,
    WakeSettings,
)
from push_proxy.core.forking import instance_of
from push_proxy.core.held import held_devices, pushing, worth_keeping
from push_proxy.core.ids import (
    AccountKey,
    BranchId,
    CallId,
    DeviceId,
    Instant,
    PushId,
    ResponseId,
)
from push_proxy.core.model import Address, Binding, HeldDevice, Outcome, RingMode, Verdict
from push_proxy.core.restored_wake import lost, restored
from push_proxy.core.wake import Ended, Live, State, deadline, start, step

DEVICES = tuple(DeviceId(name) for name in ("a", "b", "c"))
FINALS = (200, 200, 302, 408, 430, 480, 486, 503, 603)


@dataclass
class Phone:
    """A phone, by its instance: it outlives us."""

    open: set[str] = field(default_factory=set)
    """Seeds of INVITEs that it has not answered finally, as far as they reached it."""
    over: set[str] = field(default_factory=set)


@dataclass
class Line:
    """A branch of this life."""

    phone: str
    seed: str
    status: int = 0
    cancelled: bool = False


SETTINGS = st.builds(
    WakeSettings,
    deadline_s=st.sampled_from([5.0, 15.0]),
    repush_after_s=st.sampled_from([None, 5.0]),
    fresh_answer_s=st.sampled_from([1.0]),
    ring_mode=st.sampled_from(RingMode),
    together_s=st.sampled_from([3.0]),
)


class Deaths(RuleBasedStateMachine):
    """Interleavings of what may happen to a call, its node's deaths among them."""

    state: State
    sound = False

    @initialize(
        data=st.data(),
        chosen=SETTINGS,
        count=st.integers(1, 3),
        expires_s=st.sampled_from([None, None, None, 12.0]),
    )
    def invited(
        self, data: st.DataObject, chosen: WakeSettings, count: int, expires_s: float | None
    ) -> None:
        self.now = Instant(1000.0)
        self.chosen = chosen
        self.invite = Invite(call=CallId("call"), received_at=self.now, expires_s=expires_s)
        self.shared = data.draw(st.sampled_from([(), ("a", "b")]))
        self.pushable = {d: d == "a" or data.draw(st.booleans()) for d in DEVICES[:count]}
        self.repush = data.draw(st.booleans())
        self.bindings: dict[DeviceId, Binding] = {}
        self.flows: set[DeviceId] = set()
        self.phones: dict[str, Phone] = {}
        self.finals: list[int] = []
        self.farewells: dict[tuple[int, DeviceId], int] = {}
        self.outcome: Outcome | None = None
        self.pending: list[tuple[DeviceId, PushId]] = []
        self.lines: dict[BranchId, Line] = {}
        self.lives, self.answers = 1, 0
        self.stored: bool | None = None
        self.kept: tuple[HeldDevice, ...] = ()
        for device in self.pushable:
            if data.draw(st.booleans()):
                self._bind(device, 5000, data.draw(st.sampled_from(["udp", "tcp"])))
        self.now = Instant(self.now + 0.5)
        self.invite = Invite(call=CallId("call"), received_at=self.now, expires_s=expires_s)
        self.state, actions = start(self.invite, self._candidates(), chosen, self.now)
        self._take(actions)
        self.at_hold = held_devices(self.state) if isinstance(self.state, Live) else ()
        self.sound = True
        if data.draw(st.integers(0, 4)):
            self.store_answers(ok=True)

    # the world

    def _bind(self, device: DeviceId, port: int, transport: str) -> Binding:
        source = Address("192.0.2.1", port, transport)
        binding = Binding(
            account=AccountKey("acme/101"),
            device=device,
            contact=f"sip:{device}@{source.host}:{source.port}",
            source=source,
            local=Address("192.0.2.9", 5060),
            call_id="r",
            cseq=1,
            expires_at=Instant(9e9),
            instance="urn:uuid:shared" if device in self.shared else None,
            heard_at=self.now,
        )
        self.bindings[device] = binding
        self.flows.add(device)
        return binding

    def _candidates(self) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(
                device=device,
                pushable=pushable,
                repush=self.repush,
                binding=self.bindings.get(device),
                fresh=device in self.flows and self.bindings[device].heard_at > self.now - 30,
                flow=device not in self.bindings or device in self.flows,
            )
            for device, pushable in self.pushable.items()
        )

    @property
    def over(self) -> bool:
        return isinstance(self.state, Ended)

    def feed(self, event: Event) -> None:
        self.sound = False
        self.state, actions = step(self.state, event, self.now)
        self._take(actions)
        self._keep_up()
        self.sound = True

    def _keep_up(self) -> None:
        """As `runtime.wakes` does."""
        if not self.stored or not isinstance(self.state, Live):
            return
        now = held_devices(self.state)
        if worth_keeping(self.kept, now, pushing=pushing(self.state)):
            self.kept = now

    def _take(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Reply() if action.status >= 200:
                    self.finals.append(action.status)
                case Relay() if self.lines[action.branch].status >= 200:
                    self.finals.append(self.lines[action.branch].status)
                case Fork():
                    self._fork(action)
                case CancelBranch():
                    line = self.lines[action.branch]
                    line.cancelled = True
                    self._ends(line)
                case SendPush(type=PushType.CALL):
                    self.pending.append((action.device, action.push))
                case SendPush():
                    place = self.lives, action.device
                    self.farewells[place] = self.farewells.get(place, 0) + 1
                case Finish(outcome):
                    assert self.outcome is None, "finished twice"
                    self.outcome = outcome
                case _:
                    pass
        assert len(self.finals) <= 1, f"several final responses: {self.finals}"

    def _fork(self, fork: Fork) -> None:
        name = instance_of(fork.binding)
        phone = self.phones.setdefault(name, Phone())
        assert fork.seed, "a branch of which a restart knows nothing"
        seeds = [line.seed for line in self.lines.values()]
        assert fork.seed not in seeds, "one seed for two branches of one life"
        assert phone.open <= {fork.seed}, f"two unfinished INVITEs at {name}: {phone.open}, {fork}"
        if fork.seed not in phone.over:
            phone.open.add(fork.seed)
        self.lines[fork.branch] = Line(name, fork.seed)

    def _ends(self, line: Line) -> None:
        phone = self.phones[line.phone]
        phone.open.discard(line.seed)
        phone.over.add(line.seed)

    # what may happen

    @rule(seconds=st.sampled_from([0.2, 0.2, 1.0, 1.0, 2.5, 5.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        target = Instant(self.now + seconds)
        for _ in range(100):
            due = deadline(self.state)
            if due is None or due > target:
                break
            self.now = max(self.now, due)
            self.feed(TimePassed())
        self.now = target

    @precondition(lambda self: self.stored is None and not self.over)
    @rule(ok=st.booleans())
    def store_answers(self, ok: bool) -> None:
        self.stored = ok
        self.kept = self.at_hold
        self.feed(InviteStored(ok))

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), outcome=st.sampled_from([*[PushOutcome.ACCEPTED] * 9, *PushOutcome]))
    def provider_answers(self, data: st.DataObject, outcome: PushOutcome) -> None:
        device, push = data.draw(st.sampled_from(self.pending))
        self.pending.remove((device, push))
        self.feed(PushAnswered(device=device, push=push, outcome=outcome))

    @rule(
        device=st.sampled_from(DEVICES),
        port=st.sampled_from([5000, 5000, 5001, 5002]),
        transport=st.sampled_from(["udp", "tcp"]),
    )
    def device_registers(self, device: DeviceId, port: int, transport: str) -> None:
        self.pushable.setdefault(device, False)
        self.feed(DeviceRegistered(self._bind(device, port, transport)))

    @precondition(lambda self: any(line.status < 200 for line in self.lines.values()))
    @rule(data=st.data(), status=st.sampled_from([*[100, 180, 183] * 6, *FINALS]))
    def device_responds(self, data: st.DataObject, status: int) -> None:
        waiting = sorted(branch for branch, line in self.lines.items() if line.status < 200)
        branch = data.draw(st.sampled_from(waiting))
        line = self.lines[branch]
        line.status = status
        if status >= 200:
            self._ends(line)
        self.answers += 1
        local = status in {408, 430, 503}
        self.feed(
            ResponseReceived(
                branch=branch, response=ResponseId(self.answers), status=status, local=local
            )
        )

    @rule(device=st.sampled_from([DEVICES[1], DEVICES[1], DEVICES[0]]))
    def person_refuses(self, device: DeviceId) -> None:
        self.feed(AppActed(device=device, action=AppAction.DECLINE))

    @rule(reason=st.sampled_from([None] * 8 + ["", 'SIP;cause=200;text="elsewhere"']))
    def caller_cancels(self, reason: str | None) -> None:
        if reason is not None:
            self.feed(CallerCancelled(reason))

    @precondition(lambda self: self.stored and not self.over and self.lives < 6)
    @rule(down_s=st.sampled_from([0.1, 0.1, 1.0, 1.0, 3.0, 20.0, 100.0]), rang=st.booleans())
    def node_dies(self, down_s: float, rang: bool) -> None:
        """``rang``: the call's record says who had rung."""
        known = {line.phone for line in self.lines.values() if 180 <= line.status < 190 and rang}
        self._die(down_s)
        devices = (d for d, b in self.bindings.items() if instance_of(b) in known)
        self.sound = False
        self.state, actions = restored(
            self.invite,
            self.kept,
            self._candidates(),
            self.chosen,
            self.now,
            rang=frozenset(devices),
        )
        self._take(actions)
        self._keep_up()
        self.sound = True

    @precondition(lambda self: self.lives > 1 and not self.over)
    @rule(device=st.sampled_from([None] * 6 + [*DEVICES]), by_bye=st.booleans())
    def answered_in_a_former_life(self, device: DeviceId | None, by_bye: bool) -> None:
        if device is None:
            return
        if not by_bye:
            self.finals.append(200)
        self.feed(AnsweredBefore(None if by_bye else device, None if by_bye else 200))
        assert self.outcome is not None
        assert self.outcome.verdict is Verdict.ANSWERED

    @precondition(lambda self: self.stored and not self.over)
    @rule(down_s=st.sampled_from([None] * 6 + [3.0, 100.0]))
    def node_comes_back_elsewhere(self, down_s: float | None) -> None:
        if down_s is None:
            return
        self._die(down_s)
        self.sound = False
        self.state, actions = lost(
            self.invite, self.kept, self._candidates(), self.chosen, self.now, reason="moved"
        )
        self._take(actions)
        assert not self.finals
        assert self.outcome is not None
        assert self.outcome.verdict is Verdict.PBX_LOST
        self.sound = True

    def _die(self, down_s: float) -> None:
        self.now = Instant(self.now + down_s)
        self.lives += 1
        self.lines, self.pending = {}, []
        self.flows = {d for d in self.flows if self.bindings[d].source.transport == "udp"}

    # what must hold

    @invariant()
    def told_as_often_as_must_be(self) -> None:
        for device in DEVICES:
            told = sum(n for (_, each), n in self.farewells.items() if each == device)
            assert told <= 2, f"{told} terminal pushes to {device}"

    @invariant()
    def open_calls_have_a_deadline(self) -> None:
        assert self.over or deadline(self.state) is not None

    def teardown(self) -> None:
        """Left alone, every call ends with one final response, or is lost with its PBX."""
        if not self.sound:
            return
        for _ in range(200):
            due = deadline(self.state)
            if due is None:
                break
            self.now = max(self.now, due)
            self.feed(TimePassed())
        assert self.over
        assert self.outcome is not None
        assert len(self.finals) == (self.outcome.verdict is not Verdict.PBX_LOST)
        for line in self.lines.values():
            assert line.status >= 200 or line.cancelled, "a phone rings for a dead call"


@pytest.mark.timeout(400)
def test_dying_at_any_moment_keeps_the_invariants() -> None:
    """Exactly one final response over all lives, never two unfinished INVITEs at one phone, no
    more than two terminal pushes, and nobody rings for ever.
    """
    run_state_machine_as_test(
        Deaths,
        settings=settings(
            max_examples=400,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            report_multiple_bugs=False,
        ),
    )
