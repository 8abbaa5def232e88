"""How patient the delivery of events is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds and numbers; the defaults are the service's."""

    request_s: float = 10.0
    """How long a receiver may take for one event."""
    first_retry_s: float = 1.0
    longest_retry_s: float = 900.0
    """An event's pauses double from the first to this."""
    longest_pause_s: float = 60.0
    """A receiver of which nothing is taken is asked that seldom."""
    give_up_s: float = 86_400.0
    """After so long an event is a dead letter."""
    at_once: int = 8
    """Events of one receiver that are under way together."""
    poll_s: float = 5.0
    """How often another node's leftovers are looked for."""
    store_pause_s: float = 1.0
    """Between attempts while the store is away."""
    memory_limit: int = 50_000
    """Events that wait in memory for the store."""
    outbox_limit: int = 50_000
    """Events that wait in the store for one receiver."""
    letters_limit: int = 10_000
    """Dead letters kept of one tenant."""
    letters_keep_s: float = 30 * 86_400.0

    @property
    def lease_s(self) -> float:
        """How long claimed events are nobody else's: all of them may be asked one by one."""
        return self.at_once * self.request_s * 1.5 + 10.0

    @property
    def outbox_keep_s(self) -> float:
        """An outbox that nobody empties any more (its webhook was removed) is forgotten then."""
        return self.give_up_s + 86_400.0
