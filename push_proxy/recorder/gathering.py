"""A call that is being recorded, and recordings that came in parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.ids import AccountKey, CallId, Instant
from .recording import RecordedMessage, Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is kept of one call; of more, what is in the middle goes."""

    messages: int = 200
    bytes: int = 262_144


@dataclass(slots=True, kw_only=True, eq=False)
class Gathering:
    """A call while it goes on; its messages are with the stack (`CapturedCalls`)."""

    call: CallId
    account: AccountKey
    since: Instant
    device_calls: bool
    """It is the app's own call."""
    bounds: Bounds
    waking: bool = True
    """It has neither been answered nor ended: a REGISTER of its account's devices belongs to it."""
    continued: bool = False
    """A part of it is in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is to be stored of a call."""

    call: CallId
    account: AccountKey
    since: Instant
    bounds: Bounds
    continued: bool
    """A part of it is in the store already."""
    texts: tuple[bytes, ...]
    """Its parts, oldest first (`recording.read`)."""

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(map(len, self.texts))


def joined(parts: Sequence[Recording], bounds: Bounds) -> Recording:
    """One recording of a call's parts, oldest first; what is in two of them is there once."""
    known: set[object] = set()
    messages: list[RecordedMessage] = []
    for part in parts:
        # A write whose answer was lost is done again.
        new = [each for each in part.messages if (each.at, each.sent, each.peer) not in known]
        known.update((each.at, each.sent, each.peer) for each in new)
        messages += new
    dropped = sum(part.dropped for part in parts)
    messages.sort(key=lambda each: each.at)
    size = sum(len(each.raw) for each in messages)
    while len(messages) > bounds.messages or (len(messages) > 1 and size > bounds.bytes):
        gone = messages.pop(len(messages) // 2)
        size -= len(gone.raw)
        dropped += 1
    missed = sum(part.missed for part in parts)
    return replace(parts[0], messages=tuple(messages), dropped=dropped, missed=missed)
