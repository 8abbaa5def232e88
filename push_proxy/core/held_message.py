"""A MESSAGE from the PBX that waits for a device: woken, registered, delivered once (RFC 3428).

::

                awake device: sent there           its answer
    start ---> Waiting ----------------------------------------> Ended (delivered, refused)
                  |  all sleep: all are pushed,         nobody came, or can come:
                  |  the first that registers gets it   480, at the deadline or before
                  +-------------------------------------------------------------------^

It goes to one device at a time. One that says nothing for `Hold.answer_s` is in doubt: the
others are pushed, and whoever comes gets it too, for a message that two devices show is better
than one that is lost. A refusal goes back to the PBX, unless another device has it as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from .actions import Fork, PushType, Relay, Reply, SendPush, SendTrying
from .events import (
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
from .forking import instance_of, is_flow_failure
from .ids import BranchId, CallId, DeviceId, Instant, ResponseId
from .model import Address, Binding
from .part import push_id

MOST_S = 25.0
"""A PBX gives its MESSAGE up after 32 s (Timer F, RFC 3261 §17.1.2.2)."""
_TRYING_S = 3.5
"""100 for a request that is no INVITE not before its Timer E has reached T2 (RFC 4320 §4.1)."""


class MessageResult(StrEnum):
    """What became of a MESSAGE."""

    DELIVERED = "delivered"
    EXPIRED = "expired"
    """Nobody came in time."""
    REFUSED = "refused"
    """By the device, or by us: nobody to wake, or too many wait."""
    KEPT = "kept"
    """Accepted (202) and in the store."""
    DROPPED = "dropped"
    """The PBX is gone, the service stops, or a device will never take what was kept."""


@dataclass(frozen=True, slots=True)
class MessageEnded:
    """The MESSAGE has its final response, or nobody waits for one."""

    result: MessageResult
    reason: str
    device: DeviceId | None = None


HoldAction = Fork | Relay | Reply | SendPush | SendTrying | MessageEnded
HoldEvent = (
    BranchFailed
    | CallerLost
    | DeviceRegistered
    | DeviceUnregistered
    | GivingUp
    | PushAnswered
    | ResponseReceived
    | TimePassed
    | TokenRotated
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One MESSAGE that is to be held."""

    message: CallId
    """A UUID of ours, for the names of its pushes."""
    received_at: Instant
    hold_s: float
    """So long it may wait for a device."""
    answer_s: float = 2.0
    """A device that has said nothing for so long is in doubt."""

    @property
    def until(self) -> Instant:
        """When the PBX gets its 480."""
        return Instant(self.received_at + min(self.hold_s, MOST_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One device, as far as this MESSAGE goes."""

    device: DeviceId
    pushable: bool = False
    binding: Binding | None = None
    """Where it is registered, awake or not; None: nowhere, or its connection is gone."""
    awake: bool = False
    pushes: int = 0
    pushed: bool = False
    """A push of ours is under way to it, or was taken."""
    returns: bool = False
    """Its connection has just broken: it is probably about to make another one."""

    @property
    def awaited(self) -> bool:
        """Whether it may still come."""
        return self.pushed or self.returns


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """The MESSAGE as sent to one device; `BranchId` n at place n - 1."""

    id: BranchId
    device: DeviceId
    instance: str
    contact: str
    source: Address
    at: Instant
    over: bool = False
    """It has failed, or was refused: nothing more comes of it, except a late 2xx."""
    refused: bool = False
    """By the device itself."""
    heard: bool = False
    """A provisional response has come."""
    doubted: bool = False
    """It has been silent for too long: others may have the MESSAGE."""

    def is_at(self, binding: Binding) -> bool:
        """Whether it went where this binding leads."""
        return (self.source, self.contact) == (binding.source, binding.contact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """No final response yet."""

    hold: Hold
    targets: tuple[Target, ...]
    tries: tuple[Try, ...] = ()
    trying_said: bool = False
    refusal: tuple[BranchId, ResponseId, int] | None = None
    """What one device has refused it with, while another one has it as well."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It has its final response: what comes now is too late."""


HoldState = Waiting | Ended
Step = tuple[HoldState, tuple[HoldAction, ...]]
_Done = tuple[Waiting, tuple[HoldAction, ...]]


def start(hold: Hold, candidates: Iterable[Candidate], now: Instant) -> Step:
    """A MESSAGE has come for an account with these devices.

    Awake is who was heard a moment ago, or can be reached in no other way.
    """
    state = Waiting(hold=hold, targets=tuple(map(_target, candidates)))
    return _go_on(_next(state, now), now)


def step(state: HoldState, event: HoldEvent, now: Instant) -> Step:
    """What follows from one event."""
    if isinstance(state, Ended):
        return state, ()
    match event:
        case ResponseReceived():
            return _responded(state, event, now)
        case BranchFailed():
            return _go_on(_failed(state, event.branch, now), now)
        case DeviceRegistered():
            return _go_on(_registered(state, event.binding, now), now)
        case DeviceUnregistered():
            return _go_on((_unregistered(state, event.device), ()), now)
        case PushAnswered():
            return _go_on(_pushed(state, event, now), now)
        case TokenRotated():
            return _token_rotated(state, event.device, now)
        case TimePassed():
            return _time_passed(state, now)
        case CallerLost():
            return Ended(), (MessageEnded(MessageResult.DROPPED, "pbx_lost"),)
        case GivingUp():
            reply = Reply(status=503, reason="Service Unavailable", headers=(("Retry-After", "5"),))
            return Ended(), (reply, MessageEnded(MessageResult.DROPPED, event.reason))
        case _:
            assert_never(event)


def deadline(state: HoldState) -> Instant | None:
    """When time itself changes something; None: never."""
    if isinstance(state, Ended):
        return None
    due = [state.hold.until]
    if not state.trying_said:
        due.append(Instant(state.hold.received_at + _TRYING_S))
    due += [_doubt_at(state, each) for each in state.tries if _is_fresh(each)]
    return min(due)


def _target(candidate: Candidate) -> Target:
    flow = candidate.binding is not None and candidate.flow
    return Target(
        device=candidate.device,
        pushable=candidate.pushable,
        binding=candidate.binding if flow else None,
        awake=flow and (candidate.fresh or not candidate.pushable),
        returns=candidate.returns,
    )


# sending


def _next(state: Waiting, now: Instant) -> _Done:
    """To the awake device that was heard last and has not had it; without one, all are pushed."""
    awake = [
        target.binding
        for target in state.targets
        if target.awake and target.binding is not None and not _had(state, target.binding)
    ]
    if awake:
        return _send(state, max(awake, key=lambda binding: binding.heard_at), now)
    return _push_all(state, now)


def _send(state: Waiting, binding: Binding, now: Instant) -> _Done:
    made = Try(
        id=BranchId(len(state.tries) + 1),
        device=binding.device,
        instance=instance_of(binding),
        contact=binding.contact,
        source=binding.source,
        at=now,
    )
    state = replace(state, tries=(*state.tries, made))
    return state, (Fork(branch=made.id, binding=binding),)


def _push_all(state: Waiting, now: Instant) -> _Done:
    actions: tuple[HoldAction, ...] = ()
    for target in state.targets:
        if target.pushable and target.pushes == 0:
            state, more = _push(state, target, now)
            actions += more
    return state, actions


def _push(state: Waiting, target: Target, now: Instant) -> _Done:
    hold = state.hold
    if now >= hold.until:
        return state, ()
    number = target.pushes + 1
    order = SendPush(
        device=target.device,
        push=push_id(hold.message, target.device, f"{PushType.MESSAGE}/{number}"),
        type=PushType.MESSAGE,
        deadline_s=hold.until - now,
    )
    return _with_target(state, replace(target, pushes=number, pushed=True)), (order,)


# what happens


def _responded(state: Waiting, event: ResponseReceived, now: Instant) -> Step:
    each = _try(state, event.branch)
    if each is None:
        return state, ()
    if 200 <= event.status < 300:
        relay = Relay(branch=event.branch, response=event.response)
        return Ended(), (relay, MessageEnded(MessageResult.DELIVERED, "", each.device))
    if each.over:
        return state, ()
    if event.status < 200:
        return _with_try(state, replace(each, heard=True, doubted=False)), ()
    if event.local or is_flow_failure(status=event.status, local=event.local):
        return _go_on(_failed(state, event.branch, now), now)
    if event.status == 482 and (former := _former(state, each)) is not None:
        # It has this very MESSAGE by its former flow (RFC 3261 §8.2.2.2): that answer counts.
        state = _with_try(state, replace(former, over=False, heard=True, doubted=False))
        return _with_try(state, replace(each, over=True)), ()
    state = _with_try(state, replace(each, over=True, refused=True))
    state = replace(state, refusal=(event.branch, event.response, event.status))
    if event.status < 600 and any(not other.over for other in state.tries):
        return state, ()
    return _end(state, "")


def _failed(state: Waiting, branch: BranchId, now: Instant) -> _Done:
    """Nobody is behind that flow: the phone sleeps, or comes by another one."""
    each = _try(state, branch)
    if each is None or each.over:
        return state, ()
    state = _with_try(state, replace(each, over=True))
    target = _target_of(state, each.device)
    if target is not None and target.binding is not None and each.is_at(target.binding):
        state = _with_target(state, replace(target, awake=False, returns=True))
    return (state, ()) if _in_good_hands(state) else _next(state, now)


def _registered(state: Waiting, binding: Binding, now: Instant) -> _Done:
    """It gets the MESSAGE, unless another device has just got it, or it has it itself."""
    target = _target_of(state, binding.device) or Target(device=binding.device)
    state = _with_target(state, replace(target, binding=binding, awake=True, returns=False))
    moved = [
        replace(each, over=True)
        for each in state.tries
        if not each.over
        and not each.heard
        and each.instance == instance_of(binding)
        and not each.is_at(binding)
    ]
    for each in moved:
        state = _with_try(state, each)
    if _in_good_hands(state) or any(
        each.refused if each.over else each.is_at(binding)
        for each in state.tries
        if each.instance == instance_of(binding)
    ):
        return state, ()
    return _send(state, binding, now)


def _unregistered(state: Waiting, device: DeviceId) -> Waiting:
    target = _target_of(state, device)
    if target is None:
        return state
    return _with_target(state, replace(target, binding=None, awake=False))


def _pushed(state: Waiting, event: PushAnswered, now: Instant) -> _Done:
    """A provider has answered. Who cannot be pushed may be awake where it is registered."""
    target = _target_of(state, event.device)
    number = 0 if target is None else target.pushes
    name = push_id(state.hold.message, event.device, f"{PushType.MESSAGE}/{number}")
    if target is None or event.push != name or event.outcome is PushOutcome.ACCEPTED:
        return state, ()
    state = _with_target(state, replace(target, pushed=False))
    binding = target.binding
    if binding is None or _had(state, binding) or _in_good_hands(state):
        return state, ()
    return _send(state, binding, now)


def _token_rotated(state: Waiting, device: DeviceId, now: Instant) -> Step:
    target = _target_of(state, device)
    if target is None or target.pushes == 0 or target.awake:
        return state, ()
    return _push(state, replace(target, pushable=True), now)


def _time_passed(state: Waiting, now: Instant) -> Step:
    if now >= state.hold.until:
        return _end(state, "not_woken")
    actions: tuple[HoldAction, ...] = ()
    if not state.trying_said and now >= state.hold.received_at + _TRYING_S:
        state, actions = replace(state, trying_said=True), (SendTrying(),)
    silent = [each for each in state.tries if _is_fresh(each) and now >= _doubt_at(state, each)]
    for each in silent:
        state = _with_try(state, replace(each, doubted=True))
    if silent and not _in_good_hands(state):
        state, pushes = _next(state, now)
        actions += pushes
    return state, actions


# the end


def _go_on(done: _Done, now: Instant) -> Step:
    """Wait on while anybody may still take it."""
    state, actions = done
    if any(not each.over for each in state.tries) or (
        now < state.hold.until and any(target.awaited for target in state.targets)
    ):
        return state, actions
    reached = state.tries or any(target.pushes for target in state.targets)
    ended, more = _end(state, "not_woken" if reached else "no_device")
    return ended, (*actions, *more)


def _end(state: Waiting, reason: str) -> Step:
    """The best that can be said: a device's own refusal, else 480 (RFC 4320 §4.2: never 408)."""
    if state.refusal is None:
        reply = Reply(
            status=480, reason="Temporarily Unavailable", headers=(("X-Push-Reason", reason),)
        )
        result = MessageResult.EXPIRED if reason == "not_woken" else MessageResult.REFUSED
        return Ended(), (reply, MessageEnded(result, reason))
    branch, response, status = state.refusal
    each = _try(state, branch)
    answer: HoldAction = Relay(branch=branch, response=response)
    if status == 503:
        # It would make the PBX avoid us, not the device (RFC 3261 §16.7 step 6).
        answer = Reply(status=500, reason="Server Internal Error")
    device = each.device if each is not None else None
    return Ended(), (answer, MessageEnded(MessageResult.REFUSED, str(status), device))


# reading and changing the state


def _had(state: Waiting, binding: Binding) -> bool:
    return any(each.is_at(binding) for each in state.tries)


def _is_fresh(each: Try) -> bool:
    return not (each.over or each.heard or each.doubted)


def _in_good_hands(state: Waiting) -> bool:
    """A device has it, and there is no reason yet to think that it does not answer."""
    return any(not each.over and not each.doubted for each in state.tries)


def _doubt_at(state: Waiting, each: Try) -> Instant:
    return Instant(each.at + state.hold.answer_s)


def _try(state: Waiting, branch: BranchId) -> Try | None:
    return state.tries[branch - 1] if 0 < branch <= len(state.tries) else None


def _former(state: Waiting, each: Try) -> Try | None:
    """The one before it to the same phone."""
    same = (other for other in state.tries if other.instance == each.instance)
    return max((o for o in same if o.id < each.id), key=lambda other: other.id, default=None)


def _with_try(state: Waiting, each: Try) -> Waiting:
    place = each.id - 1
    return replace(state, tries=(*state.tries[:place], each, *state.tries[place + 1 :]))


def _target_of(state: Waiting, device: DeviceId) -> Target | None:
    return next((target for target in state.targets if target.device == device), None)


def _with_target(state: Waiting, target: Target) -> Waiting:
    if any(old.device == target.device for old in state.targets):
        targets = tuple(target if t.device == target.device else t for t in state.targets)
    else:
        targets = (*state.targets, target)
    return replace(state, targets=targets)
