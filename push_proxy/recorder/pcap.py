"""A recording as a capture file that Wireshark, tshark and sngrep open.

The classic format with raw IP packets. A message over UDP is a datagram; one over TCP is a segment
with numbers that follow each other. One over TLS is shown as what it said, on our side's port
5060: at 5061 a reader would try to decrypt it. Packets are made here: what really lay around the
message on the wire (fragments, other segments, Ethernet) is not known.
"""

import ipaddress
import struct
from collections.abc import Iterator, Sequence

from ..core.model import Address
from .recording import RecordedMessage

MEDIA_TYPE = "application/vnd.tcpdump.pcap"
_LINKTYPE_RAW = 101
_MAX_PACKET = 65_535
_TCP, _UDP = 6, 17
_PUSH_ACK = 0x18
_WINDOW = 65_535
_TTL = 64
_PLAIN_PORT = 5060
# Less than an IPv4 packet holds beside its headers.
_MAX_PAYLOAD = 65_000

_Flow = tuple[bytes, int, bytes, int]


def pcap(messages: Sequence[RecordedMessage]) -> bytes:
    """The whole file."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _MAX_PACKET, _LINKTYPE_RAW)
    return b"".join((head, *_records(messages)))


def _records(messages: Sequence[RecordedMessage]) -> Iterator[bytes]:
    sequences: dict[_Flow, int] = {}
    for message in messages:
        microseconds = round(message.at * 1_000_000)
        for packet in _packets(message, sequences):
            seconds, rest = divmod(microseconds, 1_000_000)
            yield struct.pack("<IIII", seconds, rest, len(packet), len(packet)) + packet


def _packets(message: RecordedMessage, sequences: dict[_Flow, int]) -> Iterator[bytes]:
    transport = message.peer.transport
    local_port = _PLAIN_PORT if transport == "tls" else message.local.port
    peer = ipaddress.ip_address(message.peer.host)
    local = _of_family(message.local, peer.version)
    ours, theirs = (local.packed, local_port), (peer.packed, message.peer.port)
    source, destination = (ours, theirs) if message.sent else (theirs, ours)
    flow: _Flow = (*source, *destination)
    back: _Flow = (*destination, *source)
    if transport == "udp":
        yield _ip(flow, _UDP, _udp(flow, message.raw[:_MAX_PAYLOAD]))
        return
    for at in range(0, len(message.raw), _MAX_PAYLOAD):
        payload = message.raw[at : at + _MAX_PAYLOAD]
        number = sequences.get(flow, 1)
        yield _ip(flow, _TCP, _tcp(flow, number, sequences.get(back, 1), payload))
        sequences[flow] = (number + len(payload)) % 2**32


def _of_family(address: Address, version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; one that listens to both families is unknown in the other one."""
    found = ipaddress.ip_address(address.host)
    if found.version == version:
        return found
    return ipaddress.ip_address("0.0.0.0" if version == 4 else "::")


def _ip(flow: _Flow, protocol: int, payload: bytes) -> bytes:
    source, _, destination, _ = flow
    if len(source) == 16:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, _TTL)
        return head + source + destination + payload

    def header(checksum: int) -> bytes:
        size = 20 + len(payload)
        fields = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, _TTL, protocol, checksum)
        return fields + source + destination

    return header(_checksum(header(0))) + payload


def _udp(flow: _Flow, payload: bytes) -> bytes:
    _, source_port, _, destination_port = flow
    size = 8 + len(payload)

    def header(checksum: int) -> bytes:
        return struct.pack("!HHHH", source_port, destination_port, size, checksum)

    # Zero would say that there is none (RFC 768).
    checksum = _checksum(_pseudo(flow, _UDP, size) + header(0) + payload) or 0xFFFF
    return header(checksum) + payload


def _tcp(flow: _Flow, number: int, acknowledged: int, payload: bytes) -> bytes:
    _, source_port, _, destination_port = flow

    def header(checksum: int) -> bytes:
        return struct.pack(
            "!HHIIBBHHH",
            source_port, destination_port, number, acknowledged,
            5 << 4, _PUSH_ACK, _WINDOW, checksum, 0,
        )  # fmt: skip

    size = 20 + len(payload)
    return header(_checksum(_pseudo(flow, _TCP, size) + header(0) + payload)) + payload


def _pseudo(flow: _Flow, protocol: int, size: int) -> bytes:
    source, _, destination, _ = flow
    if len(source) == 16:
        return source + destination + struct.pack("!II", size, protocol)
    return source + destination + struct.pack("!BBH", 0, protocol, size)


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
