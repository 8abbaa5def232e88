"""One wake that goes on: its state, its timer, and the order of what happens to it."""

from collections import deque
from collections.abc import Callable

import structlog

from ..core.actions import Action
from ..core.events import Event, GivingUp, TimePassed
from ..core.ids import Instant
from ..core.wake import State, Step, deadline, step
from .clock import Timer, TimerClock
from .held_call import HeldCall
from .interpreter import Interpreter

_log = structlog.get_logger(__name__)


class LiveWake:
    """Runs the pure machine for one call.

    The new state is kept, and its deadline armed, before the actions are carried out. What an
    action brings about at once is an event that waits until all of them are done.
    """

    __slots__ = (
        "_armed_at",
        "_busy",
        "_changed",
        "_clock",
        "_events",
        "_interpreter",
        "_timer",
        "held",
        "state",
    )

    def __init__(
        self,
        held: HeldCall,
        state: State,
        *,
        clock: TimerClock,
        interpreter: Interpreter,
        changed: Callable[["LiveWake", State], None],
    ) -> None:
        """``changed`` is called when all that follows from an event is done.

        It gets the wake and the state that was before the event.
        """
        self.held = held
        self.state = state
        self._clock = clock
        self._interpreter = interpreter
        self._changed = changed
        self._events: deque[Event] = deque()
        self._busy = False
        self._timer: Timer | None = None
        self._armed_at: Instant | None = None

    def begin(self, actions: tuple[Action, ...]) -> None:
        """Carry out what the INVITE itself calls for."""
        self._busy = True
        before = self.state
        self._follow((self.state, actions), before)
        self._busy = False
        self._run()

    def tell(self, event: Event) -> None:
        """Something has happened; all that follows from it is done on return."""
        self._events.append(event)
        if not self._busy:
            self._run()

    def close(self) -> None:
        """Stop the timer; nothing is told any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._busy = True
        try:
            while self._events:
                before = self.state
                self._follow(self._step(before, self._events.popleft()), before)
        finally:
            self._busy = False

    def _step(self, before: State, event: Event) -> Step:
        now = self._clock.now()
        try:
            return step(before, event, now)
        except Exception:  # noqa: BLE001 - logged
            # The timer may have been spent on this: a call that is not ended now never ends.
            _log.exception("wake failed", call_id=self.held.call, event_kind=type(event).__name__)
            return step(before, GivingUp("internal error: the log has it"), now)

    def _follow(self, result: Step, before: State) -> None:
        self.state, actions = result
        self._arm()
        for action in actions:
            try:
                self._interpreter.perform(self.held, action)
            except Exception:  # noqa: BLE001 - logged
                # One order that fails must not keep the others, a CANCEL say, from being given.
                _log.exception("order failed", call_id=self.held.call, action=type(action).__name__)
        self._changed(self, before)

    def _arm(self) -> None:
        """One timer, moved forward at once and backward when it fires: most deadlines recede."""
        due = deadline(self.state)
        if due is None:
            self.close()
        elif self._timer is None or self._armed_at is None or due < self._armed_at:
            self.close()
            self._armed_at = due
            self._timer = self._clock.call_at(due, self._fired)

    def _fired(self) -> None:
        self._timer = None
        due = deadline(self.state)
        if due is not None and due <= self._clock.now():
            self.tell(TimePassed())
        elif due is not None:
            self._arm()
