"""Call flows as tests: ``>>`` tells the wake something, ``<<`` expects an order of it.

::

    call = Playbook(asleep("phone"))
    call << Push("phone") << StoreInvite() >> InviteStored(ok=True) << SendTrying()

Every order has to be expected, in its order; lines of the timeline are looked at only when
they are asked for. A mismatch prints the whole conversation.
"""

from dataclasses import dataclass
from typing import Any, Self

from push_proxy.core.actions import Action, CancelBranch, Finish, Fork, Note, PushType, SendPush
from push_proxy.core.actions import Relay as RelayAction
from push_proxy.core.actions import Reply as ReplyAction
from push_proxy.core.events import (
    Candidate,
    DeviceRegistered,
    Event,
    Invite,
    PushAnswered,
    PushOutcome,
    ResponseReceived,
    TimePassed,
    WakeSettings,
)
from push_proxy.core.ids import AccountKey, BranchId, CallId, DeviceId, Instant, PushId, ResponseId
from push_proxy.core.model import Address, Binding, Outcome, Verdict
from push_proxy.core.policy import PolicyCase
from push_proxy.core.wake import State, deadline, start, step

START = Instant(1000.0)


def binding(
    device: str,
    *,
    port: int = 5000,
    instance: str | None = None,
    host: str = "192.0.2.1",
    transport: str = "udp",
) -> Binding:
    """A registered phone."""
    source = Address(host, port, transport)
    return Binding(
        account=AccountKey("acme/101"),
        device=DeviceId(device),
        contact=f"sip:{device}@{source.host}:{source.port}",
        source=source,
        local=Address("192.0.2.9", 5060),
        call_id="r",
        cseq=1,
        expires_at=Instant(9e9),
        instance=instance,
    )


def asleep(device: str, **fields: Any) -> Candidate:
    """A phone that has to be pushed."""
    return Candidate(device=DeviceId(device), pushable=True, **fields)


def fresh(device: str, **fields: Any) -> Candidate:
    """A phone that was heard just now."""
    return asleep(device, binding=binding(device), fresh=True, **fields)


def plain(device: str) -> Candidate:
    """A phone that cannot be pushed, but is registered."""
    return Candidate(device=DeviceId(device), pushable=False, binding=binding(device))


@dataclass(frozen=True)
class Wait:
    """Seconds pass; deadlines on the way fire."""

    seconds: float


@dataclass(frozen=True)
class Took:
    """The provider answers the device's newest push."""

    device: str
    outcome: PushOutcome = PushOutcome.ACCEPTED


@dataclass(frozen=True)
class Answered:
    """A device answers on its newest branch, or on ``branch``."""

    device: str
    status: int
    local: bool = False
    branch: int | None = None


def registers(device: str, **fields: Any) -> DeviceRegistered:
    """Its REGISTER was answered 2xx; ``fields`` as of `binding`."""
    return DeviceRegistered(binding(device, **fields))


@dataclass(frozen=True)
class Push:
    """Expects a push of this type to the device."""

    device: str
    type: PushType = PushType.CALL

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SendPush) and (other.device, other.type) == (
            self.device,
            self.type,
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Ring:
    """Expects the INVITE to go to the device."""

    device: str
    port: int = 5000

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fork) and (other.binding.device, other.binding.source.port) == (
            self.device,
            self.port,
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Reply:
    """Expects a response of our own, with this X-Push-Reason."""

    status: int
    push_reason: str | None = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ReplyAction)
            and other.status == self.status
            and dict(other.headers).get("X-Push-Reason") == self.push_reason
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Relay:
    """Expects a response of branch ``branch`` to go upstream; ``forgets`` counts if it is given."""

    branch: int
    forgets: bool | None = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RelayAction)
            and other.branch == self.branch
            and self.forgets in {None, other.forgets}
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Cancel:
    """Expects the CANCEL of a branch, with this Reason if one is given."""

    branch: int
    reason: str | None = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CancelBranch)
            and other.branch == self.branch
            and self.reason in {None, other.reason}
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Over:
    """Expects the end, with this verdict."""

    verdict: Verdict
    ended_by: str | None = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Finish)
            and other.outcome.verdict is self.verdict
            and self.ended_by in {None, other.outcome.ended_by}
        )

    __hash__ = None  # type: ignore[assignment]


Told = Event | Wait | Took | Answered


class Playbook:
    """One call, told and expected step by step. Used as a context, it ends with nothing left."""

    def __init__(
        self,
        *candidates: Candidate,
        requires_100rel: bool = False,
        expires_s: float | None = None,
        case: PolicyCase | None = None,
        **settings: Any,
    ) -> None:
        self.now = START
        self.invite = Invite(
            call=CallId("call"),
            received_at=START,
            requires_100rel=requires_100rel,
            expires_s=expires_s,
            case=case,
        )
        self.outcome: Outcome | None = None
        self.history: list[str] = [">> INVITE"]
        self.waiting: list[Action] = []
        self.pushes: dict[str, PushId] = {}
        self.branches: dict[str, BranchId] = {}
        self.responses = 0
        self.state: State
        self.state, actions = start(self.invite, candidates, WakeSettings(**settings), self.now)
        self._take(actions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._nothing_left()

    def __rshift__(self, told: Told) -> Self:
        self._nothing_left()
        self.history.append(f">> {told}")
        match told:
            case Wait(seconds):
                self._wait(Instant(self.now + seconds))
            case Took(device, outcome):
                self._tell(
                    PushAnswered(device=DeviceId(device), push=self.pushes[device], outcome=outcome)
                )
            case Answered(device, status, local, branch):
                self.responses += 1
                self._tell(
                    ResponseReceived(
                        branch=BranchId(branch) if branch else self.branches[device],
                        response=ResponseId(self.responses),
                        status=status,
                        local=local,
                    )
                )
            case _:
                self._tell(told)
        return self

    def __lshift__(self, expected: object) -> Self:
        if isinstance(expected, Note):
            return self
        got = self.waiting.pop(0) if self.waiting else None
        same = isinstance(got, expected) if isinstance(expected, type) else got == expected
        same = same or expected == got
        self.history.append(f"<< {expected}")
        if not same:
            self._fail(f"expected {expected}\n     got {got}")
        return self

    def skip(self) -> Self:
        """What is waiting is of no interest here."""
        self.waiting.clear()
        return self

    def _tell(self, event: Event) -> None:
        self.state, actions = step(self.state, event, self.now)
        self._take(actions)

    def _wait(self, until: Instant) -> None:
        for _ in range(50):
            due = deadline(self.state)
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self._tell(TimePassed())
        self.now = until

    def _take(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if isinstance(action, SendPush) and action.type is PushType.CALL:
                self.pushes[action.device] = action.push
            if isinstance(action, Finish):
                self.outcome = action.outcome
            if isinstance(action, Fork):
                self.branches[action.binding.device] = action.branch
            if not isinstance(action, Note):
                self.waiting.append(action)

    def _nothing_left(self) -> None:
        if self.waiting:
            self._fail(f"unexpected {self.waiting}")

    def _fail(self, text: str) -> None:
        raise AssertionError("\n".join([*self.history, text]))
