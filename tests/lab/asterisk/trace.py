"""The SIP messages that Asterisk saw, out of its packet log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.lab.sip_message import Message, parse

_PACKET = re.compile(
    rb"<--- (Received|Transmitting) SIP (?:request|response) \(\d+ bytes\) "
    rb"(?:from|to) (\w+):([\d.]+):(\d+) --->\n"
)
_START = re.compile(rb"SIP/2\.0 \d{3} |[A-Z]+ \S+ SIP/2\.0\r\n")
_LENGTH = re.compile(rb"^Content-Length\s*:\s*(\d+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Packet:
    """One message on the wire, retransmissions included."""

    sent: bool
    """By Asterisk; else it received it."""
    transport: str
    peer: tuple[str, int]
    message: Message


def read(log: bytes) -> list[Packet]:
    """All packets in `log`, oldest first; one that is not all there yet is left out."""
    heads = list(_PACKET.finditer(log))
    ends = [*(head.start() for head in heads[1:]), len(log)]
    return [
        Packet(
            sent=head[1] == b"Transmitting",
            transport=head[2].decode().lower(),
            peer=(peer := (head[3].decode(), int(head[4]))),
            message=parse(data, source=peer),
        )
        for head, end in zip(heads, ends, strict=True)
        for data in _messages(log[head.end() : end])
    ]


def _messages(text: bytes) -> Iterator[bytes]:
    # What one read of a stream brought is logged at once: it may be several.
    while _START.match(text):
        head, gap, _ = text.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = len(head) + 4 + (int(length[1]) if length else 0)
        if not gap or len(text) < size:
            return
        yield text[:size]
        text = text[size:]
