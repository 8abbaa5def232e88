"""When a wake wants to be told that time has passed: every deadline in one place.

A deadline is computed from the state, never kept beside it, so none can be forgotten or
outlive its reason. Each function answers None when its deadline does not apply.
"""

from collections.abc import Iterator

from . import together
from .forking import Branch
from .ids import Instant
from .part import Part
from .wake_state import Ended, Live, Settling, State


def deadline(state: State) -> Instant | None:
    """The next instant at which `events.TimePassed` is due; None when nothing is to come."""
    match state:
        case Live():
            return min(_deadlines(state))
        case Settling():
            expires_at = state.live.expires_at
            return state.until if expires_at is None else min(state.until, expires_at)
        case Ended():
            return None if state.finished else state.until


def _deadlines(live: Live) -> Iterator[Instant]:
    if (expires_at := live.expires_at) is not None:
        yield expires_at
    if live.gathering:
        yield together.ends_at(live)
    for branch in live.branches:
        if branch.open:
            yield branch.timer_c_at
    for part in live.parts:
        for due in (give_up_at(live, part), first_push_at(live, part), second_push_at(live, part)):
            if due is not None:
                yield due


def give_up_at(live: Live, part: Part) -> Instant | None:
    """When we stop waiting for a device that has not come.

    At the wake's deadline (later if its flow broke in this call); after ``ack_s`` already when
    it gives no sign of life at all. What rings rings on, and who comes later is still rung.
    """
    if part.held_since is not None:
        return None
    branch = live.open_of(part.device)
    if not (_unheard(part, branch) if branch else part.awaited):
        return None
    since = part.pushed_at if part.pushable or branch is None else branch.made_at
    if live.settings.ack_s is None or since is None or not part.silent:
        return live.wait_until(part)
    return min(live.wait_until(part), Instant(since + live.settings.ack_s))


def first_push_at(live: Live, part: Part) -> Instant | None:
    """When a device that was rung without a push is pushed after all.

    A suspended phone's open connection swallows an INVITE without a word.
    """
    if not part.pushable or part.pushes > 0 or part.registered:
        return None
    branch = live.open_of(part.device)
    if branch is None or branch.heard:
        return None
    return Instant(branch.made_at + live.settings.fresh_answer_s)


def second_push_at(live: Live, part: Part) -> Instant | None:
    """When a push that was taken, without a sign of life since, is repeated (once)."""
    again_after_s = live.settings.repush_after_s
    if again_after_s is None or part.accepted_at is None or not part.repush:
        return None
    if part.repushed or not part.awaited or part.pending or not part.silent:
        return None
    return Instant(part.accepted_at + again_after_s)


def _unheard(part: Part, branch: Branch) -> bool:
    """Whether an INVITE went to a binding older than the call, and nothing came back."""
    return not branch.heard and not part.registered
