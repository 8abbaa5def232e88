"""What the recorder of calls needs of the store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .core.ids import AccountKey, CallId, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRecording:
    """A call's SIP messages, compressed."""

    account: AccountKey
    call: CallId
    at: Instant
    """When the call began."""
    packed: bytes = field(repr=False)


class RecordingStore(Protocol):
    """Recordings of calls (`ports.Store`); may raise `errors.StoreUnavailable`.

    They are sealed at rest, capped per account and in time, and go with their account.
    """

    async def put_recordings(self, recordings: Sequence[PackedRecording], *, keep_s: float) -> None:
        """Keep these, or replace them, until ``keep_s`` after their calls' begin.

        A deleted account's are dropped. One round trip.
        """

    async def get_recording(self, key: AccountKey, call: CallId) -> bytes | None:
        """As kept (compressed), or None."""
