"""After the end: phones whose INVITE never arrived, and that show the call since their push.

A phone that has registered hears of the end by SIP: it is called off at its first response. Not
so if its INVITE could not be sent at all, because the caller's CANCEL was there when it was
ordered, or went into a connection that was gone: then the push has to be taken back by push.
"""

from dataclasses import replace

from . import outcome
from .actions import Action, LateInvite, Note, PushType, SendPush
from .events import BranchFailed, ResponseReceived
from .forking import Branch, branch_by_id, is_flow_failure
from .ids import BranchId, Instant
from .part import Part, push_id
from .wake_state import Ended, Live

FAREWELL_S = 30.0
"""How long a terminal push is worth delivering: about as long as a phone shows a dead call."""


def unheard(live: Live) -> tuple[BranchId, ...]:
    """Branches on which nothing has come, to phones that show the call and have registered."""
    return tuple(
        branch.id
        for branch in live.branches
        if branch.open and not branch.heard and _only_pushed(live, branch)
    )


def settled(
    ended: Ended, event: ResponseReceived | BranchFailed, now: Instant
) -> tuple[Ended, tuple[Action, ...]]:
    """One of these branches has a response, or is known to have gone nowhere."""
    left = tuple(branch for branch in ended.unheard if branch != event.branch)
    ended = replace(ended, unheard=left)
    if isinstance(event, ResponseReceived) and not _lost(event):
        return ended, ()
    branch = branch_by_id(ended.last.branches, event.branch)
    part = None if branch is None else ended.last.part(branch.device)
    if part is None or now >= ended.unheard_until:
        return ended, ()
    orders = farewell(ended.last, part, ended.late_reason)
    if not part.late_invite or now >= ended.late_until:
        return ended, orders
    if isinstance(event, BranchFailed) and part.binding is not None:
        late = LateInvite(binding=part.binding, reason=ended.late_reason)
        return ended, (*orders, late, Note("late_invite_sent", part.device))
    return replace(ended, late=(*ended.late, part.device)), orders


def farewell(live: Live, part: Part, reason: str) -> tuple[Action, ...]:
    """The terminal push: the call is over, or was answered elsewhere."""
    elsewhere = outcome.was_answered_elsewhere(reason)
    kind = PushType.ANSWERED_ELSEWHERE if elsewhere else PushType.CANCEL
    push = push_id(live.invite.call, part.device, kind)
    order = SendPush(device=part.device, push=push, type=kind, deadline_s=FAREWELL_S)
    return order, Note("terminal_push_sent", part.device, kind)


def _lost(event: ResponseReceived) -> bool:
    return is_flow_failure(status=event.status, local=event.local)


def _only_pushed(live: Live, branch: Branch) -> bool:
    part = live.part(branch.device)
    if part is None or part.pushes == 0 or not part.registered or part.answer is not None:
        return False
    heard = (b.heard and not b.dead for b in live.branches if b.device == branch.device)
    return not any(heard)
