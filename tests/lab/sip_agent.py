"""A SIP endpoint on UDP, TCP or TLS with nothing automatic: the work-horse of wire-exact tests."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Self, cast

from .certificates import TlsIdentity
from .impaired_link import ImpairedLink
from .sip_endurance import Endurance
from .sip_message import Header, Message, build, parse
from .sip_stream import Connection, StreamSocket

Address = tuple[str, int]
Handler = Callable[[Message], bool]
T1_S = 0.5
T2_S = 4.0


class UnexpectedSipError(AssertionError):
    """What the wire showed is not what the test expected; the text lists what it showed."""


class SipAgent:
    """Sends and receives messages on its own loopback port.

    Every arrival stands in `history` for good. It is offered to `handlers` first; what none of
    them takes waits in the inbox, in order, until an `expect` picks it. Retransmissions are
    arrivals like any other: nothing is absorbed and nothing is repeated unless asked.

    On UDP `link` may lose, double and reorder its packets. After `endure` it repeats and absorbs
    by RFC 3261's timers; what it absorbed stands in `history` alone.

    Over `tcp` and `tls` it listens too. What it sends goes out on the connection with the other
    end that is named, and one is made when there is none. `tls` says what it shows and believes;
    without a certificate it cannot be reached, only connect.
    """

    def __init__(
        self, name: str, *, transport: str = "udp", tls: TlsIdentity | None = None
    ) -> None:
        if transport == "tls" and tls is None:
            raise ValueError(f"{name}: TLS needs an identity, at least whom to believe")
        self.name = name
        self.transport = transport
        self.tls = tls
        self.history: list[Message] = []
        self.sent: list[tuple[float, bytes, Address]] = []
        self.handlers: list[Handler] = []
        self._inbox: list[Message] = []
        self._arrival = asyncio.Event()
        self._datagrams: _DatagramSocket | None = None
        self._stream: StreamSocket | None = None
        self.garbage: list[bytes] = []
        """What arrived and is no SIP, keep-alive datagrams included."""
        self.link: ImpairedLink | None = None
        self.endurance: Endurance | None = None

    async def open(self, *, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Bind the socket; with another host than 127.0.0.1 it is a stranger by address."""
        if self.transport == "udp":
            loop = asyncio.get_running_loop()
            _, opened = await loop.create_datagram_endpoint(
                lambda: _DatagramSocket(self._arrive), local_addr=(host, port)
            )
            if self._datagrams is not None:
                opened.close()  # two pushes have woken it at the same moment
                return self
            self._datagrams = opened
        else:
            stream = StreamSocket(self._take, self.tls if self.transport == "tls" else None)
            try:
                await stream.open(host, port)
            except BaseException:
                stream.close()  # cancelled while it listens already
                raise
            if self._stream is not None:
                stream.close()
                return self
            self._stream = stream
        return self

    def close(self) -> None:
        """Close every socket; a phone that has fallen asleep. Idempotent."""
        if self.endurance is not None:
            self.endurance.close()
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def move(self, host: str) -> None:
        """Bind at another host; over TCP and TLS the connections stay behind, frozen."""
        if self._stream is None:
            self.close()
            await self.open(host=host)
            return
        self._stream.stop_listening()
        for connection in self._stream.connections:
            connection.freeze()
        await self._stream.open(host, 0)

    async def __aenter__(self) -> Self:
        return self if self.is_open else await self.open()

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether it has a socket."""
        return self._datagrams is not None or self._stream is not None

    @property
    def address(self) -> Address:
        """Host and port that it receives at. Raises RuntimeError while it is closed."""
        return (self._datagrams or self._opened(self._stream)).address

    @property
    def hostport(self) -> str:
        """`host:port` of the socket."""
        return "{}:{}".format(*self.address)

    def uri(self, user: str) -> str:
        """A SIP URI of `user` at this socket, as for a Contact."""
        by = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{user}@{self.hostport}{by}"

    @property
    def stream(self) -> StreamSocket:
        """Its connections. Raises RuntimeError over UDP and while it is closed."""
        return self._opened(self._stream)

    @property
    def connections(self) -> list[Connection]:
        """All connections that it ever had since it was opened; none over UDP."""
        return self._stream.connections if self._stream is not None else []

    def endure(self, *, t1_s: float = T1_S, t2_s: float = T2_S) -> Endurance:
        """From now on repeat and absorb as RFC 3261 wants it on UDP."""
        self.endurance = Endurance(self._transmit, t1_s=t1_s, t2_s=t2_s)
        return self.endurance

    def send(self, data: bytes, to: Address) -> bytes:
        """Send exactly these bytes; returns them. Raises RuntimeError while closed."""
        self._transmit(data, to)
        if self.endurance is not None:
            self.endurance.sent(data, to)
        return data

    def _transmit(self, data: bytes, to: Address) -> None:
        carrier = self._datagrams or self._opened(self._stream)
        self.sent.append((time.monotonic(), data, to))
        if self.link is None:
            carrier.send(data, to)
        else:
            self.link.outward.carry(data, lambda: carrier.send(data, to))

    def via(self, branch: str | None = None) -> Header:
        """A Via of ours with rport and a fresh branch."""
        by = f"SIP/2.0/{self.transport.upper()} {self.hostport}"
        return "Via", f"{by};rport;branch={branch or new_branch()}"

    def _opened(self, socket: StreamSocket | None) -> StreamSocket:
        if socket is None:
            raise RuntimeError(f"{self.name} has no socket of that kind: open() it first")
        return socket

    def _arrive(self, data: bytes, source: Address) -> None:
        if self.link is None:
            self._take(data, source)
        else:
            self.link.inward.carry(data, lambda: self.is_open and self._take(data, source))

    def _take(self, data: bytes, source: Address) -> None:
        try:
            message = parse(data, source=source, arrived_s=time.monotonic())
        except (ValueError, UnicodeDecodeError):
            self.garbage.append(data)
            return
        self.history.append(message)
        if self.endurance is not None and self.endurance.absorbs(message):
            return
        if not any(handler(message) for handler in list(self.handlers)):
            self._inbox.append(message)
        self._arrival.set()

    def respond(
        self,
        request: Message,
        status: int,
        reason: str,
        *,
        headers: tuple[Header, ...] = (),
        body: bytes = b"",
        to_tag: str = "",
    ) -> bytes:
        """Answer `request` where it came from (RFC 3581), with its Via, From, To, Call-ID, CSeq.

        `to_tag` is added unless To has one; Record-Route is copied (RFC 3261 §12.1.1).
        """
        copied: list[Header] = [("Via", value) for value in request.all("Via")]
        copied += [("Record-Route", value) for value in request.all("Record-Route")]
        to = request.header("To")
        if to_tag and not request.to_tag:
            to += f";tag={to_tag}"
        copied += [("From", request.header("From")), ("To", to)]
        copied += [("Call-ID", request.call_id), ("CSeq", request.header("CSeq"))]
        start = f"SIP/2.0 {status} {reason}"
        return self.send(build(start, [*copied, *headers], body), request.source)

    async def expect(
        self,
        *,
        within: float,
        method: str | None = None,
        status: int | None = None,
        call_id: str | None = None,
        where: Callable[[Message], bool] = lambda _: True,
    ) -> Message:
        """The first message in the inbox, now or within seconds, that fits; it is taken out.

        `method` alone means a request; `status` a response (then `method` is that in CSeq).
        Others stay in the inbox. Raises UnexpectedSipError with everything that arrived.
        """

        def fits(message: Message) -> bool:
            if status is None and method is not None and not message.is_request:
                return False
            return (
                (method is None or message.method == method)
                and (status is None or message.status == status)
                and (call_id is None or message.call_id == call_id)
                and where(message)
            )

        wanted = " ".join(str(part) for part in (status, method, call_id) if part is not None)
        deadline = time.monotonic() + within
        while True:
            for index, message in enumerate(self._inbox):
                if fits(message):
                    return self._inbox.pop(index)
            self._arrival.clear()
            left = deadline - time.monotonic()
            try:
                await asyncio.wait_for(self._arrival.wait(), max(left, 0))
            except TimeoutError:
                raise self.surprise(f"got no {wanted or 'message'} within {within} s") from None

    async def expect_nothing(
        self,
        *,
        within: float,
        method: str | None = None,
        status: int | None = None,
        call_id: str | None = None,
    ) -> None:
        """Fails with UnexpectedSipError as soon as a message that fits is there or arrives."""
        try:
            message = await self.expect(
                within=within, method=method, status=status, call_id=call_id
            )
        except UnexpectedSipError:
            return
        raise self.surprise(f"should not have got {message.start!r}")

    async def request(
        self, data: bytes, to: Address, *, within: float = 5.0, retransmit: bool = False
    ) -> Message:
        """Send a request and return its final response; provisional ones are taken out too.

        With `retransmit`, RFC 3261 §17.1 timer A or E repeats it until a response comes.
        """
        sent = parse(data)
        loop = asyncio.get_running_loop()
        repeats: list[asyncio.TimerHandle] = []

        def repeat(pause_s: float) -> None:
            self.send(data, to)
            longer = pause_s * 2 if sent.method == "INVITE" else min(pause_s * 2, T2_S)
            repeats[:] = [loop.call_later(pause_s, repeat, longer)]

        if retransmit:
            repeat(T1_S)
        else:
            self.send(data, to)
        deadline = time.monotonic() + within
        try:
            while True:
                response = await self.expect(
                    within=max(deadline - time.monotonic(), 0),
                    where=lambda m: not m.is_request and m.branch == sent.branch
                    and m.cseq_method == sent.method,
                )  # fmt: skip
                for timer in repeats:
                    timer.cancel()
                if response.status >= 200:
                    return response
        finally:
            for timer in repeats:
                timer.cancel()

    def received(
        self, *, method: str | None = None, status: int | None = None, call_id: str | None = None
    ) -> list[Message]:
        """Everything in `history` that fits, for counting; retransmissions included."""
        return [
            message
            for message in self.history
            if (method is None or message.method == method)
            and (message.status == status if status is not None else True)
            and (status is not None or method is None or message.is_request)
            and (call_id is None or message.call_id == call_id)
        ]

    def surprise(self, what: str) -> UnexpectedSipError:
        """An UnexpectedSipError that says `what` and shows all that arrived."""
        seen = "\n".join(
            f"  {message.arrived_s:.3f} {message.start} (CSeq {message.get('CSeq')}, "
            f"{message.get('Call-ID')})"
            for message in self.history
        )
        errors = "".join(f"\n  {error!r}" for error in self._stream.errors) if self._stream else ""
        return UnexpectedSipError(
            f"{self.name} {what}; it received:\n{seen or '  nothing'}"
            + (f"\nand could not connect:{errors}" if errors else "")
        )


class _DatagramSocket(asyncio.DatagramProtocol):
    def __init__(self, on_message: Callable[[bytes, Address], None]) -> None:
        self._on_message = on_message
        self._transport: asyncio.DatagramTransport | None = None
        self.address: Address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's UDP transport is no subclass of DatagramTransport: isinstance would fail.
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._on_message(data, addr)

    def send(self, data: bytes, to: Address) -> None:
        # A late packet of a phone that has fallen asleep meanwhile goes nowhere.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, to)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def new_branch() -> str:
    """A fresh branch with the RFC 3261 cookie."""
    return f"z9hG4bK{secrets.token_hex(8)}"


def new_tag() -> str:
    """A fresh From or To tag."""
    return secrets.token_hex(6)


def new_call_id() -> str:
    """A fresh Call-ID."""
    return f"{secrets.token_hex(10)}@test"
