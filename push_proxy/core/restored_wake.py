"""A wake after a restart: its state made anew from what was kept, and what follows at once.

The wake goes on with the deadline that it had. Whoever may have been rung is rung at once: by the
same seed the INVITE has the same branch, so that a phone that has it takes it for a retransmission
and says again what it said. Whoever was pushed and has not registered is waited for; it tried to
register while nobody was there, perhaps, so it is pushed once more where its provider allows that.
A push of which nobody knows whether it left is repeated under its own name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from . import together
from .actions import Action, Note
from .events import CallerLost, Candidate, Invite, PushOutcome, TimePassed, WakeSettings
from .forking import Answer, instance_of, open_branches
from .held import USUAL_ATTEMPT
from .ids import DeviceId, Instant
from .model import Binding, HeldDevice
from .part import Part, Reach, part_of, reach
from .reaching import Done, push, ring
from .wake import Step, step
from .wake_state import Live
from .waking import tell_ringing

ANSWER_S = 2.0
"""So long a phone that has the INVITE is given to say so again, whatever the wake's deadline."""
RETURN_S = 15.0
"""The same for one whose connection has ended with the former life."""


def restored(
    invite: Invite,
    held: Iterable[HeldDevice],
    candidates: tuple[Candidate, ...],
    settings: WakeSettings,
    now: Instant,
    *,
    rang: frozenset[DeviceId] = frozenset(),
) -> Step:
    """The call that was held goes on, or ends as it would have ended meanwhile.

    ``candidates`` are the account's devices as they stand now, ``held`` what was kept of those
    that took part, ``rang`` those that are known to have rung.
    """
    live = _live(invite, tuple(held), candidates, settings, now, rang=rang)
    actions: tuple[Action, ...] = (Note("node_restarted"),)
    if live.expires_at is None or now < live.expires_at:
        live, more = _go_on(live, candidates, now)
        live, ringing = tell_ringing(live)
        actions += (*more, *ringing)
    state, last = step(live, TimePassed(), now)
    return state, (*actions, *last)


def lost(
    invite: Invite,
    held: Iterable[HeldDevice],
    candidates: tuple[Candidate, ...],
    settings: WakeSettings,
    now: Instant,
    *,
    reason: str,
    rang: frozenset[DeviceId] = frozenset(),
) -> Step:
    """The call that was held cannot go on here: its transaction at the PBX is out of reach.

    Every phone that was pushed is told: its INVITE, if it had one, came from a life that is over.
    """
    live = _live(invite, tuple(held), candidates, settings, now, rang=rang)
    parts = tuple(replace(part, registered=False, returns_by=None) for part in live.parts)
    state, actions = step(replace(live, parts=parts, gathering=False), CallerLost(reason), now)
    return state, (Note("node_restarted"), *actions)


def _live(
    invite: Invite,
    held: tuple[HeldDevice, ...],
    candidates: tuple[Candidate, ...],
    settings: WakeSettings,
    now: Instant,
    *,
    rang: frozenset[DeviceId],
) -> Live:
    former = {device.device: device for device in held}
    here = {candidate.device for candidate in candidates}
    parts = [
        _part(candidate, former.get(candidate.device), invite, now, rang=rang)
        for candidate in candidates
    ]
    # Devices that are gone: what they have answered counts.
    parts += [_gone(device, invite) for device in held if device.device not in here]
    attempts: dict[str, int] = {}
    for phone, attempt in (part.former for part in parts if part.former is not None):
        attempts[phone] = max(attempt, attempts.get(phone, 0))
    live = Live(
        invite=invite,
        settings=settings,
        parts=tuple(_newest_of_phone(part, attempts) for part in parts),
        stored=True,
        rang=bool(rang),
        attempted=tuple(attempts.items()),
    )
    begun = together.begun(live)
    rung = any(device.attempt for device in held) or bool(rang)
    return live if rung or now >= together.ends_at(live) else begun


def _newest_of_phone(part: Part, attempts: Mapping[str, int]) -> Part:
    """A phone of several names has one INVITE: the last that it was sent, to whichever name."""
    if part.former is None:
        return part
    phone, _ = part.former
    return replace(part, former=(phone, attempts[phone]))


def _gone(device: HeldDevice, invite: Invite) -> Part:
    return _remembered(Part(device=device.device, reached_at=invite.received_at), device, invite)


def _part(
    candidate: Candidate,
    device: HeldDevice | None,
    invite: Invite,
    now: Instant,
    *,
    rang: frozenset[DeviceId],
) -> Part:
    part = replace(part_of(candidate, now), reached_at=invite.received_at)
    if device is not None:
        part = _remembered(part, device, invite)
    binding = candidate.binding
    came = binding is not None and binding.heard_at >= invite.received_at
    if came or candidate.device in rang:
        part = reach(part, Reach.RANG if candidate.device in rang else Reach.REGISTERED, now)
    part = replace(part, registered=came and candidate.flow)
    had_invite = came or candidate.device in rang or (device is not None and device.attempt > 0)
    if not had_invite or part.answer is not None:
        return part
    within_s = ANSWER_S if candidate.flow else RETURN_S
    invite_again = _invite_of(device, binding)
    return replace(part, returns_by=Instant(now + within_s), former=invite_again)


def _invite_of(device: HeldDevice | None, binding: Binding | None) -> tuple[str, int] | None:
    phone = device.phone if device is not None else ""
    if not phone and binding is not None:
        phone = instance_of(binding)
    attempt = USUAL_ATTEMPT if device is None else max(device.attempt, USUAL_ATTEMPT)
    return (phone, attempt) if phone else None


def _remembered(part: Part, device: HeldDevice, invite: Invite) -> Part:
    at = device.accepted_at or device.pushed_at or invite.received_at
    return replace(
        part,
        reached=Reach(device.reached),
        reached_at=at,
        pushes=device.pushes,
        pushed_at=device.pushed_at,
        accepted_at=device.accepted_at,
        repushed=device.pushes > 1,
        failure=PushOutcome(device.failure) if device.failure else None,
        failure_reason=device.failure_reason,
        given_up=device.given_up,
        answer=Answer(status=device.status, reason=device.reason) if device.status else None,
    )


def _go_on(live: Live, candidates: tuple[Candidate, ...], now: Instant) -> Done:
    actions: tuple[Action, ...] = ()
    ended = now >= live.wake_deadline
    for candidate in candidates:
        part = live.part(candidate.device)
        if part is None or part.answer is not None or part.given_up:
            continue
        if part.binding is not None and _is_rung(part, candidate):
            # Nothing is heard yet: by another name of its phone the INVITE would move away.
            rings = open_branches(live.branches, part.binding)
            live, more = (live, ()) if rings else ring(live, part.binding, now)
        elif ended or part.registered:
            more = ()
        else:
            live, more = _push(live, part, now)
        actions += more
    return live, actions


def _is_rung(part: Part, candidate: Candidate) -> bool:
    return part.former is not None or part.registered or candidate.fresh or not candidate.pushable


def _push(live: Live, part: Part, now: Instant) -> Done:
    """A push for one that has not come, by what is known of the one before the restart."""
    if not part.pushable or part.failure is not None:
        return live, ()
    if part.pushes == 0:
        return push(live, part, now)
    if part.accepted_at is None:
        # It may never have left. By its own name the receiver knows it again.
        return push(live, replace(part, pushes=part.pushes - 1), now)
    if not part.repush or part.repushed:
        return live, ()
    return push(live, replace(part, repushed=True), now)
