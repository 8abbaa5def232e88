"""Messages as they look on the wire, with what must not be read in them."""

from push_proxy.core.ids import Instant
from push_proxy.core.model import Address
from push_proxy.recorder.recording import RecordedMessage

PBX = Address("192.0.2.10", 5060)
PHONE = Address("198.51.100.7", 40000)
US = Address("10.0.0.7", 5060)
SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    "m=audio 4000 RTP/SAVP 0\r\n"
)


def message(start: str, *headers: str, body: str = "", call_id: str = "sip-1") -> bytes:
    """A whole message; `CSeq` is among the headers, or made from the start line."""
    cseq = (
        ()
        if any(h.startswith("CSeq") for h in headers)
        else (f"CSeq: 1 {start.split(maxsplit=1)[0]}",)
    )
    lines = (
        start,
        "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1",
        'From: "Ann" <sip:555@pbx.example.com>;tag=1',
        "To: <sip:101@pbx.example.com>",
        f"Call-ID: {call_id}",
        *cseq,
        *headers,
        *(("Content-Type: application/sdp",) if body == SDP else ()),
        f"Content-Length: {len(body.encode())}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body.encode()


def recorded(
    raw: bytes,
    *,
    at: float = 1_000.0,
    sent: bool = False,
    hop: str = "pbx",
    peer: Address = PBX,
    local: Address = US,
) -> RecordedMessage:
    """As the recorder keeps it."""
    return RecordedMessage(Instant(at), sent, hop, peer, local, raw)
