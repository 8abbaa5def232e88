"""Ring mode ``together``: no device begins to ring before all that may come have come.

While a call *gathers*, `reaching.ring` holds awake devices back instead of forking, so the call
has no branch at all. It gathers until nobody sleeps any more (each device has registered,
refused, or cannot be woken) or until ``together_s`` is over; then all are rung in one step, and
whoever comes later is added as in ``all_at_once``.
"""

from dataclasses import replace

from .actions import Action
from .forking import instance_of
from .ids import Instant
from .model import RingMode
from .part import Part
from .reaching import ring
from .wake_state import Live

Done = tuple[Live, tuple[Action, ...]]


def begun(live: Live) -> Live:
    """The call gathers from its beginning, if its account wants that."""
    return replace(live, gathering=live.settings.ring_mode is RingMode.TOGETHER)


def ends_at(live: Live) -> Instant:
    """After it nobody waits for others any more."""
    return Instant(live.invite.received_at + live.settings.together_s)


def all_rung(live: Live, now: Instant) -> Done:
    """Ring all that were held back, if there is nobody left to wait for."""
    waiting = any(part.sleeps for part in live.parts) and now < ends_at(live)
    if not live.gathering or waiting:
        return live, ()
    live = replace(live, gathering=False)
    actions: tuple[Action, ...] = ()
    for part in _phones(live):
        live = live.with_part(replace(part, held_since=None, rung_at=now))
        if part.binding is not None:
            live, orders = ring(live, part.binding, now)
            actions += orders
    live = replace(live, parts=tuple(replace(part, held_since=None) for part in live.parts))
    return live, actions


def _phones(live: Live) -> list[Part]:
    """Who is to be rung, one per phone: of several names of one phone the newest."""
    newest: dict[str, Part] = {}
    for part in sorted(live.parts, key=lambda part: part.held_since or 0.0):
        if part.held_since is not None and part.binding is not None and part.answer is None:
            newest[instance_of(part.binding)] = part
    return [part for part in live.parts if part in newest.values()]
