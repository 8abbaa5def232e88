"""The SIP messages that Asterisk saw, out of its packet log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.lab.sip_message import Message, parse

_PACKET = re.compile(
    r"<--- (Received|Transmitting) SIP (?:request|response) \(\d+ bytes\) "
    r"(?:from|to) (\w+):([\d.]+):(\d+) --->\n(.*?)(?=\n\[|\n<---|\Z)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Packet:
    """One message on the wire, retransmissions included."""

    sent: bool
    """By Asterisk; else it received it."""
    transport: str
    peer: tuple[str, int]
    message: Message


def read(log: str) -> list[Packet]:
    """All packets in `log`, oldest first. What is no whole message is left out."""
    found: list[Packet] = []
    for match in _PACKET.finditer(log.replace("\r\n", "\n")):
        peer = match[3], int(match[4])
        try:
            message = parse(_as_sent(match[5]), source=peer)
        except ValueError:
            continue
        found.append(Packet(match[1] == "Transmitting", match[2].lower(), peer, message))
    return found


def _as_sent(text: str) -> bytes:
    head, _, body = text.partition("\n\n")
    return "\r\n".join([*head.split("\n"), "", *body.rstrip("\n").split("\n"), ""]).encode()
