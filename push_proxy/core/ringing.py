"""What a device's responses, short of 2xx, do to an open call (RFC 3261 §16.7)."""

from dataclasses import replace

from .actions import Action, Move, Note, Relay
from .events import BranchFailed, ResponseReceived
from .forking import Answer, Branch, branch_by_id, is_flow_failure, rings_already
from .ids import Instant, ResponseId
from .model import CallState
from .part import Part, Reach, reach
from .reaching import Done, ring_elsewhere
from .wake_state import Live


def responded(live: Live, event: ResponseReceived, now: Instant) -> Done:
    """A provisional or a refusal has come on a branch.

    One after the branch's final response is a retransmission; one on a branch that we have
    cancelled concerns nobody.
    """
    branch = branch_by_id(live.branches, event.branch)
    if branch is None or not branch.unfinished:
        return live, ()
    part = live.part(branch.device)
    if branch.cancelled or part is None:
        return noted(live, event), ()
    if event.status < 200:
        return _provisional(live, branch, part, event, now)
    live = noted(live, event)
    if is_flow_failure(status=event.status, local=event.local):
        live = live.with_part(replace(part, registered=False))
        live, orders = ring_elsewhere(live, branch, now)
        return live, (*orders, Note("flow_failed", part.device, _status_line(event)))
    if event.status in {482, 486} and rings_already(live.branches, branch):
        return _rings_on(live, branch, part, event, now)
    return _refused(live, part, event, now)


def _rings_on(
    live: Live, branch: Branch, part: Part, event: ResponseReceived, now: Instant
) -> Done:
    """The phone has this call, on a branch whose connection is gone: its answer may still come."""
    patient = replace(part, returns_by=Instant(now + live.settings.timer_c_s), registered=False)
    live = live.with_branch(replace(branch, status=event.status, dead=True)).with_part(patient)
    return live, (Note("rings_already", part.device, _status_line(event)),)


def noted(live: Live, event: ResponseReceived) -> Live:
    """The response is written into its branch; nothing else follows."""
    branch = branch_by_id(live.branches, event.branch)
    if branch is None or not branch.unfinished:
        return live
    dead = is_flow_failure(status=event.status, local=event.local)
    return live.with_branch(replace(branch, status=event.status, dead=dead))


def failed(event: BranchFailed) -> ResponseReceived:
    """What the stack could not send counts as a transport failure (RFC 3261 §16.9)."""
    return ResponseReceived(
        branch=event.branch, response=ResponseId(0), status=503, reason=event.reason, local=True
    )


def _provisional(
    live: Live, branch: Branch, part: Part, event: ResponseReceived, now: Instant
) -> Done:
    rings = 180 <= event.status < 190
    part = reach(part, Reach.RANG if rings else Reach.REGISTERED, now)
    if event.status == 100:
        # Hop by hop (RFC 3261 §16.7 step 5): it only says that the INVITE has arrived.
        status = max(branch.status, 100)
        return live.with_part(part).with_branch(replace(branch, status=status)), ()
    timer_c_at = Instant(now + live.settings.timer_c_s)
    branch = replace(branch, status=event.status, timer_c_at=timer_c_at, rang=branch.rang or rings)
    live = live.with_part(part).with_branch(branch)
    relay: tuple[Action, ...] = (
        Relay(branch=branch.id, response=event.response),
        Note("device_ringing" if rings else "device_progress", part.device, _status_line(event)),
    )
    if not rings:
        return live, relay
    move = () if live.rang else (Move(CallState.RINGING),)
    return replace(live, rang=True, ringing_told=True), (*relay, *move)


def _refused(live: Live, part: Part, event: ResponseReceived, now: Instant) -> Done:
    answer = Answer(
        status=event.status, reason=event.reason, branch=event.branch, response=event.response
    )
    live = live.with_part(replace(reach(part, Reach.REGISTERED, now), answer=answer))
    return live, (Note("device_refused", part.device, _status_line(event)),)


def _status_line(event: ResponseReceived) -> str:
    local = " (local)" if event.local else ""
    return f"{event.status} {event.reason}{local}".strip()
