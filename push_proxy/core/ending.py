"""The ways a call ends: exactly one final response, then only cleaning up.

The actions of an end come in this order: what the PBX gets, what the devices get, what is
forgotten, and the outcome.
"""

from dataclasses import replace

from . import outcome, policy_answer
from .actions import (
    Action,
    CancelBranch,
    Finish,
    ForgetInvite,
    LateInvite,
    Move,
    Note,
    Relay,
    Reply,
)
from .events import AnsweredBefore, ResponseReceived
from .forking import COMPLETED_ELSEWHERE, Answer, best, branch_by_id
from .ids import Instant
from .model import CallState, Outcome
from .part import Part, Reach, reach
from .reaching import cancel_branch
from .unheard import FAREWELL_S, farewell, unheard
from .wake_state import Ended, Live, Settling, State

SETTLE_S = 1.0
"""How long a 6xx waits for answers that cross our CANCELs."""
LINGER_S = 40.0
"""After the end, until every client transaction is over: Timer B or D (32 s) and a margin."""

_EXPIRED = 'Q.850;cause=102;text="INVITE expired"'
_DECLINED_ELSEWHERE = 'SIP;cause=603;text="Declined elsewhere"'
_UNAVAILABLE = Answer(status=480, reason="Temporarily Unavailable")


def answered(
    state: Live | Settling, event: ResponseReceived, now: Instant
) -> tuple[State, tuple[Action, ...]]:
    """The first 2xx wins and ends the call for all others.

    Even on a branch that we have cancelled or given up, or whose connection is gone: the caller
    still waits, and the person has picked up (RFC 3261 §16.7 step 5).
    """
    live = state.live if isinstance(state, Settling) else state
    branch = branch_by_id(live.branches, event.branch)
    if branch is None or not branch.may_win:
        return state, ()
    winner = replace(branch, status=event.status, dead=False)
    relay = Relay(branch=branch.id, response=event.response, forgets=live.stored is True)
    return _end(
        live.with_branch(winner),
        (relay, Note("answered", branch.device)),
        replace(outcome.answered(branch.device), status=event.status),
        reason=COMPLETED_ELSEWHERE,
        now=now,
    )


def answered_before(
    state: Live | Settling, event: AnsweredBefore, now: Instant
) -> tuple[Ended, tuple[Action, ...]]:
    """As `answered`, by a 2xx to an INVITE of a former life: the PBX has it already.

    Whoever may be in the call gets no terminal push: it could end there what it is about.
    """
    live = state.live if isinstance(state, Settling) else state
    talking = [part for part in live.parts if event.device in {None, part.device}]
    device = talking[0].device if len(talking) == 1 else event.device
    for part in talking:
        came = reach(part, Reach.REGISTERED, now) if part.device == device else part
        live = live.with_part(replace(came, registered=True, held_since=None))
    # A PBX that talks has no transaction any more; ours wants an end all the same.
    final = () if event.status else (Reply(status=487, reason="Request Terminated"),)
    result = replace(outcome.answered(device), status=event.status or 200)
    note = Note("answered", device, "before the restart")
    return _end(live, (*final, note), result, reason=COMPLETED_ELSEWHERE, now=now)


def cancelled(live: Live, reason: str, now: Instant) -> tuple[Ended, tuple[Action, ...]]:
    """CANCEL from the PBX: 487 at once, its Reason passed on to the devices (RFC 3326)."""
    result = outcome.cancelled(
        tuple(part for part in live.parts if part.held_since is None),
        reason,
        ringing=live.ringing,
        now=now,
        grace_s=live.settings.answer_grace_s,
    )
    final = (Reply(status=487, reason="Request Terminated"), Note("cancelled", detail=reason))
    return _end(live, final, result, reason=reason, now=now)


def expired(live: Live, now: Instant) -> tuple[Ended, tuple[Action, ...]]:
    """The INVITE's own Expires is over: as if the PBX had cancelled it (RFC 3261 §13.3.1)."""
    return cancelled(live, _EXPIRED, now)


def lost(live: Live, reason: str, now: Instant) -> tuple[Ended, tuple[Action, ...]]:
    """The PBX's transaction is gone: nobody is left to answer."""
    final = (Note("pbx_lost", detail=reason),)
    return _end(live, final, outcome.lost(ringing=live.ringing), reason="", now=now)


def given_up(live: Live, reason: str, now: Instant) -> tuple[Ended, tuple[Action, ...]]:
    """It is our fault: the caller is not left waiting for somebody who is gone."""
    result = outcome.given_up(ringing=live.ringing)
    headers = (("X-Push-Reason", result.verdict.value),)
    final = Reply(status=result.status, reason=_UNAVAILABLE.reason, headers=headers)
    return _end(live, (final, Note("proxy_error", detail=reason)), result, reason="", now=now)


def exhausted(
    live: Live, actions: tuple[Action, ...], now: Instant
) -> tuple[Ended, tuple[Action, ...]]:
    """No device can come any more: the best answer there is, else 480 with its verdict."""
    answers = [part.answer for part in live.parts if part.answer is not None]
    if len(answers) < len(live.parts) or not answers:
        answers.append(_UNAVAILABLE)
    chosen = best(answers) or _UNAVAILABLE
    by_device = chosen.branch is not None or chosen.status in {486, 603}
    ended_by = "device" if by_device else "deadline" if now >= live.wake_deadline else "proxy"
    result = outcome.exhausted(live.parts, status=chosen.status, ended_by=ended_by)
    final, status = _final(chosen, result)
    case = live.invite.case
    finals, result = policy_answer.at_end(case, final, replace(result, status=status))
    reason = _DECLINED_ELSEWHERE if result.status >= 600 else ""
    ended, ending = _end(live, finals, result, reason=reason, now=now)
    return ended, (*actions, *ending)


def ruled(
    live: Live, actions: tuple[Action, ...], result: Outcome, now: Instant
) -> tuple[Ended, tuple[Action, ...]]:
    """The account's policy has answered as the INVITE came: ``actions`` say so."""
    return _end(replace(live, stored=False), actions, result, reason="", now=now)


def _final(chosen: Answer, result: Outcome) -> tuple[Action, int]:
    if chosen.relayable and chosen.branch is not None and chosen.response is not None:
        return Relay(branch=chosen.branch, response=chosen.response), chosen.status
    headers = (("X-Push-Reason", result.verdict.value),)
    if chosen.status == 503:
        # 503 would take all of us out of the PBX's service (RFC 3261 §16.7 step 6).
        return Reply(status=500, reason="Server Internal Error", headers=headers), 500
    if chosen.status == 408:
        chosen = _UNAVAILABLE
    return Reply(status=chosen.status, reason=chosen.reason, headers=headers), chosen.status


def settle(
    live: Live, actions: tuple[Action, ...], now: Instant
) -> tuple[Settling, tuple[Action, ...]]:
    """A 6xx: cancel all others, make no new branch, and wait a moment for answers that cross.

    RFC 3261 §16.7 step 5: a 6xx "is not immediately forwarded".
    """
    for branch in live.branches:
        if branch.open:
            live, cancel = cancel_branch(live, branch, _DECLINED_ELSEWHERE)
            actions += cancel
    return Settling(live=live, until=Instant(now + SETTLE_S)), actions


def _end(
    live: Live,
    final: tuple[Action, ...],
    result: Outcome,
    *,
    reason: str,
    now: Instant,
) -> tuple[Ended, tuple[Action, ...]]:
    cancels = tuple(
        CancelBranch(branch=branch.id, reason=reason) for branch in live.branches if branch.open
    )
    unaware = tuple(p for p in live.parts if p.needs_farewell and not _hears_sip(live, p))
    farewells = tuple(order for part in unaware for order in farewell(live, part, reason))
    late_s = live.settings.late_invite_s
    shown = tuple(part for part in unaware if part.late_invite) if late_s else ()
    here = tuple(order for part in shown for order in _late_invite(part, reason))
    late = tuple(part.device for part in shown if not part.registered)
    forgotten = any(isinstance(order, Relay) and order.forgets for order in final)
    forget = (ForgetInvite(),) if live.stored and not forgotten else ()
    answered = result.phase is CallState.ANSWERED
    move = Move(CallState.ANSWERED if answered else CallState.ENDED)
    ended = Ended(
        call=live.invite.call,
        unfinished=tuple(branch.id for branch in live.branches if branch.may_win),
        store_pending=live.stored is None,
        until=Instant(now + max(LINGER_S, late_s)),
        late=late,
        late_until=Instant(now + late_s),
        late_reason=reason,
        unheard=unheard(live),
        unheard_until=Instant(now + FAREWELL_S),
        last=live,
    )
    return ended, (*final, *cancels, *farewells, *here, *forget, move, Finish(result))


def _hears_sip(live: Live, part: Part) -> bool:
    """Whether the device has answered on a branch whose flow lives: our CANCEL reaches it."""
    return any(b.device == part.device and b.heard and not b.dead for b in live.branches)


def _late_invite(part: Part, reason: str) -> tuple[Action, ...]:
    """One that waited for others has registered already: it will not do so again."""
    if not part.registered or part.binding is None:
        return ()
    order = LateInvite(binding=part.binding, reason=reason)
    return order, Note("late_invite_sent", part.device)
