"""HEP version 3: a SIP message with where and when it was seen, for Homer and its like.

A packet is ``HEP3``, its length, and chunks: vendor (0: the specification's own), type, length,
value; all numbers in network order.
"""

import ipaddress
import struct

from ..core.ids import Instant
from ..core.model import Address

MAX_PACKET = 65_507
"""What a UDP datagram holds."""
_FAMILIES = {4: 2, 6: 10}
_TCP, _UDP = 6, 17
_SIP = 1


def packet(
    raw: bytes,
    *,
    at: Instant,
    source: Address,
    target: Address,
    correlation_id: str,
    capture_id: int,
    password: bytes = b"",
) -> bytes | None:
    """One message; None when it is too long for a datagram.

    What came over TLS says TCP: the specification has no number for it.
    """
    seconds, microseconds = divmod(round(at * 1_000_000), 1_000_000)
    first, second = ipaddress.ip_address(source.host), ipaddress.ip_address(target.host)
    if first.version != second.version:
        unknown = ipaddress.ip_address("0.0.0.0" if first.version == 4 else "::")
        second = unknown
    v6 = first.version == 6
    chunks = [
        (0x0001, bytes((_FAMILIES[first.version],))),
        (0x0002, bytes((_UDP if source.transport == "udp" else _TCP,))),
        (0x0005 if v6 else 0x0003, first.packed),
        (0x0006 if v6 else 0x0004, second.packed),
        (0x0007, struct.pack("!H", source.port)),
        (0x0008, struct.pack("!H", target.port)),
        (0x0009, struct.pack("!I", seconds)),
        (0x000A, struct.pack("!I", microseconds)),
        (0x000B, bytes((_SIP,))),
        (0x000C, struct.pack("!I", capture_id)),
        (0x0011, correlation_id.encode()),
        (0x000F, raw),
    ]
    if password:
        chunks.insert(-2, (0x000E, password))
    if sum(6 + len(value) for _, value in chunks) + 6 > MAX_PACKET:
        return None
    body = b"".join(struct.pack("!HHH", 0, kind, 6 + len(value)) + value for kind, value in chunks)
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body
