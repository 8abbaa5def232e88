"""What is kept of a call's SIP: values, and the compressed form that the store holds."""

import json
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.ids import AccountKey, CallId, Instant
from ..core.model import Address
from ..errors import PushProxyError

PBX = "pbx"
"""The hop on the PBX's side; devices are named as in the API."""

_VERSION = 1
# The texts of a call repeat each other: a higher level makes little of them and costs the call.
_LEVEL = 1
# zlib's own choice allocates and clears a quarter of a megabyte for each recording of 8 kB, which
# costs three times what compressing it does; the result is as small.
_WINDOW_BITS = 13
_MEMORY_LEVEL = 5


class RecordedMessage(NamedTuple):
    """One message between us and a hop; its secrets are masked."""

    at: Instant
    sent: bool
    """By us; else received."""
    hop: str
    """``pbx``, or the device's name."""
    peer: Address
    local: Address
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The messages of a call in the order in which they came and left."""

    call: CallId
    account: AccountKey
    messages: tuple[RecordedMessage, ...] = ()
    dropped: int = 0
    """Messages of this call that had no room; they are missing in the middle."""
    missed: int = 0
    """Messages of any calls that could not be copied while this one went on."""


class UnreadableRecording(PushProxyError):
    """A stored recording is not what this version writes."""

    title = "Unreadable recording"


def written(recording: Recording) -> bytes:
    """As the stack writes what it has captured of a call: a line of JSON, and all messages' texts.

    Without the names that the place in the store says.
    """
    places: dict[Address, int] = {}

    def place(address: Address) -> int:
        return places.setdefault(address, len(places))

    rows = [
        (each.at, each.sent, each.hop, place(each.peer), place(each.local), len(each.raw))
        for each in recording.messages
    ]
    head = {
        "v": _VERSION,
        "dropped": recording.dropped,
        "missed": recording.missed,
        "messages": rows,
        "addresses": [(each.host, each.port, each.transport) for each in places],
    }
    line = json.dumps(head, separators=(",", ":")).encode()
    return b"\n".join((line, b"".join(m.raw for m in recording.messages)))


def pack(text: bytes) -> bytes:
    """A recording's text, compressed."""
    made = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    return made.compress(text) + made.flush()


def unpack(packed: bytes, *, call: CallId, account: AccountKey) -> Recording:
    """The recording. Raises `UnreadableRecording`."""
    try:
        text = zlib.decompress(packed)
    except zlib.error as error:
        raise _unreadable(call, error) from error
    return read(text, call=call, account=account)


def read(text: bytes, *, call: CallId, account: AccountKey) -> Recording:
    """What `written` has written. Raises `UnreadableRecording`."""
    try:
        line, _, texts = text.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        if head["v"] != _VERSION:
            raise UnreadableRecording(
                f"call {call}: its SIP was recorded by a newer version of push-proxy; "
                "upgrade this node"
            )
        addresses = [Address(*each) for each in head["addresses"]]
        messages, at = [], 0
        for when, sent, hop, peer, local, size in head["messages"]:
            messages.append(
                RecordedMessage(
                    at=Instant(when),
                    sent=sent,
                    hop=hop,
                    peer=addresses[peer],
                    local=addresses[local],
                    raw=texts[at : at + size],
                )
            )
            at += size
        return Recording(
            call=call,
            account=account,
            messages=tuple(messages),
            dropped=head["dropped"],
            missed=head["missed"],
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _unreadable(call, error) from error


def _unreadable(call: CallId, error: Exception) -> UnreadableRecording:
    return UnreadableRecording(f"call {call}: its recorded SIP cannot be read ({error!r})")
