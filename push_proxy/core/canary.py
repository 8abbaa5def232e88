"""Whether a PBX's server has lost our Contacts, as a pure machine over single questions.

One account after the other is looked up there. One Contact that is absent may have been thrown
out by another phone; several at once mean that the server has forgotten them all (a restart).
"""

from dataclasses import dataclass, replace

from .ids import Instant

_NEVER = Instant(0.0)
SUSPICION = 2
"""How many more accounts are asked when one is absent."""
AGAIN_S, AGAIN_MAX_S = 30.0, 1800.0
"""How long a renewal of everything must not follow another: a PBX that answers from a copy that
never learns of our registrations would otherwise be asked for ever."""


@dataclass(frozen=True, slots=True)
class Canary:
    """State of one server."""

    expected: int = 0
    """Answers that are to come in this round."""
    absent: int = 0
    suspicious: bool = False
    renewals: int = 0
    """How often everything was renewed without a Contact being found since."""
    not_before: Instant = _NEVER


@dataclass(frozen=True, slots=True)
class Ask:
    """Look up so many more accounts."""

    count: int


class Lost:
    """Register everything again."""


Step = tuple[Canary, Ask | Lost | None]


def begin(canary: Canary) -> Step:
    """Time for the next account; a round that got no answer is over."""
    return replace(canary, expected=0, absent=0, suspicious=False), Ask(1)


def make_sure(canary: Canary) -> Step:
    """The server was away: it may have been restarted."""
    return replace(canary, expected=0, absent=0, suspicious=True), Ask(1 + SUSPICION)


def asked(canary: Canary, count: int, *, now: Instant) -> Step:
    """So many accounts are really being asked; perhaps there are no more."""
    canary = replace(canary, expected=canary.expected + count)
    return _judged(canary, now)


def found(canary: Canary, *, present: bool, now: Instant) -> Step:
    """One was answered; also one that was asked for another reason."""
    if present:
        return replace(canary, expected=0, absent=0, suspicious=False, renewals=0), None
    canary = replace(canary, expected=max(0, canary.expected - 1), absent=canary.absent + 1)
    if not canary.suspicious:
        return replace(canary, suspicious=True), Ask(SUSPICION)
    return _judged(canary, now)


def _judged(canary: Canary, now: Instant) -> Step:
    if not canary.suspicious or canary.expected or not canary.absent:
        return canary, None
    lost = canary.absent > 1
    closed = replace(canary, absent=0, suspicious=False)
    if not lost or now < canary.not_before:
        return closed, None
    pause_s = min(AGAIN_MAX_S, AGAIN_S * 2.0**canary.renewals)
    not_before = Instant(now + pause_s)
    return replace(closed, renewals=min(canary.renewals + 1, 16), not_before=not_before), Lost()
