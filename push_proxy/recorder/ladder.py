"""A recording as a ladder: who said what to whom, hop by hop."""

from dataclasses import dataclass

from ..core.ids import Instant
from ..core.model import Address
from .recording import PBX, RecordedMessage, Recording

US = "us"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One message between two hops."""

    at: Instant
    source: str
    """``pbx``, ``us`` or a device's name."""
    target: str
    hop: str
    """The one of them that is not us."""
    source_address: Address
    target_address: Address
    start_line: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """All of a call."""

    hops: tuple[str, ...]
    """From left to right: the PBX, us, devices in the order in which they came."""
    rungs: tuple[Rung, ...]


def ladder(recording: Recording) -> Ladder:
    """Draw it; what is no UTF-8 in a message is replaced."""
    rungs = tuple(map(_rung, recording.messages))
    devices = dict.fromkeys(rung.hop for rung in rungs if rung.hop != PBX)
    return Ladder(hops=(PBX, US, *devices), rungs=rungs)


def _rung(message: RecordedMessage) -> Rung:
    text = message.raw.decode("utf-8", "replace")
    ends, addresses = (US, message.hop), (message.local, message.peer)
    if not message.sent:
        ends, addresses = ends[::-1], addresses[::-1]
    return Rung(
        at=message.at,
        source=ends[0],
        target=ends[1],
        hop=message.hop,
        source_address=addresses[0],
        target_address=addresses[1],
        start_line=text.lstrip("\r\n").partition("\n")[0].rstrip("\r"),
        text=text,
    )
