"""What a registration at a PBX is made of: its state, and what it asks for."""

from dataclasses import dataclass
from enum import StrEnum

from .digest import Challenge
from .ids import AccountKey, Instant
from .model import Credentials, RegistrationRecord

LOST_ANSWER_S = 64.0
"""Longer than any transaction: an answer that has not come by then will not come."""


class Kind(StrEnum):
    """What a REGISTER is for."""

    REGISTER = "register"
    UNREGISTER = "unregister"
    FETCH = "fetch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be registered. An equal target changes nothing."""

    account: AccountKey
    aor: str
    registrar: str
    """Request-URI."""
    contact: str
    user: str
    credentials: Credentials
    expires_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """Randomness for one step."""

    unit: float
    """In [0, 1)."""
    text: str
    """16 hex digits: cnonce, first Call-ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRegister:
    """Send this REGISTER."""

    kind: Kind
    target: Target
    call_id: str
    cseq: int
    headers: tuple[tuple[str, str], ...]
    first: RegistrationRecord | None = None
    """To be kept before the request leaves: whoever goes on in our place has to know what the PBX
    may have been told."""


@dataclass(frozen=True, slots=True)
class SaveRecord:
    """Keep Call-ID and CSeq over a restart."""

    record: RegistrationRecord


@dataclass(frozen=True, slots=True)
class ForgetRecord:
    """Nothing of ours is at the PBX any more."""


@dataclass(frozen=True, slots=True)
class Concluded:
    """An attempt ended; ``result`` is bounded: for the metrics."""

    result: str


Action = SendRegister | SaveRecord | ForgetRecord | Concluded


@dataclass(frozen=True, slots=True)
class Login:
    """A challenge that we answered, to be answered again without being asked."""

    challenge: Challenge
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """State; ``due_at`` says when to call `due`."""

    account: AccountKey
    target: Target | None = None
    """The newest one wanted; kept for unregistering."""
    wanted: bool = False
    call_id: str = ""
    cseq: int = 0
    saved_cseq: int = 0
    doing: Kind | None = None
    """In flight."""
    sent: Target | None = None
    """The target of what is in flight."""
    sent_at: Instant | None = None
    refresh_at: Instant | None = None
    """When to register (or unregister) next."""
    fetch_at: Instant | None = None
    bound: str | None = None
    """Our Contact that the PBX has, as far as we know."""
    listed_as: str | None = None
    """How the PBX listed it when it was registered."""
    listed: bool = False
    """Whether it listed it at all: else its absence says nothing."""
    service_route: tuple[str, ...] = ()
    """Service-Route values of the last 200 (RFC 3608), topmost first."""
    leftovers: tuple[str, ...] = ()
    """Earlier Contacts of ours to be removed with the next REGISTER."""
    expires_at: Instant | None = None
    granted_s: int | None = None
    min_expires_s: int = 0
    proved: bool = False
    """The PBX has accepted these credentials."""
    www: Login | None = None
    proxy: Login | None = None
    fresh_answers: int = 0
    failures: int = 0
    rejected: bool = False
    last_status: int | None = None
    last_reason: str = ""
    last_at: Instant | None = None
    last_local: bool = False
    """The last answer was our own stack's: nothing came from the PBX."""
    others: tuple[str, ...] = ()
    evictions: int = 0
    unlisted: bool = False
    """The last 200 listed Contacts, but not ours."""
    known: tuple[str, ...] | None = None
    """Contacts that are kept for whoever goes on in our place; None: there is nobody."""

    @property
    def idle(self) -> bool:
        """Nothing wanted, nothing bound, nothing in flight: it may be forgotten."""
        return not self.wanted and self.doing is None and self.refresh_at is None

    @property
    def due_at(self) -> Instant | None:
        """When `due` wants to be called; None: not before something else happens."""
        if self.doing is not None and self.sent_at is not None:
            return Instant(self.sent_at + LOST_ANSWER_S)
        times = [at for at in (self.refresh_at, self.fetch_at) if at is not None]
        return min(times) if times else None

    def is_registered(self, now: Instant) -> bool:
        """Whether calls should reach us."""
        return self.bound is not None and self.expires_at is not None and self.expires_at > now
