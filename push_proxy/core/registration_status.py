"""How a registration at a PBX stands, for people."""

from dataclasses import dataclass
from enum import StrEnum

from .ids import Instant


class RegistrationState(StrEnum):
    """Where our registration at the PBX stands."""

    UNUSED = "unused"
    """None is wanted: trunk, disabled, or no device yet."""
    PENDING = "pending"
    """Asked for; no answer yet."""
    REGISTERED = "registered"
    RETRYING = "retrying"
    """The last attempt failed; another one follows."""
    REJECTED = "rejected"
    """The PBX refused for good: nothing is tried until the account changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationStatus:
    """Our registration of one account at its PBX."""

    state: RegistrationState
    last_status: int | None = None
    """The PBX's last answer: a SIP status (408 and 503 may be our own, for silence)."""
    last_reason: str = ""
    last_answer_at: Instant | None = None
    next_attempt_at: Instant | None = None
    """The next refresh or retry."""
    expires_at: Instant | None = None
    granted_s: int | None = None
    """Seconds that the PBX granted last."""
    other_contacts: tuple[str, ...] = ()
    """Contacts of others that the PBX listed beside ours."""
    evictions: int = 0
    """How often the PBX had dropped our Contact before its time."""
    advice: str = ""
    """What the operator can do, in one sentence; empty when there is nothing to do."""


UNUSED = RegistrationStatus(state=RegistrationState.UNUSED)
