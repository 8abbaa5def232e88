"""A log that an app has handed in, for whoever looks into why its phone did not ring."""

from dataclasses import dataclass

from .ids import CallId, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class AppLog:
    """What is known of a log, without its text."""

    id: str
    at: Instant
    """When it came."""
    size: int
    """Bytes of the text."""
    call: CallId | None = None
    """The call that it is about, if the app said so."""
