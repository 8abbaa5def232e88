"""What the rest of the service may ask of a SIP stack: ``native`` and ``fake`` both satisfy it.

Orders return at once; they are carried out on the SIP thread, in the order given. What
comes of them arrives as a fact.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..core.ids import BranchId, CallId, Instant, ResponseId, ServerTxn
from ..core.model import Address
from .captured import CapturedCalls, CaptureLimits
from .facts import Fact

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of one TLS identity; read when given to the stack."""

    certificate: str = ""
    """Certificate chain that we show; empty: none (toward a PBX that asks for none)."""
    key: str = ""
    ca: str = ""
    """Whom we believe; empty: the system's authorities."""
    verify: bool = True
    """Toward a PBX: refuse a certificate that does not verify or does not name it (RFC 5922).
    On a listener: ask clients for a certificate and verify the one they show; none is fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """How a stack is started."""

    listen: tuple[Address, ...]
    """Addresses to bind (``udp``, ``tcp``, ``tls``); port 0 takes a free one."""
    tls: TlsFiles | None = None
    """What ``tls`` listeners show; needed when there is one."""
    tls_clients: Mapping[str, TlsFiles] = field(default_factory=dict)
    """By profile name: how we connect to a PBX over TLS. ``""`` is the default profile."""
    public_host: str
    """What Record-Route and Via name (``sip.node_address``)."""
    own_hosts: tuple[str, ...] = ()
    """Further names that mean this service in a Route or Request-URI (``sip.public_address``)."""
    token_key: bytes
    """32 secret bytes that sign route tokens and branches; the same after a restart, so that
    established calls survive it."""
    queue_limit: int = 20_000
    """Facts waiting for Python; above it new requests get 503 with Retry-After."""
    closed: bool = False
    """Sockets are bound, but what arrives is dropped until `Signaling.open`."""
    cluster_keys: tuple[bytes, ...] = ()
    """32 secret bytes each, the same at every node: the first signs what nodes give one another
    with a request (`Rewrite.through`), all verify. Empty: this node has no others."""
    cluster_host: str = ""
    """What Record-Route names instead of ``public_host``, where all nodes share one name; the
    Via keeps naming this node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """How a forwarded request differs from the one received."""

    request_uri: str
    destination: Address
    local: Address
    """Listening address that it leaves from."""
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    """Header names to remove (all occurrences), before ``add``."""
    call: CallId | None = None
    """Named in the route token, so that the BYE is told as `facts.DialogEnded`."""
    route_key: str = ""
    """Device named in the Record-Route token; empty: no Record-Route."""
    device_is_caller: bool = False
    """The request comes from the device (its own INVITE)."""
    connect: bool = False
    """Toward a PBX over TCP or TLS: a connection may be opened. Toward a device never: where its
    flow is gone, the branch fails at once with a local 430 (RFC 5626 §5.3)."""
    server_name: str = ""
    """TLS toward a PBX: the name its certificate must carry (and SNI); empty: its address."""
    tls_profile: str = ""
    """Which of ``StackSettings.tls_clients``."""
    through: Address | None = None
    """Toward a device whose flow is at another node: that node's SIP address (an IP literal). It
    needs ``route_key``, and ``StackSettings.cluster_keys``. The other node passes the request on
    by the device's newest flow; it answers 430 at once when it has none. A connection to it is
    opened as for a PBX; when there is none, the branch fails at once with a local 430."""
    branch_seed: str = ""
    """The client branch is derived from it and the request, so that the same order for the same
    request after a restart is a retransmission for the device. Each seed is used once in a life of
    the stack; empty: a random branch."""


class Signaling(Protocol):
    """A SIP stack: facts out, orders in."""

    async def start(self, settings: StackSettings, on_fact: Callable[[Fact], None]) -> None:
        """Bind and run. ``on_fact`` is called on the asyncio thread, never concurrently.

        Raises `errors.ConfigurationError` when an address cannot be bound.
        """

    async def stop(self) -> None:
        """Stop: sockets are closed, no fact comes after this."""

    def listening(self) -> tuple[Address, ...]:
        """The addresses really bound, in the order of ``StackSettings.listen``."""

    def open(self) -> None:
        """Take what arrives, after a start with ``StackSettings.closed``; else nothing."""

    def restore(
        self,
        call: CallId,
        *,
        raw: bytes,
        source: Address,
        local: Address,
        to_tag: str,
        server_name: str = "",
        tls_profile: str = "",
    ) -> None:
        """Rebuild the server transaction of a request that a former life of this node held.

        It comes as `facts.RequestReceived` with ``restored=call`` and that ``to_tag``; the PBX's
        retransmissions and its CANCEL find it. Give these orders before `open`. A 100 is not sent
        again by itself. Where nothing can be rebuilt, `facts.TransactionLost` says so with
        ``restored=call`` and ``txn`` 0. A 2xx on a branch that only the former life knew answers
        it; `facts.FormerAnswered` tells so.

        ``raw`` is the request as received, ``source`` and ``local`` are those of its fact. Over
        TCP and TLS its connection has ended with the former life: one is opened to where its Via
        says that the PBX listens (RFC 3261 §18.2.2), as ``server_name`` and ``tls_profile`` say;
        when that fails, `facts.TransactionLost` follows. Whether the PBX has kept the call only
        the caller of this can know.
        """

    def drain(self, on: bool) -> None:  # noqa: FBT001 - an order with one meaning
        """OPTIONS to us gets 503 with Retry-After (or 200 again): PBXs look for another node."""

    def peers(self, addresses: Sequence[Address]) -> None:
        """The SIP addresses of all nodes that live, this one's too: whom dialogs may pass.

        What goes through a node that is not named any more fails at once, as its flows do. Before
        the first such order every node counts as alive.
        """

    def reply(
        self, txn: ServerTxn, status: int, reason: str, *, headers: Headers = (), body: bytes = b""
    ) -> None:
        """Answer a server transaction: a provisional, or its only final response."""

    def fork(self, txn: ServerTxn, branch: BranchId, rewrite: Rewrite) -> None:
        """Send a held INVITE to a device; each response comes as `facts.BranchResponse`."""

    def relay(self, txn: ServerTxn, branch: BranchId, response: ResponseId) -> None:
        """Forward a branch's response upstream. Only one final ever leaves."""

    def cancel(self, txn: ServerTxn, branch: BranchId, *, reason: str = "") -> None:
        """CANCEL a branch, as soon as it has had a provisional response (RFC 3261 §9.1)."""

    def ack_and_bye(self, txn: ServerTxn, branch: BranchId, response: ResponseId) -> None:
        """ACK a 2xx that will not be relayed and end its dialog with BYE."""

    def forward(self, txn: ServerTxn, rewrite: Rewrite) -> None:
        """Forward a request to one target; the stack relays its responses and CANCEL by itself.

        Its first 18x is told as `facts.ForwardRinging`, the final response as
        `facts.ForwardResponse`.
        """

    def request(  # noqa: PLR0913 - a request has that many parts
        self,
        request: int,
        *,
        method: str,
        request_uri: str,
        from_: str,
        to: str,
        call_id: str,
        cseq: int,
        headers: Headers = (),
        body: bytes = b"",
        destination: Address,
        local: Address,
        connect: bool = True,
        server_name: str = "",
        tls_profile: str = "",
        over: str | None = None,
        through: Address | None = None,
        route_key: str = "",
    ) -> None:
        """Send a request of our own; its final response comes as `facts.RequestAnswered`.

        ``from_`` and ``to`` are header values (with tag where one is due). ``connect``,
        ``server_name``, ``tls_profile``, and ``through`` with ``route_key`` as in `Rewrite`.

        An INVITE is for a call that is over: the stack cancels it with the Reason ``over`` (or
        none) at its first provisional response, and ends a 2xx by ACK and BYE.
        """

    def bind(self, route_key: str, source: Address, local: Address) -> None:
        """The device's newest flow: in-dialog requests toward it go there."""

    def bind_through(self, route_key: str, node: Address) -> None:
        """The device's newest flow is at another node, whose SIP address (an IP literal) this is.

        In place of `bind`; `unbind` ends both.
        """

    def unbind(self, route_key: str) -> None:
        """The device has no binding any more; route tokens fall back to the flow they name."""

    async def renew_tls(self, tls: TlsFiles | None, tls_clients: Mapping[str, TlsFiles]) -> None:
        """Read certificates again; connections that stand keep theirs.

        Raises `errors.ConfigurationError` when a file cannot be used; then nothing changes.
        """

    def capture(self, limits: CaptureLimits | None, *, now: Instant) -> None:
        """Copy messages from now on, for `take_captured`; None: no more, and forget what waits.

        Copied is every message that can be parsed, retransmissions too, but OPTIONS, and our own
        REGISTERs toward PBXs with their responses. No fact and no message waits for it. ``now``
        sets the clock of the messages' times.
        """

    def take_captured(self, into: CapturedCalls, *, now: Instant) -> int:
        """Sort what was copied since the last time; how many there was no room for."""

    def counters(self) -> dict[str, int]:
        """Message counts since start, like ``received.INVITE``, ``sent.2xx``, ``rejected.loop``."""
