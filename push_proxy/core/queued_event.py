"""Events on their way to operators' webhooks, and those that could not be delivered."""

from dataclasses import dataclass
from hashlib import sha256

from .ids import AccountKey, Instant
from .notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedEvent:
    """A notice that waits for one webhook."""

    id: str
    """UUID; the same at every attempt and every webhook."""
    notice: Notice
    queued_at: Instant
    """When it was told, or replayed: its time runs from here."""
    attempts: int = 0
    last_error: str = ""
    """Bounded: ``http_503``, ``timeout``…"""


def account_mark(account: AccountKey) -> str:
    """What the ids of an account's dead letters end with, so that they can be erased with it."""
    return sha256(account.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that its webhook did not take."""

    event: QueuedEvent
    webhook: str
    """Which one, as `events.webhook.Webhook.key`."""
    host: str
    """Whose it is; the URL itself may hold secrets."""
    died_at: Instant

    @property
    def id(self) -> str:
        """Unique: one event may die at several webhooks. Ends with the account's mark."""
        return f"{self.event.id}.{self.webhook}.{account_mark(self.event.notice.account)}"


@dataclass(frozen=True, slots=True)
class ClaimedEvents:
    """Events that are ours to deliver for a while."""

    events: tuple[QueuedEvent, ...]
    waiting: int
    """All that this webhook has not taken yet, these included."""
    next_at: Instant | None
    """When the next one is due; None: none waits."""


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """Some dead letters, newest first."""

    letters: tuple[DeadLetter, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to."""

    replayed: int
    skipped: int
    """Their webhook is not configured any more: they stay."""
