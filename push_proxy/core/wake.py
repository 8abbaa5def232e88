"""The wake: bringing the devices of an account back for one call, and forking it to them.

::

                 +------------------- Live -------------------+
    start ------>|  devices are pushed, register, are rung    |
      |          |  first 18x of a device: waking -> ringing  |
      |          +-+------------+-----------------------+-----+
      |            |            |                       |
      | no device  | 2xx,       | 6xx from one device   | no device can come
      | at all     | CANCEL,    v  while others ring    | any more: best answer,
      |            | PBX lost   Settling                | or 480 X-Push-Reason
      |            |            | 2xx, CANCEL, PBX lost,|
      |            |            | all final, or 1 s     |
      v            v            v                       v
      +----------------------> Ended <------------------+
                               late 2xx: ACK and BYE

Everything that changes a wake's state is decided here and in the modules this is made of:
`waking` (push and REGISTER), `ringing` (responses), `reaching` (how a device is reached),
`together` (who waits for whom), `ending`, `unheard` and `outcome`, `deadlines`, upon the values
of `part`, `forking` and `wake_state`.

`step` answers every event in every state. Keep the new state before carrying out the actions:
so the wait is armed before a push leaves, and a REGISTER that overtakes the push's answer
finds it.

One state for waking and ringing, because a call does both at once: one phone rings while
another still wakes.
"""

from dataclasses import replace
from typing import assert_never

from . import ending, policy_answer, reaching, ringing, together, unheard, waking
from .actions import (
    AckAndBye,
    Action,
    ForgetInvite,
    LateInvite,
    Note,
    SendTrying,
    StoreInvite,
)
from .deadlines import deadline
from .events import (
    AnsweredBefore,
    AppActed,
    AppReported,
    BranchFailed,
    CallerCancelled,
    CallerLost,
    Candidate,
    DeviceRegistered,
    DeviceUnregistered,
    Event,
    GivingUp,
    Invite,
    InviteStored,
    PushAnswered,
    ResponseReceived,
    TimePassed,
    TokenRotated,
    WakeSettings,
)
from .forking import is_flow_failure
from .ids import Instant
from .part import part_of
from .wake_state import Ended, Live, Settling, State

__all__ = ["Ended", "Live", "Settling", "State", "Step", "deadline", "start", "step"]

Step = tuple[State, tuple[Action, ...]]


def start(
    invite: Invite, candidates: tuple[Candidate, ...], settings: WakeSettings, now: Instant
) -> Step:
    """An INVITE has come for an account with these devices.

    Fresh devices, and those that can only be reached at their binding, are rung at once; all
    others are pushed at once. A call that the account's policy takes reaches nobody.
    """
    notes, result = policy_answer.at_invite(invite.case)
    actions: tuple[Action, ...] = (Note("invite_received"), *notes)
    if result is not None:
        return ending.ruled(Live(invite=invite, settings=settings), actions, result, now)
    if invite.expires_s == 0:
        # Over as it comes (RFC 3261 §13.3.1): no push would leave.
        live = Live(invite=invite, settings=settings, stored=False)
        ended, ending_it = ending.expired(live, now)
        return ended, (*actions, Note("not_pushed", detail="expired"), *ending_it)
    parts = tuple(part_of(candidate, now) for candidate in candidates)
    live = together.begun(Live(invite=invite, settings=settings, parts=parts))
    for candidate, part in zip(candidates, parts, strict=True):
        if part.binding is not None and (candidate.fresh or not candidate.pushable):
            live, more = reaching.ring(live, part.binding, now)
        elif candidate.pushable:
            live, more = reaching.push(live, part, now)
        elif candidate.returns:
            live, more = live.with_part(replace(part, returns_by=live.wake_deadline)), ()
        else:
            more = ()
        actions += (*more, *_why_no_push(candidate))
    if not candidates:
        actions += (Note("not_pushed", detail="no_device"),)
    if not live.hopeful:
        return ending.exhausted(replace(live, stored=False), actions, now)
    live, rung = together.all_rung(live, now)
    return live, (*actions, *rung, StoreInvite())


def _why_no_push(candidate: Candidate) -> tuple[Action, ...]:
    """A call that leads to no push says why."""
    if candidate.token_fault:
        return (Note("token_dead", candidate.device, candidate.token_fault),)
    if not candidate.pushable:
        return (Note("not_pushed", candidate.device, candidate.unpushable or "no_token"),)
    if candidate.binding is not None and candidate.fresh:
        return (Note("not_pushed", candidate.device, "awake"),)
    return ()


def step(state: State, event: Event, now: Instant) -> Step:
    """What follows from one event."""
    match state:
        case Live():
            return _together(_live(state, event, now), now)
        case Settling():
            return _settling(state, event, now)
        case Ended():
            return _ended(state, event, now)


def _live(live: Live, event: Event, now: Instant) -> Step:  # noqa: C901, PLR0912 - a case per event
    match event:
        case ResponseReceived() if 200 <= event.status < 300:
            return ending.answered(live, event, now)
        case ResponseReceived():
            return _refuse_or_go_on(ringing.responded(live, event, now), now)
        case BranchFailed():
            return _go_on(ringing.responded(live, ringing.failed(event), now), now)
        case DeviceRegistered():
            return waking.bound(live, event.binding, now)
        case DeviceUnregistered():
            return _go_on(waking.unbound(live, event.device, now), now)
        case PushAnswered():
            return _go_on(waking.pushed(live, event, now), now)
        case AppReported():
            return waking.reported(live, event, now)
        case AppActed():
            return _go_on(waking.acted(live, event), now)
        case TokenRotated():
            return waking.token_rotated(live, event.device, now)
        case InviteStored():
            return waking.stored(live, ok=event.ok)
        case TimePassed() if live.expires_at is not None and now >= live.expires_at:
            return ending.expired(live, now)
        case TimePassed():
            return _go_on(waking.time_passed(live, now), now)
        case AnsweredBefore():
            return ending.answered_before(live, event, now)
        case CallerCancelled():
            return ending.cancelled(live, event.reason, now)
        case CallerLost():
            return ending.lost(live, event.reason, now)
        case GivingUp():
            return ending.given_up(live, event.reason, now)
        case _:
            assert_never(event)


def _together(done: Step, now: Instant) -> Step:
    """Whatever has happened, it may have been the last thing that others waited for."""
    state, actions = done
    if not isinstance(state, Live):
        return done
    state, rung = together.all_rung(state, now)
    return state, (*actions, *rung)


def _go_on(done: tuple[Live, tuple[Action, ...]], now: Instant) -> Step:
    """Wait on, or end at once when no device can come any more."""
    live, actions = done
    return (live, actions) if live.hopeful else ending.exhausted(live, actions, now)


def _refuse_or_go_on(done: tuple[Live, tuple[Action, ...]], now: Instant) -> Step:
    """As `_go_on`, but a 6xx takes hope from all (RFC 3261 §16.7 step 5)."""
    live, actions = done
    answers = (part.answer for part in live.parts if part.answer and part.answer.relayable)
    if not live.hopeful or all(answer.status < 600 for answer in answers):
        return _go_on(done, now)
    if not any(branch.open for branch in live.branches):
        return ending.exhausted(live, actions, now)
    return ending.settle(live, actions, now)


def _settling(settling: Settling, event: Event, now: Instant) -> Step:  # noqa: C901, PLR0912 - a case per event
    live = settling.live
    match event:
        case ResponseReceived() if 200 <= event.status < 300:
            return ending.answered(settling, event, now)
        case ResponseReceived():
            return _settled(replace(settling, live=ringing.noted(live, event)), now)
        case BranchFailed():
            failed = ringing.failed(event)
            return _settled(replace(settling, live=ringing.noted(live, failed)), now)
        case InviteStored():
            told = () if live.ringing_told else (SendTrying(),)
            return replace(settling, live=replace(live, stored=event.ok)), told
        case TimePassed() if live.expires_at is not None and now >= live.expires_at:
            return ending.expired(live, now)
        case TimePassed():
            return _settled(settling, now)
        case AnsweredBefore():
            return ending.answered_before(settling, event, now)
        case CallerCancelled():
            return ending.cancelled(live, event.reason, now)
        case CallerLost():
            return ending.lost(live, event.reason, now)
        case GivingUp():
            return ending.exhausted(live, (), now)
        case AppReported():
            return settling, (waking.report_note(event),)
        case AppActed():
            live, actions = waking.acted(live, event)
            return replace(settling, live=live), actions
        case PushAnswered() | DeviceRegistered() | DeviceUnregistered() | TokenRotated():
            return settling, ()
        case _:
            assert_never(event)


def _settled(settling: Settling, now: Instant) -> Step:
    live = settling.live
    if now < settling.until and any(branch.unfinished for branch in live.branches):
        return settling, ()
    return ending.exhausted(live, (), now)


def _came_late(ended: Ended, event: DeviceRegistered, now: Instant) -> Step:
    """Other apps ask for the call's fate by HTTP (docs/app-guide.md)."""
    device = event.binding.device
    note = Note("registered_late", device)
    if device not in ended.late or now >= ended.late_until:
        return ended, (note,)
    left = tuple(other for other in ended.late if other != device)
    order = LateInvite(binding=event.binding, reason=ended.late_reason)
    return replace(ended, late=left), (note, order, Note("late_invite_sent", device))


def _ended(ended: Ended, event: Event, now: Instant) -> Step:
    if not isinstance(event, ResponseReceived | BranchFailed) or event.branch not in ended.unheard:
        return _over(ended, event, now)
    ended, told = unheard.settled(ended, event, now)
    state, actions = _over(ended, event, now)
    return state, (*told, *actions)


def _over(ended: Ended, event: Event, now: Instant) -> Step:
    match event:
        case ResponseReceived() if event.branch in ended.unfinished and event.status >= 200:
            if is_flow_failure(status=event.status, local=event.local):
                return ended, ()  # its answer may come over another connection
            left = tuple(branch for branch in ended.unfinished if branch != event.branch)
            ended = replace(ended, unfinished=left)
            if event.status >= 300:
                return ended, ()
            bye = AckAndBye(branch=event.branch, response=event.response)
            return ended, (bye, Note("late_answer_ended", detail=f"branch {event.branch}"))
        case BranchFailed() if event.branch in ended.unfinished:
            left = tuple(branch for branch in ended.unfinished if branch != event.branch)
            return replace(ended, unfinished=left), ()
        case InviteStored() if ended.store_pending:
            forget = (ForgetInvite(),) if event.ok else ()
            return replace(ended, store_pending=False), forget
        case TimePassed() if now >= ended.until:
            return replace(ended, unfinished=(), store_pending=False, late=(), unheard=()), ()
        case AppReported():
            return ended, (waking.report_note(event),)
        case DeviceRegistered():
            return _came_late(ended, event, now)
        case ResponseReceived() | BranchFailed() | InviteStored() | TimePassed():
            return ended, ()
        case PushAnswered() | DeviceUnregistered() | AppActed() | TokenRotated():
            return ended, ()
        case AnsweredBefore() | CallerCancelled() | CallerLost() | GivingUp():
            return ended, ()
        case _:
            assert_never(event)
