"""When an account counts as lost to its PBX, and as back. Pure."""

from dataclasses import dataclass, replace

from .ids import Instant
from .registration_status import RegistrationState

GRACE_S = 60.0
"""Not registered any more for so long, though tried: a PBX's restart is no loss."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of one account."""

    registered: bool = False
    """It was, and nobody has been told otherwise."""
    missing_since: Instant | None = None
    lost: bool = False
    """That was told."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What follows from a look at one account."""

    watched: Watched | None
    """None: nothing has to be remembered."""
    lost: bool = False
    """To be told now."""
    restored: bool = False
    """As above."""


def look(
    before: Watched, state: RegistrationState, *, now: Instant, grace_s: float = GRACE_S
) -> Seen:
    """Each loss is told once: at once when the PBX refuses for good, else after ``grace_s``."""
    match state:
        case RegistrationState.UNUSED:
            return Seen(None)
        case RegistrationState.REGISTERED:
            return Seen(Watched(registered=True), restored=before.lost)
    if not before.registered:
        return Seen(before)
    since = now if before.missing_since is None else before.missing_since
    if state is RegistrationState.REJECTED or now - since >= grace_s:
        return Seen(Watched(lost=True), lost=True)
    return Seen(replace(before, missing_since=since))
