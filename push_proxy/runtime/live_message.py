"""One MESSAGE that is held: its state, its timer, and what its orders do."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import structlog

from ..core.actions import Fork, Relay, Reply, SendPush, SendTrying
from ..core.events import GivingUp, PushAnswered, PushOutcome, TimePassed
from ..core.held_message import (
    Hold,
    HoldAction,
    HoldEvent,
    HoldState,
    MessageEnded,
    Step,
    deadline,
    step,
)
from ..core.incoming import IncomingCall
from ..core.model import Account
from ..ports import PushResult
from ..signaling.contract import Signaling
from ..signaling.facts import RequestReceived
from .alert_pushes import AlertPushes
from .clock import Timer, TimerClock
from .directory import Directory
from .message_push import message_push
from .pusher import Pusher
from .toward_device import toward_device

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageMeans:
    """What a held MESSAGE works with."""

    signaling: Signaling
    directory: Directory
    pusher: Pusher
    pushes: AlertPushes
    clock: TimerClock


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRequest:
    """The MESSAGE as it came."""

    fact: RequestReceived
    account: Account
    incoming: IncomingCall


class LiveMessage:
    """Runs the pure machine for one MESSAGE; what an order brings about waits its turn."""

    __slots__ = ("_busy", "_ended", "_events", "_means", "_state", "_timer", "hold", "request")

    def __init__(
        self,
        request: MessageRequest,
        hold: Hold,
        *,
        means: MessageMeans,
        ended: Callable[["LiveMessage", MessageEnded], None],
    ) -> None:
        """``ended`` is called once, when the MESSAGE has its final response."""
        self.request = request
        self.hold = hold
        self._means = means
        self._ended = ended
        self._state: HoldState | None = None
        self._events: deque[HoldEvent] = deque()
        self._timer: Timer | None = None
        self._busy = False

    def begin(self, first: Step) -> None:
        """Carry out what its arrival calls for."""
        self._busy = True
        self._follow(first)
        self._run()

    def tell(self, event: HoldEvent) -> None:
        """Something has happened; all that follows from it is done on return."""
        self._events.append(event)
        if not self._busy:
            self._run()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._busy = True
        try:
            while self._events and self._state is not None:
                now = self._means.clock.now()
                event = self._events.popleft()
                try:
                    result = step(self._state, event, now)
                except Exception:  # noqa: BLE001 - logged; the PBX gets its answer
                    _log.exception("a held MESSAGE failed", event_kind=type(event).__name__)
                    result = step(self._state, GivingUp("internal_error"), now)
                self._follow(result)
        finally:
            self._busy = False

    def _follow(self, result: Step) -> None:
        self._state, actions = result
        self.close()
        due = deadline(self._state)
        if due is not None:
            self._timer = self._means.clock.call_at(due, self._fired)
        for action in actions:
            try:
                self._perform(action)
            except Exception:  # noqa: BLE001 - logged; the others are carried out all the same
                _log.exception("order failed", action=type(action).__name__)

    def _fired(self) -> None:
        self._timer = None
        self.tell(TimePassed())

    def _perform(self, action: HoldAction) -> None:
        signaling, request = self._means.signaling, self.request
        txn = request.fact.txn
        match action:
            case Fork():
                signaling.fork(
                    txn,
                    action.branch,
                    toward_device(
                        action.binding,
                        request.account,
                        self._means.directory.way(action.binding),
                        strip=request.incoming.strip,
                        record_route=False,
                    ),
                )
            case Relay():
                signaling.relay(txn, action.branch, action.response)
            case Reply():
                signaling.reply(txn, action.status, action.reason, headers=action.headers)
            case SendTrying():
                signaling.reply(txn, 100, "Trying")
            case SendPush():
                self._push(action)
            case MessageEnded():
                self._ended(self, action)
            case _:
                assert_never(action)

    def _push(self, order: SendPush) -> None:
        device = self._means.directory.device(self.request.account.key, order.device)
        if device is None or not self._means.pusher.serves(device):
            self._push_answered(order, PushResult(outcome=PushOutcome.REJECTED, reason="gone"))
            return
        push = message_push(
            device,
            self.request.incoming,
            push=order.push,
            now=self._means.clock.now(),
            within_s=order.deadline_s,
        )
        self._means.pushes.send(push, lambda result: self._push_answered(order, result))

    def _push_answered(self, order: SendPush, result: PushResult) -> None:
        self.tell(
            PushAnswered(
                device=order.device, push=order.push, outcome=result.outcome, reason=result.reason
            )
        )
