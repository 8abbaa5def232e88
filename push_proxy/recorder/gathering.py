"""The messages of one call while it goes on: bounded, the middle goes first."""

from dataclasses import dataclass, field, replace

from ..core.ids import AccountKey, CallId, Instant
from ..core.model import Address
from .recording import RecordedMessage, Recording

OVERHEAD_BYTES = 300
"""What a message costs in memory beside its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is kept of one call."""

    messages: int = 200
    bytes: int = 262_144


@dataclass(slots=True, kw_only=True, eq=False)
class Gathering:
    """What has been seen of a call so far."""

    call: CallId
    account: AccountKey
    sip_call_id: str
    since: Instant
    device_calls: bool
    """It is the app's own call."""
    bounds: Bounds
    waking: bool = True
    """It has neither been answered nor ended: a REGISTER of its account's devices belongs to it."""
    continued: bool = False
    """A part of it is in the store."""
    hops: dict[Address, str] = field(default_factory=dict)
    """Who is at each address that it has met."""
    messages: list[RecordedMessage] = field(default_factory=list)
    size: int = 0
    """Bytes in memory."""
    dropped: int = 0
    missed: int = 0

    def add(self, message: RecordedMessage) -> int:
        """Keep one more; by how many bytes this has grown (less than zero: shrunk).

        How a call began and how it ended says more than what is between.
        """
        before = self.size
        kept = self.messages
        if kept and message.at < kept[-1].at:
            # A REGISTER is known to belong to the call only when it has succeeded.
            place = len(kept)
            while place and kept[place - 1].at > message.at:
                place -= 1
            kept.insert(place, message)
        else:
            kept.append(message)
        self.size += len(message.raw) + OVERHEAD_BYTES
        most_bytes = self.bounds.bytes
        while len(kept) > self.bounds.messages or (
            len(kept) > 1 and self.size - len(kept) * OVERHEAD_BYTES > most_bytes
        ):
            gone = kept.pop(len(kept) // 2)
            self.size -= len(gone.raw) + OVERHEAD_BYTES
            self.dropped += 1
        return self.size - before

    def recording(self) -> Recording:
        """As it is now."""
        return Recording(
            call=self.call,
            account=self.account,
            messages=tuple(self.messages),
            dropped=self.dropped,
            missed=self.missed,
        )

    def part(self) -> "Gathering":
        """What there is, to be stored early; this one goes on with what follows."""
        part = replace(self)
        self.messages, self.size, self.dropped, self.missed = [], 0, 0, 0
        self.continued = True
        return part

    def resume(self, part: "Gathering") -> None:
        """A part was not stored after all, or may not have been."""
        self.messages = part.messages + self.messages
        self.size += part.size
        self.dropped += part.dropped
        self.missed += part.missed
        self.continued = part.continued

    def after(self, stored: Recording | None) -> Recording:
        """All of the call, with what was stored before."""
        if stored is None:
            return self.recording()
        whole = replace(self, messages=[], size=0)
        whole.dropped += stored.dropped
        whole.missed += stored.missed
        known = {(each.at, each.sent, each.peer) for each in stored.messages}
        for message in stored.messages:
            whole.add(message)
        for message in self.messages:
            # A write whose answer was lost is done again.
            if (message.at, message.sent, message.peer) not in known:
                whole.add(message)
        return whole.recording()
