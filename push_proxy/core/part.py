"""One device's part in one call: how far it got, and what may still come of it.

::

    NOTHING -> PUSHED -> ACCEPTED -> WOKE -> REGISTERED -> RANG
               push      provider    app      SIP heard     18x
               sent      took it     reported from it

A part only ever gets further. It is over with an `Answer`: the device's own final response,
or what its owner did on the push screen.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from uuid import UUID, uuid5

from .actions import PushType
from .events import Candidate, PushOutcome
from .forking import Answer
from .ids import CallId, DeviceId, Instant, PushId
from .model import Binding

_PUSHES = UUID("6f3a52de-26a5-4d0c-9b0b-3c1c4b2f7a51")


class Reach(IntEnum):
    """How far a device got on its way to the call."""

    NOTHING = 0
    PUSHED = 1
    ACCEPTED = 2
    WOKE = 3
    REGISTERED = 4
    RANG = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One device's part."""

    device: DeviceId
    pushable: bool = False
    repush: bool = False
    """Its provider takes a second push for the same call."""
    late_invite: bool = False
    """It shows the call at the push, before any SIP."""
    reached: Reach = Reach.NOTHING
    reached_at: Instant
    binding: Binding | None = None
    """Its newest, whether or not it was heard in this call."""
    registered: bool = False
    """It registered since the INVITE came, and that flow has not failed."""
    returns_by: Instant | None = None
    """Its flow is gone, and it has not registered again: until when we wait for that."""
    held_since: Instant | None = None
    """It is awake and waits to be rung together with others (`core.together`)."""
    rung_at: Instant | None = None
    """When that waiting was over: its own time begins then."""
    pushes: int = 0
    """Call pushes sent so far."""
    pending: tuple[PushId, ...] = ()
    """Those that the provider has not answered."""
    pushed_at: Instant | None = None
    """When the newest one left."""
    accepted_at: Instant | None = None
    """When the provider first took one."""
    repushed: bool = False
    failure: PushOutcome | None = None
    """Why the provider did not take the newest push."""
    failure_reason: str = ""
    """As the provider named it: bounded."""
    woke_at: Instant | None = None
    """When SIP was first heard from it after a push of this call."""
    given_up: bool = False
    """We no longer wait for it; it may still come."""
    answer: Answer | None = None
    token_fault: str = ""
    """Why its push token had ended before the INVITE came."""
    former: tuple[str, int] | None = None
    """Phone and attempt of an INVITE from before a restart, which is to be sent once more."""

    @property
    def silent(self) -> bool:
        """No sign of life since the INVITE came: neither SIP from it nor a report."""
        return self.reached < Reach.WOKE

    @property
    def awaited(self) -> bool:
        """Whether it may still come, by a push of ours or by itself (the deadline apart)."""
        return (
            self.answer is None
            and not self.given_up
            and (
                bool(self.pending)
                or self.accepted_at is not None
                or self.returns_by is not None
                or self.held_since is not None
            )
        )

    @property
    def sleeps(self) -> bool:
        """Whether it may still wake."""
        return self.awaited and self.held_since is None

    @property
    def needs_farewell(self) -> bool:
        """Whether it may show a call that only a terminal push can take from its screen.

        A registered one hears by SIP, unless it was never rung because it waited for others;
        one whose owner refused knows; a push that the provider refused was never seen.
        """
        refused = self.failure in {PushOutcome.REJECTED, PushOutcome.MISCONFIGURED}
        return (
            self.pushes > 0
            and (not self.registered or self.held_since is not None)
            and self.answer is None
            and not (refused and self.accepted_at is None and not self.pending)
        )


def part_of(candidate: Candidate, now: Instant) -> Part:
    """A device's part as the INVITE comes."""
    return Part(
        device=candidate.device,
        pushable=candidate.pushable,
        repush=candidate.repush,
        late_invite=candidate.late_invite,
        binding=candidate.binding if candidate.flow else None,
        reached_at=now,
        token_fault=candidate.token_fault,
    )


def reach(part: Part, level: Reach, now: Instant) -> Part:
    """The part has got as far as ``level``; less than before changes nothing."""
    if level >= Reach.REGISTERED and part.pushes > 0 and part.woke_at is None:
        part = replace(part, woke_at=now)
    return part if part.reached >= level else replace(part, reached=level, reached_at=now)


def push_id(call: CallId, device: DeviceId, what: str) -> PushId:
    """The name of a push: made from what it is for, so that equal histories are equal."""
    return PushId(str(uuid5(_PUSHES, f"{call}/{device}/{what}")))


def pushed(part: Part, call: CallId, now: Instant) -> tuple[Part, PushId]:
    """One more call push leaves for the device."""
    push = push_id(call, part.device, f"{PushType.CALL}/{part.pushes + 1}")
    part = replace(
        reach(part, Reach.PUSHED, now),
        pushes=part.pushes + 1,
        pending=(*part.pending, push),
        pushed_at=now,
        given_up=False,
        held_since=None,
    )
    return part, push


def push_answered(
    part: Part, push: PushId, outcome: PushOutcome, now: Instant, *, reason: str = ""
) -> Part:
    """The provider has answered one of the pending pushes.

    A refusal of the old token does not undo a push to the new one, nor one that was taken.
    """
    pending = tuple(other for other in part.pending if other != push)
    if outcome is not PushOutcome.ACCEPTED:
        return replace(part, pending=pending, failure=outcome, failure_reason=reason)
    accepted_at = now if part.accepted_at is None else part.accepted_at
    return replace(
        reach(part, Reach.ACCEPTED, now),
        pending=pending,
        accepted_at=accepted_at,
        failure=None,
        failure_reason="",
    )


def registered(part: Part, binding: Binding, now: Instant) -> Part:
    """Its REGISTER has been answered 2xx."""
    return replace(
        reach(part, Reach.REGISTERED, now),
        binding=binding,
        registered=True,
        returns_by=None,
        given_up=False,
    )
