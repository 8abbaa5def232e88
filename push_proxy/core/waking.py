"""Bringing devices back: what pushes, registrations, reports and time do to an open call.

Each function takes one fact and answers (state, actions). None of them ends the call:
`wake` asks afterwards whether any device can still come.
"""

from dataclasses import replace

from .actions import Action, Note, Reply, SendTrying
from .deadlines import first_push_at, give_up_at, second_push_at
from .events import AppActed, AppAction, AppEvent, AppReported, PushAnswered, PushOutcome
from .forking import Answer
from .ids import DeviceId, Instant
from .model import Binding, Ringing
from .part import Part, Reach, push_answered, reach, registered
from .reaching import Done, cancel_branch, cancel_device, push, ring
from .wake_state import Live

_ANSWERS = {
    AppAction.DECLINE: Answer(status=603, reason="Decline"),
    AppAction.BUSY: Answer(status=486, reason="Busy Here"),
}
_REPORTS = {
    AppEvent.PUSH_RECEIVED: "push_received",
    AppEvent.UI_SHOWN: "ui_shown",
    AppEvent.REGISTERED: "app_registered",
    AppEvent.FAILED: "app_failed",
}


def stored(live: Live, *, ok: bool) -> Done:
    """The held INVITE is durable, or cannot be: the call goes on either way."""
    live = replace(live, stored=ok)
    notes = (Note("invite_stored") if ok else Note("invite_not_stored"),)
    if live.ringing_told:
        return live, notes
    live, ringing = tell_ringing(live)
    return live, (SendTrying(), *notes, *ringing)


def tell_ringing(live: Live) -> Done:
    """Let the caller hear ringing, if policy says that the time has come.

    Not before the INVITE is durable: a provisional stops the PBX's retransmissions. Never when
    it requires 100rel, for ours could not be acknowledged (RFC 3262 §3).
    """
    if live.ringing_told or live.stored is None or live.invite.requires_100rel:
        return live, ()
    policy = live.settings.ringing
    taken = any(part.accepted_at is not None for part in live.parts)
    if policy is Ringing.DEVICE_RINGS or (policy is Ringing.PUSH_ACCEPTED and not taken):
        return live, ()
    return replace(live, ringing_told=True), (Reply(status=180, reason="Ringing"), Note("ringing"))


def pushed(live: Live, event: PushAnswered, now: Instant) -> Done:
    """A provider has answered a call push."""
    part = live.part(event.device)
    if part is None or event.push not in part.pending:
        return live, ()
    live = live.with_part(push_answered(part, event.push, event.outcome, now, reason=event.reason))
    notes = (Note(f"push_{event.outcome.value}", event.device, event.reason),)
    if event.outcome is not PushOutcome.ACCEPTED:
        live, orders = _ring_unpushed(live, event.device, now)
        return live, (*notes, *orders)
    live, ringing = tell_ringing(live)
    return live, (*notes, *ringing)


def _ring_unpushed(live: Live, device: DeviceId, now: Instant) -> Done:
    """No push brings the device: if it is registered it may be awake, and is rung there."""
    part = live.part(device)
    if part is None or part.binding is None or part.answer is not None:
        return live, ()
    tried = any(branch.on_flow_of(part.binding) for branch in live.branches)
    return (live, ()) if tried or part.awaited or part.given_up else ring(live, part.binding, now)


def bound(live: Live, binding: Binding, now: Instant) -> Done:
    """A device has registered: ring it there, unless its part is over.

    It may be one that had not been there when the INVITE came.
    """
    part = live.part(binding.device) or Part(device=binding.device, reached_at=now)
    live = live.with_part(registered(part, binding, now))
    notes: tuple[Action, ...] = (Note("registered", binding.device, str(binding.source)),)
    if part.answer is not None:
        return live, notes
    live, orders = ring(live, binding, now)
    return live, (*notes, *orders)


def unbound(live: Live, device: DeviceId, now: Instant) -> Done:
    """A device's binding is gone. An INVITE already sent may still be answered.

    One that waited for others is pushed instead, if no push has gone to it.
    """
    part = live.part(device)
    if part is None:
        return live, ()
    waited = part.held_since is not None
    part = replace(part, binding=None, registered=False, held_since=None)
    live = live.with_part(part)
    orders: tuple[Action, ...] = ()
    if waited and part.pushable and part.pushes == 0 and part.answer is None:
        live, orders = push(live, part, now)
    return live, (Note("unregistered", device), *orders)


def reported(live: Live, event: AppReported, now: Instant) -> Done:
    """The app says by HTTP how far it has got: a sign of life, whatever it says."""
    part = live.part(event.device)
    if part is None:
        return live, ()
    return live.with_part(reach(part, Reach.WOKE, now)), (report_note(event),)


def report_note(event: AppReported) -> Note:
    """The timeline's line for a report."""
    return Note(_REPORTS[event.event], event.device, event.detail)


def acted(live: Live, event: AppActed) -> Done:
    """The person has refused on the push screen: this device's part is over."""
    part = live.part(event.device)
    if part is None or part.answer is not None:
        return live, ()
    live = live.with_part(replace(part, answer=_ANSWERS[event.action]))
    live, cancel = cancel_device(live, event.device)
    return live, (*cancel, Note(f"app_{event.action.value}", event.device))


def token_rotated(live: Live, device: DeviceId, now: Instant) -> Done:
    """The pushed token is no longer the device's: push again to the new one.

    A device that has registered needs no push, and one not yet pushed will get the new token.
    """
    part = live.part(device)
    if part is None or part.pushes == 0 or part.registered or part.answer is not None:
        return live, ()
    branch = live.open_of(device)
    return (live, ()) if branch is not None and branch.heard else push(live, part, now)


def time_passed(live: Live, now: Instant) -> Done:
    """Do whatever is due by now: first what ends, so that nothing begins too late."""
    actions: tuple[Action, ...] = ()
    for branch in live.branches:
        if branch.open and now >= branch.timer_c_at:
            live, more = cancel_branch(live, branch)
            live = _timed_out(live, branch.device)
            actions += (*more, Note("timer_c", branch.device))
    for part in live.parts:
        if _due(give_up_at(live, part), now):
            live, more = cancel_device(live.with_part(replace(part, given_up=True)), part.device)
            actions += (*more, Note("given_up", part.device))
    for part in live.parts:
        if _due(first_push_at(live, part), now):
            live, more = push(live, part, now)
            actions += more
        elif _due(second_push_at(live, part), now):
            live, more = push(live, replace(part, repushed=True), now)
            actions += more
    return live, actions


def _due(at: Instant | None, now: Instant) -> bool:
    return at is not None and now >= at


def _timed_out(live: Live, device: DeviceId) -> Live:
    """Timer C: the branch counts as answered with 408 (RFC 3261 §16.8)."""
    part = live.part(device)
    if part is None or part.answer is not None:
        return live
    return live.with_part(replace(part, answer=Answer(status=408, reason="Request Timeout")))
