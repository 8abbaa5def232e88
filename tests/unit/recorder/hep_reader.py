"""Reads HEP 3 packets, from the specification alone."""

import socket
import struct
from dataclasses import dataclass
from typing import Any

_READ = {
    1: ("family", "B"), 2: ("protocol", "B"), 7: ("source_port", "!H"), 8: ("target_port", "!H"),
    9: ("seconds", "!I"), 10: ("microseconds", "!I"), 11: ("kind", "B"), 12: ("capture_id", "!I"),
}  # fmt: skip
_TEXT = {14: "password", 15: "payload", 17: "correlation_id"}
_ADDRESS = {3: "source", 4: "target", 5: "source", 6: "target"}


@dataclass(frozen=True)
class HepPacket:
    """Chunks by name."""

    fields: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.fields[name]


def read(data: bytes) -> HepPacket:
    """One packet; whatever is not as specified fails."""
    assert data[:4] == b"HEP3"
    assert struct.unpack("!H", data[4:6]) == (len(data),)
    fields: dict[str, Any] = {}
    at = 6
    while at < len(data):
        vendor, kind, length = struct.unpack("!HHH", data[at : at + 6])
        value = data[at + 6 : at + length]
        assert vendor == 0
        assert len(value) == length - 6
        if kind in _READ:
            name, form = _READ[kind]
            (fields[name],) = struct.unpack(form, value)
        elif kind in _ADDRESS:
            family = socket.AF_INET if kind < 5 else socket.AF_INET6
            fields[_ADDRESS[kind]] = socket.inet_ntop(family, value)
        else:
            fields[_TEXT[kind]] = value
        at += length
    assert at == len(data)
    return HepPacket(fields)
