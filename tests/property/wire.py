"""What a wake's actions mean on the wire: a model that objects to any order that may not be.

It knows nothing of the machine's insides; it sees events go in and actions come out.
"""

from collections import Counter
from dataclasses import dataclass, field

from push_proxy.core.actions import (
    AckAndBye,
    Action,
    CancelBranch,
    Finish,
    ForgetInvite,
    Fork,
    LateInvite,
    Move,
    Note,
    PushType,
    Relay,
    Reply,
    SendPush,
    SendTrying,
    StoreInvite,
)
from push_proxy.core.events import (
    AppActed,
    BranchFailed,
    CallerCancelled,
    Candidate,
    DeviceRegistered,
    DeviceUnregistered,
    Event,
    Invite,
    InviteStored,
    PushAnswered,
    PushOutcome,
    ResponseReceived,
    WakeSettings,
)
from push_proxy.core.forking import COMPLETED_ELSEWHERE, instance_of, is_flow_failure
from push_proxy.core.ids import BranchId, DeviceId, PushId
from push_proxy.core.model import Binding, CallState, Outcome, Ringing, RingMode, Verdict


@dataclass
class Line:
    """One INVITE on its way to a device."""

    binding: Binding
    made_at: float
    status: int = 0
    local: bool = False
    cancelled: bool = False
    unsent: bool = False
    """The order failed: nothing can come of it."""
    rang: bool = False
    has_call: bool = False
    """Its phone refused it because it rings with this call on a broken line."""
    answer_due: bool = False
    """A 2xx has come on it and nothing was done with it yet."""

    @property
    def open(self) -> bool:
        return self.status < 200 and not self.cancelled

    @property
    def broken(self) -> bool:
        """Its flow is gone: a 2xx may still come over another connection, nothing else."""
        return not self.unsent and is_flow_failure(status=self.status, local=self.local)

    @property
    def says_nothing(self) -> bool:
        """Its final status is no answer of its owner's."""
        return self.has_call or is_flow_failure(status=self.status, local=self.local)


@dataclass
class Pushed:
    """What one device was sent, and what came of it."""

    pending: dict[PushId, None] = field(default_factory=dict)
    accepted: bool = False
    refused: bool = False
    calls: int = 0
    farewells: list[PushType] = field(default_factory=list)


@dataclass
class Wire:
    """All that a PBX, the devices, the providers and the store have seen."""

    invite: Invite
    candidates: tuple[Candidate, ...]
    settings: WakeSettings
    lines: dict[BranchId, Line] = field(default_factory=dict)
    pushes: dict[DeviceId, Pushed] = field(default_factory=dict)
    acted: set[DeviceId] = field(default_factory=set)
    registered: set[DeviceId] = field(default_factory=set)
    bound: dict[DeviceId, Binding] = field(default_factory=dict)
    finals: list[int] = field(default_factory=list)
    provisionals: list[int] = field(default_factory=list)
    own_ringing: int = 0
    trying: int = 0
    store_answer: bool | None = None
    store_orders: int = 0
    forgets: int = 0
    states: list[CallState] = field(default_factory=lambda: [CallState.WAKING])
    outcome: Outcome | None = None
    ended_at: float = 0.0
    winner: BranchId | None = None
    rotations: int = 0
    declined: bool = False
    """A 6xx has come from a device that was not called off: it speaks for all."""
    responses: dict[int, ResponseReceived] = field(default_factory=dict)
    returning: dict[DeviceId, float] = field(default_factory=dict)
    """Devices whose flow broke, and until when they are waited for."""
    losses: Counter[DeviceId] = field(default_factory=Counter)
    known: set[DeviceId] = field(default_factory=set)
    """Devices that are part of the call."""
    late: set[DeviceId] = field(default_factory=set)
    """Devices that still show the call after its end, and have not been told by SIP."""
    late_reason: str | None = None
    """What those are to be told, if that is known."""
    due: set[DeviceId] = field(default_factory=set)
    """Devices that the late INVITE has to go to in this very step."""
    unheard: dict[DeviceId, bool] = field(default_factory=dict)
    """Whose INVITE is found in this step, after the end, never to have arrived; whether it was
    not even sent."""

    def __post_init__(self) -> None:
        self.known = {candidate.device for candidate in self.candidates}
        for candidate in self.candidates:
            if candidate.returns and not candidate.pushable:
                self.returning[candidate.device] = self.wake_end

    @property
    def wake_end(self) -> float:
        return self.invite.received_at + self.settings.deadline_s

    @property
    def gathers_until(self) -> float:
        """Until when nobody rings while another device may still wake."""
        together = self.settings.ring_mode is RingMode.TOGETHER
        end = min(self.settings.together_s, self.settings.deadline_s) if together else 0.0
        return self.invite.received_at + end

    def sleepers(self) -> set[DeviceId]:
        """Devices that may still wake, the deadlines apart."""
        pushed = {d for d, sent in self.pushes.items() if sent.pending or sent.accepted}
        return (pushed | set(self.returning)) - self.registered - self.acted

    @property
    def over(self) -> bool:
        return self.outcome is not None

    def line_open(self, device: DeviceId) -> bool:
        return any(line.open and line.binding.device == device for line in self.lines.values())

    def may_respond(self, now: float) -> list[BranchId]:
        """Branches on which a response may come: a client transaction ends after 32 s."""
        if not self.over:
            return sorted(self.lines)
        gone = now - self.ended_at > 32
        alive = (b for b, line in self.lines.items() if line.status < 200 or line.broken)
        return [] if gone else sorted(alive)

    # events

    def tell(self, event: Event, now: float) -> None:
        """An event is about to reach the machine."""
        self.due, self.unheard = set(), {}
        if self.over and isinstance(event, BranchFailed | ResponseReceived):
            self._unheard(event)
        match event:
            case ResponseReceived():
                self._response(event, now)
            case CallerCancelled(reason) if not self.over:
                self.late_reason = reason
            case DeviceRegistered(binding):
                in_time = now < self.ended_at + self.settings.late_invite_s
                if binding.device in self.late and in_time:
                    self.due = {binding.device}
                self.returning.pop(binding.device, None)
                self.registered.add(binding.device)
                self.bound[binding.device] = binding
                self.known.add(binding.device)
            case PushAnswered() if event.push in self.push_of(event.device).pending:
                pushed = self.push_of(event.device)
                del pushed.pending[event.push]
                pushed.accepted |= event.outcome is PushOutcome.ACCEPTED
                pushed.refused = event.outcome in {PushOutcome.REJECTED, PushOutcome.MISCONFIGURED}
            case DeviceUnregistered(device):
                self.registered.discard(device)
            case AppActed() if event.device in self.known:
                self.acted.add(event.device)
            case InviteStored(ok):
                self.store_answer = ok
            case _:
                pass

    def _unheard(self, event: BranchFailed | ResponseReceived) -> None:
        line = self.lines.get(event.branch)
        unsent = isinstance(event, BranchFailed)
        lost = unsent or is_flow_failure(status=event.status, local=event.local)
        if line is not None and (line.status == 0 or line.unsent) and lost:
            self.unheard = {line.binding.device: unsent}

    def push_of(self, device: DeviceId) -> Pushed:
        return self.pushes.setdefault(device, Pushed())

    def broken(self, line: Line, now: float) -> None:
        """Its flow is dead: unless it was called off, the device may come back."""
        device = line.binding.device
        self.registered.discard(device)
        if line.cancelled or self.over or device in self.acted:
            return
        self.losses[device] += 1
        alive_at = now if line.status > 0 else line.made_at
        end = max(self.wake_end, alive_at + self.settings.deadline_s)
        if end > now:
            self.returning[device] = end

    def _response(self, event: ResponseReceived, now: float) -> None:
        line = self.lines.get(event.branch)
        answered = 200 <= event.status < 300
        if line is None or (line.status >= 200 and not (line.broken and answered)):
            return
        if is_flow_failure(status=event.status, local=event.local):
            self.broken(line, now)
        elif event.status in {482, 486} and self._rings_already(line):
            line.has_call = True
            self.registered.discard(line.binding.device)
            if not line.cancelled and not self.over and line.binding.device not in self.acted:
                self.returning[line.binding.device] = now + self.settings.timer_c_s
        self.declined |= event.status >= 600 and not line.cancelled and not self.over
        line.rang |= 180 <= event.status < 190
        line.status = event.status if answered else max(line.status, event.status)
        line.local = event.local
        line.answer_due = answered
        self.responses[event.response] = event

    def _rings_already(self, refused: Line) -> bool:
        instance = instance_of(refused.binding)
        return refused.status < 180 and any(
            line.rang and line.says_nothing and instance_of(line.binding) == instance
            for line in self.lines.values()
        )

    # actions

    def take(self, actions: tuple[Action, ...], now: float) -> None:
        """Check and note what the machine has ordered in one step."""
        was_over = self.over
        for action in actions:
            if was_over:
                assert isinstance(
                    action, AckAndBye | ForgetInvite | LateInvite | Note
                ) or self._unheard_farewell(action), f"{action} after the end"
            if not isinstance(action, LateInvite):
                self._take(action, now)
        due = [branch for branch, line in self.lines.items() if line.answer_due]
        assert not due, f"a 2xx was neither relayed nor ended, on {due}"
        if self.over and not was_over:
            self.ended_at = now
            self._check_end()
        if not self.over:
            self._check_rung(now)
        for action in actions:
            if isinstance(action, LateInvite):
                self._late(action)
        assert not self.due, f"{self.due} still shows a call that is over"

    def _unheard_farewell(self, action: Action) -> bool:
        """A terminal push to one who cannot have heard by SIP."""
        if not isinstance(action, SendPush) or action.type is PushType.CALL:
            return False
        pushed = self.push_of(action.device)
        return action.device in self.unheard and pushed.calls > 0 and not pushed.farewells

    def _shows_on(self, device: DeviceId, now: float) -> None:
        """It may be a phone that only SIP can tell."""
        shows = any(c.device == device and c.late_invite for c in self.candidates)
        if shows and now < self.ended_at + self.settings.late_invite_s:
            (self.due if self.unheard[device] else self.late).add(device)

    def _forget(self) -> None:
        self.forgets += 1
        assert self.forgets == 1
        assert self.store_answer, "forgets what is not there"

    def _take(self, action: Action, now: float) -> None:  # noqa: C901, PLR0912 - a case per action
        match action:
            case Reply() if action.status >= 200:
                self._final(action.status)
            case Reply():
                self._ring(action)
            case Relay():
                if action.forgets:
                    self._forget()
                self._relay(action)
            case Fork():
                self._fork(action, now)
            case CancelBranch():
                line = self.lines[action.branch]
                assert not line.cancelled, "cancelled twice"
                assert line.status < 200, "cancelled after its final response"
                line.cancelled = True
            case SendPush() if action.type is PushType.CALL:
                self._push(action, now)
            case SendPush():
                self.push_of(action.device).farewells.append(action.type)
                if self.over:
                    self._shows_on(action.device, now)
            case AckAndBye():
                line = self.lines[action.branch]
                assert line.answer_due, "no 2xx to end"
                assert self.over, "ended a 2xx that the caller could have had"
                line.answer_due = False
            case SendTrying():
                self.trying += 1
                assert self.trying == 1
                assert self.store_answer is not None, "100 before the store has answered"
            case StoreInvite():
                self.store_orders += 1
                assert self.store_orders == 1
            case ForgetInvite():
                self._forget()
            case Move(state):
                assert list(CallState).index(state) > list(CallState).index(self.states[-1])
                self.states.append(state)
            case Finish(outcome):
                assert self.outcome is None, "finished twice"
                self.outcome = outcome
            case Note():
                pass

    def _late(self, late: LateInvite) -> None:
        device = late.binding.device
        assert self.over, "a late INVITE for a live call"
        assert device in self.due, "nobody needs it"
        assert self.late_reason in {None, late.reason}
        self.late.discard(device)
        self.due.discard(device)

    def _check_rung(self, now: float) -> None:
        """Who is awake rings, or waits for somebody who may come; who has refused does not."""
        for line in self.lines.values():
            device = line.binding.device
            assert not (line.open and device in self.acted), f"{device} rings after it refused"
        if now < self.gathers_until and self.sleepers() and not self.lines:
            return
        rung = {line.binding.device for line in self.lines.values()}
        phones = {instance_of(line.binding) for line in self.lines.values()}
        for device, binding in self.bound.items():
            if device in self.registered and device not in self.acted:
                assert device in rung or instance_of(binding) in phones, f"{device} is not rung"

    def _final(self, status: int) -> None:
        self.finals.append(status)
        assert len(self.finals) == 1, f"several final responses: {self.finals}"

    def _ring(self, reply: Reply) -> None:
        self.own_ringing += 1
        assert reply.status == 180
        assert self.own_ringing == 1
        assert not self.invite.requires_100rel
        assert self.settings.ringing is not Ringing.DEVICE_RINGS
        assert self.store_answer is not None, "180 before the store has answered"
        assert not self.finals
        if self.settings.ringing is Ringing.PUSH_ACCEPTED:
            assert any(pushed.accepted for pushed in self.pushes.values())

    def _relay(self, relay: Relay) -> None:
        response = self.responses[relay.response]
        assert response.branch == relay.branch
        assert response.status != 100, "100 is hop by hop"
        line = self.lines[relay.branch]
        if response.status < 200:
            assert not self.finals
            assert not line.cancelled, "relayed for a phone that was called off"
            self.provisionals.append(response.status)
            return
        self._final(response.status)
        if response.status < 300:
            self.winner = relay.branch
            line.answer_due = False

    def _fork(self, fork: Fork, now: float) -> None:
        assert fork.branch not in self.lines
        assert not self.declined, "rung after a 6xx"
        if not self.lines and now < self.gathers_until and self.settings.ack_s is None:
            assert not self.sleepers(), "rung though others still wake"
        assert not self.finals
        device = fork.binding.device
        assert device not in self.acted, "rung after its owner refused"
        candidate = next((c for c in self.candidates if c.device == device), None)
        if candidate is not None and not candidate.flow:
            assert fork.binding is not candidate.binding, "rung on a flow known to be gone"
        self.returning.pop(device, None)
        for line in self.lines.values():
            same = instance_of(line.binding) == instance_of(fork.binding)
            if same or line.binding.device == device:
                assert not line.open, "two open INVITEs to one phone"
            if line.binding.device == device and line.status >= 300 and not line.cancelled:
                assert line.says_nothing, "rung after it refused"
        self.lines[fork.branch] = Line(fork.binding, now)

    def _push(self, push: SendPush, now: float) -> None:
        candidate = next(c for c in self.candidates if c.device == push.device)
        assert candidate.pushable
        assert not self.declined, "pushed after a 6xx"
        assert push.device not in self.acted
        assert push.device not in self.registered, "pushed though it has registered"
        end = max(self.wake_end, self.returning.get(push.device, 0))
        if self.settings.ring_mode is RingMode.TOGETHER and self.lines:
            first = min(line.made_at for line in self.lines.values())
            end = max(end, first + self.settings.deadline_s)
        if self.invite.expires_s is not None:
            end = min(end, self.invite.received_at + self.invite.expires_s)
        assert 0 < push.deadline_s <= end - now + 1e-6, "too late to be of use"
        pushed = self.push_of(push.device)
        pushed.calls += 1
        assert pushed.calls <= 2 + self.rotations + self.losses[push.device], "pushed too often"
        assert all(push.push not in other.pending for other in self.pushes.values())
        pushed.pending[push.push] = None

    def _check_end(self) -> None:
        assert self.outcome is not None
        open_lines = [b for b, line in self.lines.items() if line.open]
        assert not open_lines, f"branches left ringing: {open_lines}"
        if self.outcome.verdict is Verdict.PBX_LOST:
            assert not self.finals
        else:
            assert self.finals == [self.outcome.status]
        assert (self.outcome.verdict is Verdict.ANSWERED) == (self.winner is not None)
        winner = self.lines[self.winner].binding.device if self.winner is not None else None
        for candidate in self.candidates:
            self._check_farewell(candidate.device, won=candidate.device == winner)
            shown = candidate.late_invite and self.push_of(candidate.device).farewells
            if shown and self.settings.late_invite_s:
                self.late.add(candidate.device)
        if self.winner is not None:
            self.late_reason = COMPLETED_ELSEWHERE
        self.due = self.late & self.registered

    def _check_farewell(self, device: DeviceId, *, won: bool) -> None:
        pushed = self.push_of(device)
        assert len(pushed.farewells) <= 1
        refused = device in self.acted or any(
            line.binding.device == device and line.status >= 300 and not line.says_nothing
            for line in self.lines.values()
        )
        hears = any(
            line.binding.device == device and line.status > 0 and not line.says_nothing
            for line in self.lines.values()
        )
        rung = device in self.registered and bool(self.lines)
        if won or refused or hears or rung or pushed.calls == 0:
            assert not pushed.farewells, "a terminal push to one that knows"
        elif pushed.accepted:
            assert pushed.farewells, "may ring for a dead call: no terminal push"
        if pushed.farewells and self.winner is not None:
            assert pushed.farewells == [PushType.ANSWERED_ELSEWHERE]

    def check_reasons(self, actions: tuple[Action, ...]) -> None:
        """Those who lost are told so (RFC 3326)."""
        if self.winner is None:
            return
        for action in actions:
            if isinstance(action, CancelBranch):
                assert action.reason == COMPLETED_ELSEWHERE
