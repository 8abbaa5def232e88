"""One request to a provider, and what it says about the push, the token and the app."""

from dataclasses import dataclass

from ..core.events import PushOutcome
from ..core.ids import Instant
from ..ports import TokenFate


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one request."""

    outcome: PushOutcome
    reason: str
    """Bounded: a status or the provider's name of the error; never a token or URL."""
    again: bool = False
    """Sending it once more may help."""
    pause_s: float = 0.0
    """Wait before that: an overloaded or restarting server needs a moment."""
    token: TokenFate = TokenFate.KEEP
    dead_since: Instant | None = None
    """See `ports.PushResult.dead_since`."""
    blocks_s: float = 0.0
    """Every push of this app would fail alike: send no other for so long, but one trial then."""
    environment: str | None = None
    """See `ports.PushResult.environment`."""
    provider_id: str = ""
    """See `ports.PushResult.provider_id`."""
    ours: bool = False
    """We sent what no provider takes: a bug, logged as an error."""


ACCEPTED = PushOutcome.ACCEPTED
REJECTED = PushOutcome.REJECTED
UNAVAILABLE = PushOutcome.UNAVAILABLE
MISCONFIGURED = PushOutcome.MISCONFIGURED
SKIPPED = PushOutcome.SKIPPED
