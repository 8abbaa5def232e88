"""runtime.live_wake: what follows from an event is done before the next one is looked at."""

from typing import cast

from push_proxy.core.actions import Action, Note, SendPush, StoreInvite
from push_proxy.core.events import (
    Candidate,
    Event,
    Invite,
    InviteStored,
    PushAnswered,
    PushOutcome,
    WakeSettings,
)
from push_proxy.core.ids import CallId, DeviceId
from push_proxy.core.wake import Ended, Live, State, start
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.held_call import HeldCall
from push_proxy.runtime.interpreter import Interpreter
from push_proxy.runtime.live_wake import LiveWake


class Echo:
    """Carries out nothing, but says at once what comes of it, from within the order."""

    def __init__(self, outcome: PushOutcome) -> None:
        self.outcome = outcome
        self.done: list[str] = []
        self.wake: LiveWake | None = None

    def perform(self, _held: HeldCall, action: Action) -> None:
        assert self.wake is not None
        match action:
            case StoreInvite():
                self.wake.tell(InviteStored(ok=True))
            case SendPush():
                event: Event = PushAnswered(
                    device=action.device, push=action.push, outcome=self.outcome
                )
                self.wake.tell(event)
            case Note("fails"):
                raise RuntimeError("out of order")
            case _:
                pass
        self.done.append(type(action).__name__)


def begin(echo: Echo) -> tuple[LiveWake, tuple[Action, ...], list[State]]:
    clock, before = ManualClock(), list[State]()
    invite = Invite(call=CallId("c"), received_at=clock.now())
    phone = Candidate(device=DeviceId("phone"), pushable=True)
    state, actions = start(invite, (phone,), WakeSettings(), clock.now())
    wake = LiveWake(
        cast("HeldCall", type("Held", (), {"call": "c"})()),
        state,
        clock=clock,
        interpreter=cast("Interpreter", echo),
        changed=lambda _, old: before.append(old),
    )
    echo.wake = wake
    return wake, actions, before


def test_an_order_that_answers_at_once() -> None:
    """The answer waits until all orders of the same step are given."""
    echo = Echo(PushOutcome.REJECTED)
    wake, actions, before = begin(echo)
    wake.begin(actions)
    first = [type(action).__name__ for action in actions]
    assert echo.done[: len(first)] == first
    assert isinstance(wake.state, Ended)
    assert [type(state) for state in before] == [Live, Live, Ended]


def test_an_order_that_fails_keeps_no_other_back() -> None:
    """The rest is given all the same."""
    echo = Echo(PushOutcome.ACCEPTED)
    wake, actions, _ = begin(echo)
    wake.begin((Note("fails"), *actions))
    assert "StoreInvite" in echo.done
    assert isinstance(wake.state, Live)
