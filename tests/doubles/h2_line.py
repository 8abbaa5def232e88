"""One HTTP/2 connection as a strict server sees it, with the faults that servers have.

h2 keeps the protocol's state; SETTINGS that limit streams, and GOAWAY, are sent by hand: h2 would
close the whole connection where a real server refuses one stream, and would end at its own GOAWAY.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any, Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame, SettingsFrame

MANY = 2**31 - 1
SPLIT_S = 0.02
"""Between the two halves of a split body, so that no reader gets them at once."""
Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Arriving:
    """A request whose body is not complete."""

    headers: Headers
    body: bytearray = field(default_factory=bytearray)


class LineOwner(Protocol):
    """Whom a line tells what happens on it."""

    def line_opened(self, line: H2Line) -> bool:
        """After the handshake; False: close it at once."""

    def line_closed(self, line: H2Line) -> None:
        """It is gone, whoever closed it."""

    def request_arrived(self, line: H2Line, stream: int, headers: Headers, body: bytes) -> None:
        """A whole request, not yet answered."""

    def stream_cancelled(self, line: H2Line, stream: int) -> None:
        """The client gave up an unanswered request."""


class H2Line(asyncio.Protocol):
    """Server side of one connection. `allowed` streams may be open; others are refused."""

    def __init__(self, owner: LineOwner, *, allowed: int, environment: str) -> None:
        self.owner = owner
        self.environment = environment
        self.number = 0
        """Given by the owner."""
        self.notes: dict[str, Any] = {}
        """The owner's memory about this connection."""
        self.pings = 0
        self.refused_streams = 0
        self.faults: list[str] = []
        """What the client did that HTTP/2 forbids."""
        self.goaway_received = False
        self.allowed = allowed
        self.deaf = False
        self._settled = False
        self._open: dict[int, Arriving] = {}
        self._unanswered: set[int] = set()
        self._last_accepted = 0
        self._last_processed: int | None = None
        """Of our GOAWAY: streams above it are ignored."""
        self._transport: asyncio.Transport | None = None
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))

    # ---- what the owner asks ----

    @property
    def open(self) -> bool:
        """Whether it can still carry anything."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unanswered(self) -> frozenset[int]:
        """Streams that wait for our answer."""
        return frozenset(self._unanswered)

    @property
    def going_away(self) -> bool:
        """Whether we have sent GOAWAY."""
        return self._last_processed is not None

    @property
    def client_certificate(self) -> dict[str, Any] | None:
        """The verified certificate that the client showed, as `ssl` decodes it."""
        shown: dict[str, Any] | None = None
        if self._transport is not None:
            shown = self._transport.get_extra_info("peercert") or None
        return shown

    def allow_streams(self, count: int) -> None:
        """Raise (or lower) MAX_CONCURRENT_STREAMS, and tell."""
        if count == self.allowed or not self.open:
            return
        self.allowed = count
        frame = SettingsFrame(0, settings={int(SettingCodes.MAX_CONCURRENT_STREAMS): count})
        self._write_own(frame.serialize())

    def respond(
        self, stream: int, status: int, headers: Headers, body: bytes = b"", *, split: bool = False
    ) -> None:
        """Answer; `split` sends the body in two DATA frames, a moment apart."""
        first = len(body) // 2 if split else len(body)
        fields = [(":status", str(status)), *headers]
        try:
            self._h2.send_headers(stream, fields, end_stream=not body)
            if body:
                self._h2.send_data(stream, body[:first], end_stream=not split)
        except ProtocolError:
            # The client has reset the stream or left meanwhile.
            self._answered(stream)
            return
        self._flush()
        if body and split:
            loop = asyncio.get_running_loop()
            loop.call_later(SPLIT_S, self._respond_rest, stream, body[first:])
        else:
            self._answered(stream)

    def reset(self, stream: int, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        """RST_STREAM instead of an answer."""
        try:
            self._h2.reset_stream(stream, code)
        except (StreamClosedError, ProtocolError):
            return
        finally:
            self._unanswered.discard(stream)
        self._flush()
        self._close_when_drained()

    def go_away(
        self,
        *,
        last_stream: int | None = None,
        code: ErrorCodes = ErrorCodes.NO_ERROR,
        data: bytes = b"",
        close: bool = False,
    ) -> None:
        """GOAWAY that names `last_stream` (default: the last one begun) as accepted.

        Accepted requests are answered still, then the connection closes; with `close` at once.
        """
        self._last_processed = self._last_accepted if last_stream is None else last_stream
        frame = GoAwayFrame(0, last_stream_id=self._last_processed)
        frame.error_code = int(code)
        frame.additional_data = data
        self._write_own(frame.serialize())
        self._unanswered = {each for each in self._unanswered if each <= self._last_processed}
        if close:
            self.close()
        else:
            self._close_when_drained()

    def close(self) -> None:
        """Close politely: what was written still leaves."""
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Break the connection in the middle of whatever goes on."""
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio's side ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.faults.append("the client offered no ALPN protocol h2")
        if not self.owner.line_opened(self) or self.faults:
            transport.abort()
            return
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: self.allowed,
                SettingCodes.MAX_HEADER_LIST_SIZE: 8000,
            },
        )
        self._h2.initiate_connection()
        # From here on we count streams ourselves.
        self._h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = MANY
        self._h2.local_settings.acknowledge()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        try:
            events = self._h2.receive_data(data)
        except ProtocolError as error:
            self.faults.append(f"{type(error).__name__}: {error}")
            self._flush()
            self.close()
            return
        for event in events:
            self._take(event)
        self._flush()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._unanswered.clear()
        self.owner.line_closed(self)

    # ---- inside ----

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(stream), headers=list(headers)):
                self._begin(stream, [(str(name), str(value)) for name, value in headers])
            case DataReceived(stream_id=int(stream), data=bytes(data)):
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                if stream in self._open:
                    self._open[stream].body += data
            case StreamEnded(stream_id=int(stream)) if stream in self._open:
                whole = self._open.pop(stream)
                self.owner.request_arrived(self, stream, whole.headers, bytes(whole.body))
            case StreamReset(stream_id=int(stream)):
                self._open.pop(stream, None)
                if stream in self._unanswered:
                    self._answered(stream)
                    self.owner.stream_cancelled(self, stream)
            case PingReceived():
                self.pings += 1
            case PriorityUpdated():
                pass  # as APNs: frames of this kind are ignored
            case SettingsAcknowledged():
                self._settled = True
            case ConnectionTerminated():
                self.goaway_received = True

    def _begin(self, stream: int, headers: Headers) -> None:
        if self._last_processed is not None and stream > self._last_processed:
            return
        if len(self._unanswered) >= self.allowed:
            self.refused_streams += 1
            if self._settled:
                self.faults.append(
                    f"stream {stream} was opened beside {len(self._unanswered)} others, "
                    f"MAX_CONCURRENT_STREAMS being {self.allowed}"
                )
            self._h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        self._last_accepted = stream
        self._unanswered.add(stream)
        self._open[stream] = Arriving(headers)

    def _respond_rest(self, stream: int, rest: bytes) -> None:
        try:
            self._h2.send_data(stream, rest, end_stream=True)
        except ProtocolError:
            return
        finally:
            self._answered(stream)
        self._flush()

    def _answered(self, stream: int) -> None:
        self._unanswered.discard(stream)
        self._close_when_drained()

    def _close_when_drained(self) -> None:
        if self.going_away and not self._unanswered:
            self._flush()
            self.close()

    def _write_own(self, frame: bytes) -> None:
        """A frame that h2 knows nothing of, after all that h2 has to say already."""
        self._flush()
        self._write(frame)

    def _flush(self) -> None:
        self._write(self._h2.data_to_send())

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
