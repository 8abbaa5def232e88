"""One connection to APNs: aioapns' protocol, with its faults mended.

aioapns 4.0 closes after ten idle seconds and at any GOAWAY, waits for ever for an answer that
does not come, breaks when one comes late or in two parts, and never asks whether the other side
still lives. What is left of it here is how a connection begins.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from aioapns.connection import APNsTLSClientProtocol
from h2.connection import ConnectionInputs, ConnectionState, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import NoAvailableStreamIDError, ProtocolError

from .apns_liveness import Due, Liveness
from .apns_request import ApnsRequest, ApnsTimes, NoAnswer, Unsent
from .apns_verdicts import Answer, proves_provider

_log = structlog.get_logger(__name__)
_BODY_LIMIT = 4096
_PING = b"pushprxy"

# They would show tokens: hpack each header at debug, aioapns whole answers.
for _name in ("hpack", "aioapns"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class _Draining(H2ConnectionStateMachine):
    """h2 ends at a GOAWAY; here answers to what was accepted still come in (RFC 9113 §6.8)."""

    _transitions = H2ConnectionStateMachine._transitions | {  # noqa: SLF001 - no public way
        (state, ConnectionInputs.RECV_GOAWAY): (None, state)
        for state in (ConnectionState.IDLE, ConnectionState.CLIENT_OPEN)
    }


@dataclass(slots=True)
class _Call:
    """A request that waits for its answer."""

    answer: asyncio.Future[Answer]
    sent_at: float
    rest: bytes
    """Of its body, not yet sent."""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


class ApnsConnection(APNsTLSClientProtocol):
    """Requests and answers; a pool owns it, looks after it and is told of each change."""

    def __init__(
        self,
        *,
        authority: str,
        bearer: str | None,
        times: ApnsTimes,
        changed: Callable[["ApnsConnection"], None],
    ) -> None:
        """``bearer``: its provider token for life, None with a certificate; in a running loop."""
        super().__init__(apns_topic="", loop=asyncio.get_running_loop())
        self.conn.state_machine = _Draining()
        self.bearer = bearer
        self.opened_at: float = self.loop.time()
        self.answered = 0
        self.lost_because = ""
        """Once it is lost: why, as a reason."""
        self.lost = asyncio.Event()
        self.dismissed = False
        """Whether it was us who had enough of it."""
        self._authority = authority
        self._changed = changed
        self._calls: dict[int, _Call] = {}
        self._bodies: deque[int] = deque()
        self._reserved = 0
        self._settled = False
        self._proven = bearer is None
        self._retired = False
        self._paused = False
        self._liveness = Liveness(times, now=self.opened_at)

    # ---- what the pool asks ----

    @property
    def usable(self) -> bool:
        """Whether new requests may go here, now or when others have been answered."""
        if self._retired or self.transport is None or self.transport.is_closing():
            return False
        return not self.suspect

    @property
    def suspect(self) -> bool:
        """Whether a PING is unanswered for longer than it should be."""
        return self._liveness.suspect(self.loop.time())

    @property
    def room(self) -> int:
        """How many more requests may go here at once.

        Before a provider token was accepted APNs takes one at a time, whatever it announces.
        """
        if not self.usable or self._paused:
            return 0
        limit: int = self.conn.remote_settings.max_concurrent_streams if self._settled else 1
        return min(limit, limit if self._proven else 1) - self.load

    @property
    def load(self) -> int:
        """Requests that wait for their answers, or are about to be sent."""
        return len(self._calls) + self._reserved

    def reserve(self) -> None:
        """Keep room for one `exchange`, or one `release`."""
        self._reserved += 1

    def release(self) -> None:
        """It is not needed."""
        self._reserved -= 1
        self._close_when_drained()

    async def exchange(self, request: ApnsRequest) -> Answer:
        """Send what room was reserved for, and wait for the answer without end.

        Raises `Unsent` and `NoAnswer`. When the caller gives up, only this stream ends.
        """
        self.release()
        stream = self._begin(request)
        try:
            return await self._calls[stream].answer
        finally:
            self._abandon(stream)

    def retire(self) -> None:
        """No more requests; it closes when those that it has are answered."""
        self.dismissed = True
        if not self._retired:
            self._retired = True
            self._close_when_drained()

    def watch(self, now: float) -> None:
        """Find out whether the other side is still there; called often."""
        first = next(iter(self._calls.values()), None)
        self._do(self._liveness.due(now, first.sent_at if first is not None else None))

    def doubt(self, now: float) -> None:
        """A neighbour is suspect: ask this one, too."""
        self._do(self._liveness.doubt(now))

    def close(self) -> None:
        """Say goodbye and close; who still waits learns that nothing is known."""
        if self.transport is None or self.transport.is_closing():
            return
        self._retired = True
        try:
            self.conn.close_connection()
        except ProtocolError:
            self.transport.abort()
            return
        self.flush()
        self.transport.close()

    def abort(self) -> None:
        """Break it off."""
        if self.transport is not None:
            self.transport.abort()

    # ---- asyncio's side ----

    def data_received(self, data: bytes) -> None:
        """Events of h2, each to its request."""
        if self.transport is None or self.transport.is_closing():
            return
        self._liveness.heard(self.loop.time())
        try:
            events = self.conn.receive_data(data)
        except ProtocolError as error:
            _log.warning("APNs broke HTTP/2", error=type(error).__name__)
            self.flush()
            self._end("protocol_error")
            return
        for event in events:
            self._take(event)
        self._send_bodies()
        self.flush()
        self._close_when_drained()
        self._changed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, whoever closed it."""
        self.transport = None
        if not self.lost_because:
            # With TLS 1.3 a server refuses a client's certificate only after the handshake, by an
            # alert or by hanging up without having said anything.
            refused = self.bearer is None and (isinstance(exc, ssl.SSLError) or not self._settled)
            self.lost_because = "certificate_refused" if refused else "disconnected"
        for stream in tuple(self._calls):
            self._fail(stream, NoAnswer(self.lost_because))
        self.lost.set()
        self._changed(self)

    def pause_writing(self) -> None:
        """The other side does not read."""
        self._paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False
        self._changed(self)

    def refresh_inactivity_timer(self) -> None:
        """Idle connections are kept, as Apple asks."""

    def flush(self) -> None:
        """Write what h2 has ready."""
        data = self.conn.data_to_send()
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    # ---- inside ----

    def _begin(self, request: ApnsRequest) -> int:
        if self.transport is None or self.transport.is_closing() or self._retired:
            raise Unsent("disconnected")
        try:
            stream: int = self.conn.get_next_available_stream_id()
            self.conn.send_headers(stream, request.headers(self._authority, self.bearer))
        except NoAvailableStreamIDError:
            self.retire()
            raise Unsent("streams_used_up") from None
        except ProtocolError as error:
            _log.warning("HTTP/2 refuses a request", error=type(error).__name__)
            self.retire()
            raise Unsent("protocol_error") from None
        answer = self.loop.create_future()
        self._calls[stream] = _Call(answer, self.loop.time(), request.message.body)
        self._bodies.append(stream)
        self._send_bodies()
        self.flush()
        return stream

    def _send_bodies(self) -> None:
        """As much of them as APNs lets through (RFC 9113 §5.2)."""
        while self._bodies:
            stream = self._bodies[0]
            call = self._calls.get(stream)
            if call is None:
                self._bodies.popleft()
                continue
            try:
                sent = self._send_part(stream, call)
            except ProtocolError as error:
                _log.debug("a stream ended before its body", error=type(error).__name__)
                self._fail(stream, NoAnswer("reset"))
                continue
            if not sent:
                return

    def _send_part(self, stream: int, call: _Call) -> bool:
        """As much of one body as fits now; False: nothing does."""
        window = self.conn.local_flow_control_window(stream)
        part = call.rest[: max(0, min(window, self.conn.max_outbound_frame_size))]
        if not part:
            return False
        call.rest = call.rest[len(part) :]
        self.conn.send_data(stream, part, end_stream=not call.rest)
        if not call.rest:
            self._bodies.popleft()
        return True

    def _take(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                if (call := self._calls.get(event.stream_id)) is not None:
                    call.headers = dict(event.headers)
            case DataReceived():
                self.conn.acknowledge_received_data(
                    event.flow_controlled_length or 0, event.stream_id
                )
                call = self._calls.get(event.stream_id)
                if call is not None and len(call.body) < _BODY_LIMIT:
                    call.body += event.data or b""
            case StreamEnded():
                self._answer(event.stream_id)
            case StreamReset():
                refused = event.error_code == ErrorCodes.REFUSED_STREAM
                fault = Unsent("refused_stream") if refused else NoAnswer("reset")
                self._fail(event.stream_id, fault)
            case ConnectionTerminated():
                self._go_away(event)
            case RemoteSettingsChanged():
                self._settled = True
            case PingAckReceived():
                self._liveness.answered()

    def _answer(self, stream: int) -> None:
        call = self._calls.pop(stream, None)
        if call is None:
            return
        if call.rest:
            # Answered before all of it was sent: the rest is of no use to anybody.
            self._reset(stream)
        answer = Answer.read(call.headers, bytes(call.body))
        self.answered += 1
        self._proven = self._proven or proves_provider(answer)
        if not call.answer.done():
            call.answer.set_result(answer)

    def _fail(self, stream: int, fault: NoAnswer) -> None:
        call = self._calls.pop(stream, None)
        if call is not None and not call.answer.done():
            call.answer.set_exception(fault)
            call.answer.exception()  # seen, even if its waiter has just been cancelled

    def _abandon(self, stream: int) -> None:
        """Nobody waits any more; a late answer finds nothing."""
        if self._calls.pop(stream, None) is None:
            return
        self._reset(stream)
        self.flush()
        self._close_when_drained()
        self._changed(self)

    def _reset(self, stream: int) -> None:
        try:
            self.conn.reset_stream(stream, ErrorCodes.CANCEL)
        except ProtocolError as error:
            _log.debug("a stream was over already", error=type(error).__name__)

    def _go_away(self, event: ConnectionTerminated) -> None:
        """Streams up to the last one that is named are answered still; APNs never saw the others.

        It may come twice: first without a limit, then with the real one.
        """
        self._retired = True
        said = Answer.read({}, event.additional_data or b"").reason
        _log.info("APNs closes a connection", reason=said, error_code=int(event.error_code or 0))
        for stream in [each for each in self._calls if each > (event.last_stream_id or 0)]:
            self._fail(stream, Unsent("going_away"))

    def _do(self, due: Due) -> None:
        if due is Due.NOTHING or self.transport is None or self.transport.is_closing():
            return
        if due is Due.END:
            self._end("silent")
            return
        self.conn.ping(_PING)
        self.flush()

    def _close_when_drained(self) -> None:
        if self._retired and not self._calls and not self._reserved:
            self.close()

    def _end(self, reason: str) -> None:
        self.lost_because = reason
        self.abort()
