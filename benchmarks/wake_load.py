"""A load of wake calls: PBX, phones and push receiver in one asyncio process, as cheap as possible.

Each call: INVITE, push received, REGISTER, 401, REGISTER with digest, 200, INVITE at the phone,
180, 200, ACK, BYE, 200. Times are taken where the packet leaves or arrives here.
"""

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass, field
from typing import cast

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)
REALM = "bench.test"
_NONCE = re.compile(rb'algorithm=MD5[^\r]*nonce="([^"]+)"|nonce="([^"]+)"[^\r]*algorithm=MD5')
_DEVICE = re.compile(rb'"account": ?"([^"]+)"')
_LENGTH = re.compile(rb"[Cc]ontent-[Ll]ength: *(\d+)")
PUSH_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def headers(message: bytes, *names: bytes) -> bytes:
    """Those header lines, in their order, each with CRLF."""
    lines = message.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]
    return b"".join(line + b"\r\n" for line in lines if line.split(b":", 1)[0] in names)


def value(message: bytes, name: bytes) -> bytes:
    """A header's first value."""
    start = message.index(b"\r\n" + name + b": ") + len(name) + 4
    return message[start : message.index(b"\r\n", start)]


@dataclass(slots=True)
class Call:
    """Moments of one call, seconds; None: it did not come."""

    user: str
    invite: float
    push: float | None = None
    register: float | None = None
    relayed: float | None = None
    answered: float | None = None
    ended: float | None = None
    status: int = 0


@dataclass(slots=True)
class Load:
    """What all parts share."""

    proxy: tuple[str, int]
    phones: dict[str, "Phone"] = field(default_factory=dict)
    calls: dict[bytes, Call] = field(default_factory=dict)
    by_user: dict[str, Call] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    """Request-URIs of users that are called by their Contact at a registrar."""


class Udp(asyncio.DatagramProtocol):
    """A socket toward the proxy."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.transport: asyncio.DatagramTransport | None = None
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where we are."""
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def send(self, message: bytes) -> None:
        """To the proxy."""
        if self.transport is not None:
            self.transport.sendto(message, self.load.proxy)

    def answer(self, request: bytes, status: bytes, extra: bytes = b"", body: bytes = b"") -> None:
        """A response to a request."""
        to = value(request, b"To")
        tagged = to if b";tag=" in to else to + b";tag=phone"
        copied = headers(request, b"Via", b"Record-Route", b"From", b"Call-ID", b"CSeq")
        copied += b"To: " + tagged + b"\r\n"
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        self.send(b"SIP/2.0 " + status + b"\r\n" + copied + extra + length + body)


class Pbx(Udp):
    """Places calls as a trunk peer and hangs them up at once."""

    def call(self, user: str, number: int) -> None:
        """One INVITE."""
        call_id = b"bench-%d" % number
        peer = f"sip:{user}@{self.load.proxy[0]}:{self.load.proxy[1]}"
        text = (
            f"INVITE {self.load.targets.get(user, peer)} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch=z9hG4bKi{number}\r\n"
            f"From: <sip:caller@{REALM}>;tag=c{number}\r\nTo: <sip:{user}@{REALM}>\r\n"
            f"Call-ID: bench-{number}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:pbx@127.0.0.1:{self.port}>\r\nContent-Type: application/sdp\r\n"
            f"Content-Length: {len(SDP)}\r\n\r\n"
        )
        message = text.encode() + SDP
        call = Call(user=user, invite=time.perf_counter())
        self.load.calls[call_id] = call
        self.load.by_user[user] = call
        self.send(message)

    def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
        """Answers to our INVITEs and BYEs."""
        call = self.load.calls.get(value(data, b"Call-ID"))
        if call is None or not data.startswith(b"SIP/2.0 ") or data.startswith(b"SIP/2.0 1"):
            return
        status = int(data[8:11])
        if value(data, b"CSeq").endswith(b"BYE"):
            call.ended = time.perf_counter()
            return
        call.status = status
        if status == 200 and call.answered is None:
            call.answered = time.perf_counter()
            self._request(data, b"ACK", 1)
            self._request(data, b"BYE", 2)

    def _request(self, ok: bytes, method: bytes, cseq: int) -> None:
        target = value(ok, b"Contact").strip(b"<>")
        route = value(ok, b"Record-Route")
        call_id = value(ok, b"Call-ID")
        self.send(
            b"%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bK%s%s\r\n"
            % (method, target, self.port, method, call_id)
            + b"Route: %s\r\nMax-Forwards: 70\r\nCSeq: %d %s\r\n" % (route, cseq, method)
            + headers(ok, b"From", b"To", b"Call-ID")
            + b"Content-Length: 0\r\n\r\n"
        )


class Phone(Udp):
    """A phone that registers when pushed, answers, and takes the BYE."""

    def __init__(self, load: Load, user: str, password: str) -> None:
        super().__init__(load)
        self.user = user
        self.password = password
        self.cseq = 0

    def wake(self) -> None:
        """The push arrived."""
        call = self.load.by_user[self.user]
        if call.push is None:
            call.push = time.perf_counter()
            self._register(b"")

    def _register(self, authorization: bytes) -> None:
        self.cseq += 1
        text = (
            f"REGISTER sip:{REALM} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};rport"
            f";branch=z9hG4bK{self.user}r{self.cseq}\r\n"
            f"From: <sip:{self.user}@{REALM}>;tag=r\r\nTo: <sip:{self.user}@{REALM}>\r\n"
            f"Call-ID: reg-{self.user}\r\nCSeq: {self.cseq} REGISTER\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:{self.user}@127.0.0.1:{self.port}>\r\nExpires: 300\r\n"
        )
        self.send(text.encode() + authorization + b"Content-Length: 0\r\n\r\n")

    def _prove(self, challenge: bytes) -> None:
        found = _NONCE.search(challenge)
        if found is None:
            return
        nonce = (found[1] or found[2]).decode()
        uri = f"sip:{REALM}"

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what the phone speaks

        ha1 = md5(f"{self.user}:{REALM}:{self.password}")
        ha2 = md5(f"REGISTER:{uri}")
        response = md5(f"{ha1}:{nonce}:00000001:bench:auth:{ha2}")
        self.load.by_user[self.user].register = time.perf_counter()
        self._register(
            f'Authorization: Digest username="{self.user}", realm="{REALM}", nonce="{nonce}", '
            f'uri="{uri}", response="{response}", algorithm=MD5, qop=auth, nc=00000001, '
            'cnonce="bench"\r\n'.encode()
        )

    def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
        """401, INVITE, BYE; everything else needs nothing."""
        if data.startswith(b"SIP/2.0 401"):
            self._prove(data)
        elif data.startswith(b"INVITE "):
            call = self.load.calls[value(data, b"Call-ID")]
            if call.relayed is not None:
                return
            call.relayed = time.perf_counter()
            contact = b"Contact: <sip:%s@127.0.0.1:%d>\r\n" % (self.user.encode(), self.port)
            self.answer(data, b"180 Ringing", contact)
            self.answer(data, b"200 OK", contact + b"Content-Type: application/sdp\r\n", SDP)
        elif data.startswith(b"BYE "):
            self.answer(data, b"200 OK")


class PushReceiver(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, no more than a push needs."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection of the service's pool."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each whole request and wake its phone."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._buffer, 0, end)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < size:
                return
            body, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
            if self._transport is not None:
                self._transport.write(PUSH_ANSWER)
            named = _DEVICE.search(body)
            if named is not None and b'"call"' in body:
                self._load.phones[named[1].decode()].wake()
