"""A stage for directed races: one account, its phones, a PBX, providers, all in drawn time.

Nothing here is drawn by itself: a race says who acts, and draws when. Deadlines fire in between
as in the runtime; what falls on the same instant comes in drawn order. Each call is watched by
the model of `wire`, so every order that may not be fails at once.
"""

import heapq
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from push_proxy.core.actions import (
    Action,
    CancelBranch,
    Fork,
    PushType,
    SendPush,
    StoreInvite,
)
from push_proxy.core.events import (
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
from push_proxy.core.ids import AccountKey, BranchId, CallId, DeviceId, Instant, ResponseId
from push_proxy.core.model import Address, Binding
from push_proxy.core.wake import Ended, State, deadline, start, step
from tests.property.wire import Wire

TIMES = int(os.environ.get("PUSH_PROXY_RACES", "1"))
RUNS = 1000 * TIMES
SEED = os.environ.get("PUSH_PROXY_RACE_SEED", "")
"""One run only, with this seed: what a failure names."""

START = Instant(1000.0)

Race = Callable[["Stage"], None]


def run(race: Race) -> None:
    """The race a thousand times (``PUSH_PROXY_RACES`` multiplies); a failure names its seed."""
    for seed in [int(SEED)] if SEED else range(RUNS):
        stage = Stage(random.Random(seed))
        try:
            race(stage)
        except Exception as fault:
            fault.add_note(f"{race.__name__}: PUSH_PROXY_RACE_SEED={seed}")
            fault.add_note("\n".join(stage.story))
            raise


def binding(device: str, port: int = 5000, **fields: Any) -> Binding:
    """Where a phone is registered."""
    host, transport = fields.pop("host", "192.0.2.1"), fields.pop("transport", "udp")
    bound = Binding(
        account=AccountKey("acme/101"),
        device=DeviceId(device),
        contact=f"sip:{device}@{host}:{port};pn-prid={fields.pop('token', 'T')}",
        source=Address(host, port, transport),
        local=Address("192.0.2.9", 5060),
        call_id="r",
        cseq=1,
        expires_at=Instant(9e9),
        instance=f"urn:uuid:{device}",
    )
    return replace(bound, **fields)


def asleep(device: str, **fields: Any) -> Candidate:
    """A phone that has to be pushed."""
    return Candidate(device=DeviceId(device), pushable=True, **fields)


def awake(device: str, **fields: Any) -> Candidate:
    """A phone that was heard just now."""
    return asleep(device, binding=fields.pop("binding", binding(device)), fresh=True, **fields)


@dataclass
class Call:
    """One call to the account."""

    name: str
    state: State
    wire: Wire
    orders: list[Action] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return not isinstance(self.state, Ended)

    def forks(self, device: str | None = None) -> list[Fork]:
        """The INVITEs that were sent."""
        return [
            order
            for order in self.orders
            if isinstance(order, Fork) and device in {None, order.binding.device}
        ]

    def pushes(self, kind: PushType = PushType.CALL, device: str | None = None) -> list[SendPush]:
        """The pushes that were sent."""
        return [
            order
            for order in self.orders
            if isinstance(order, SendPush) and order.type is kind and device in {None, order.device}
        ]

    def count(self, kind: type[Action]) -> int:
        return sum(isinstance(order, kind) for order in self.orders)


@dataclass
class Stage:
    """The world of one run."""

    draw: random.Random
    now: Instant = START
    calls: list[Call] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    stores: bool = True
    """Whether the store answers at all."""
    crosses_s: float | None = None
    """So long after our CANCEL a phone says 200 all the same; None: it says 487."""
    outcome: PushOutcome | None = PushOutcome.ACCEPTED
    """What providers say; None: nothing, ever."""
    _queue: list[tuple[float, float, int, Callable[[], None]]] = field(default_factory=list)
    _number: int = 0
    _responses: int = 0
    _hooks: dict[type[Action], list[Callable[[Call, Any], None]]] = field(default_factory=dict)

    # drawing

    def soon(self, most_s: float = 1.0) -> float:
        """A delay: often none at all, or one that others have too."""
        grid = (0.0, 0.0, 0.001, 0.05, most_s / 2, most_s)
        return self.draw.choice(grid) if self.draw.random() < 0.7 else self.draw.random() * most_s

    def near(self, instant: float) -> float:
        """A moment at, just before or just after this one; sometimes quite another."""
        if self.draw.random() < 0.2:
            return instant + self.draw.uniform(-3, 3)
        return instant + self.draw.choice((-0.05, -0.001, 0.0, 0.0, 0.001, 0.05))

    def maybe(self, chance: float = 0.5) -> bool:
        return self.draw.random() < chance

    def settings(self, **fields: Any) -> WakeSettings:
        """Wake settings; what a race does not fix is drawn."""
        drawn = {
            "repush_after_s": self.draw.choice((None, 5.0)),
            "ack_s": self.draw.choice((None, None, 3.0)),
            "late_invite_s": self.draw.choice((0.0, 30.0)),
        }
        return WakeSettings(**{**drawn, **fields})

    # acting

    def at(self, delay_s: float, act: Callable[[], None]) -> None:
        """``act`` after so many seconds; at equal instants the order is drawn."""
        self._number += 1
        due = self.now + max(0.0, delay_s)
        heapq.heappush(self._queue, (due, self.draw.random(), self._number, act))

    def invite(
        self,
        *candidates: Candidate,
        name: str = "A",
        settings: WakeSettings | None = None,
        expires_s: float | None = None,
    ) -> Call:
        """The PBX calls the account, now."""
        settings = settings or self.settings()
        invite = Invite(call=CallId(name), received_at=self.now, expires_s=expires_s)
        wire = Wire(invite, candidates, settings)
        self.story.append(f"{self.now:.3f} INVITE {name}")
        state, actions = start(invite, candidates, settings, self.now)
        call = Call(name, state, wire)
        self.calls.append(call)
        wire.take(actions, self.now)
        self._carry_out(call, actions)
        return call

    def tell(self, call: Call, event: Event) -> None:
        """The call hears of something, now."""
        call.wire.tell(event, self.now)
        was_over = call.wire.over
        self.story.append(f"{self.now:.3f} {call.name} << {_brief(event)}")
        call.state, actions = step(call.state, event, self.now)
        call.wire.take(actions, self.now)
        if not was_over and call.wire.over:
            call.wire.check_reasons(actions)
        self._carry_out(call, actions)

    def registers(self, bound: Binding, times: int = 1) -> None:
        """A REGISTER is answered 2xx: every call of the account hears of it."""
        for _ in range(times):
            for call in self.calls:
                if not (isinstance(call.state, Ended) and call.state.finished):
                    self.tell(call, DeviceRegistered(bound))

    def responds(self, call: Call, branch: BranchId, status: int, **fields: Any) -> None:
        """A phone answers, unless its transaction is over."""
        line = call.wire.lines[branch]
        if line.status < 200 or (line.broken and 200 <= status < 300):
            self._responses += 1
            response = ResponseId(self._responses)
            self.tell(
                call, ResponseReceived(branch=branch, response=response, status=status, **fields)
            )

    def responds_next(self, call: Call, branch: BranchId, status: int) -> None:
        """It has answered before it heard of what was ordered just now."""
        self.at(0.0, lambda: self.responds(call, branch, status))

    def on(self, kind: type[Action], react: Callable[[Call, Any], None]) -> None:
        """What somebody does when the service orders this."""
        self._hooks.setdefault(kind, []).append(react)

    def play(self, seconds: float = 400.0) -> None:
        """Let time pass until nothing is left to come; then nobody may wait any more."""
        end = self.now + seconds
        for _ in range(5000):
            due = min((d for c in self.calls if (d := deadline(c.state)) is not None), default=9e9)
            first = self._queue[0][0] if self._queue else 9e9
            if min(due, first) > end:
                break
            timer_first = due < first or (due == first and self.maybe())
            self.now = Instant(max(self.now, min(due, first)))
            if not timer_first:
                heapq.heappop(self._queue)[3]()
                continue
            for call in self.calls:
                moment = deadline(call.state)
                if moment is not None and moment <= self.now:
                    self.tell(call, TimePassed())
        else:
            raise AssertionError("it never ends")
        for call in self.calls:
            assert isinstance(call.state, Ended), f"{call.name} still waits"
            assert call.state.finished, f"{call.name} is not forgotten"
            assert len(call.wire.finals) <= 1
            assert call.wire.forgets == int(call.wire.store_answer or 0)

    def _carry_out(self, call: Call, actions: Iterable[Action]) -> None:
        for action in actions:
            call.orders.append(action)
            self.story.append(f"{self.now:.3f} {call.name} >> {_brief(action)}")
            match action:
                case StoreInvite() if self.stores:
                    ok = self.maybe(0.8)
                    self.at(self.soon(0.2), lambda ok=ok: self.tell(call, InviteStored(ok)))  # type: ignore[misc]
                case SendPush(type=PushType.CALL) if self.outcome is not None:
                    answer = PushAnswered(
                        device=action.device, push=action.push, outcome=self.outcome
                    )
                    self.at(self.soon(), lambda answer=answer: self.tell(call, answer))  # type: ignore[misc]
                case CancelBranch():
                    after_s = self.soon() if self.crosses_s is None else self.crosses_s
                    final = 487 if self.crosses_s is None else 200
                    self.at(after_s, lambda b=action.branch, f=final: self.responds(call, b, f))  # type: ignore[misc]
                case _:
                    pass
            for react in self._hooks.get(type(action), ()):
                react(call, action)


def _brief(what: Event | Action) -> str:
    return str(what)[:160]
