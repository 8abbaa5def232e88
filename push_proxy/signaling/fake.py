"""A SIP stack in memory: tests feed it facts and read the orders that it was given.

It keeps the rules that the real one keeps (`contract.Signaling`): one final response per
transaction, a CANCEL only after a provisional, stale tokens come back as `facts.OrderFailed`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from ..core.ids import BranchId, CallId, Instant, ResponseId, ServerTxn
from ..core.model import Address
from ..errors import ConfigurationError
from .captured import Captured, CapturedCalls, CaptureLimits, as_tuple
from .contract import Headers, Rewrite, StackSettings, TlsFiles
from .facts import (
    BranchResponse,
    CancelReceived,
    DeviceAwaited,
    Fact,
    FlowLost,
    FormerAnswered,
    ForwardResponse,
    OrderFailed,
    RequestReceived,
    TransactionLost,
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A response that went upstream: ours, or a device's (``branch``)."""

    txn: ServerTxn
    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    branch: BranchId | None = None


@dataclass(frozen=True, slots=True)
class Forked:
    """An INVITE that went to a device."""

    txn: ServerTxn
    branch: BranchId
    rewrite: Rewrite


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A CANCEL that really left for a device."""

    txn: ServerTxn
    branch: BranchId
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A 2xx that was ACKed and ended with BYE."""

    txn: ServerTxn
    branch: BranchId


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request that went on to one target."""

    txn: ServerTxn
    rewrite: Rewrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A request of our own."""

    request: int
    method: str
    request_uri: str
    from_: str
    to: str
    call_id: str
    cseq: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    destination: Address
    local: Address
    connect: bool = True
    server_name: str = ""
    tls_profile: str = ""
    over: str | None = None
    through: Address | None = None
    route_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was asked to be rebuilt: tests answer it by `FakeSignaling.tell`."""

    call: CallId
    raw: bytes
    source: Address
    local: Address
    to_tag: str
    server_name: str = ""
    tls_profile: str = ""


Order = Sent | Forked | Cancelled | Ended | Forwarded | Requested


@dataclass(slots=True)
class _Branch:
    destination: Address
    through: Address | None = None
    status: int = 0
    cancel_waits: str | None = None
    """The Reason of a CANCEL that is kept back until a provisional (RFC 3261 §9.1)."""


@dataclass(slots=True)
class _Transaction:
    final: int | None = None
    branches: dict[BranchId, _Branch] = field(default_factory=dict)
    responses: dict[ResponseId, BranchResponse] = field(default_factory=dict)


class FakeSignaling:
    """`contract.Signaling` without sockets."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        """All that has left, in order."""
        self.flows: dict[str, tuple[Address, Address]] = {}
        """Source and local address of each route key."""
        self.through: dict[str, Address] = {}
        """The node where each route key's flow is, when that is another one."""
        self.alive: tuple[Address, ...] | None = None
        """The nodes that live, as told by `peers`; None before the first time."""
        self.opened = False
        self.draining = False
        self.restores: list[Restored] = []
        self.connections: dict[Address, Address] = {}
        """The remote ends of connections that devices opened, each with its listener."""
        self.renewed_tls: list[tuple[TlsFiles | None, dict[str, TlsFiles]]] = []
        self.tls_fault = ""
        """What `renew_tls` raises, if anything."""
        self.capturing: CaptureLimits | None = None
        self._captured: list[Captured] = []
        self._not_captured = 0
        self._on_fact: Callable[[Fact], None] | None = None
        self._listening: tuple[Address, ...] = ()
        self._transactions: dict[ServerTxn, _Transaction] = {}
        self._numbers = count(1)

    # what tests do

    def tell(self, fact: Fact) -> None:
        """A fact comes up, as from the network."""
        if isinstance(fact, RequestReceived):
            self._transactions[fact.txn] = _Transaction()
            if fact.source.transport != "udp":
                self.connections[fact.source] = fact.local
        if self._on_fact is None:
            raise RuntimeError("the fake stack is not started: await start() first")
        self._on_fact(fact)

    def see(self, *messages: Captured, lost: int = 0) -> None:
        """Messages come or leave; they are copied while that is asked for."""
        if self.capturing is None:
            return
        room = max(0, self.capturing.messages - len(self._captured))
        self._captured += messages[:room]
        self._not_captured += lost + max(0, len(messages) - room)

    def next_txn(self) -> ServerTxn:
        """A token for a new server transaction."""
        return ServerTxn(next(self._numbers))

    def respond(
        self,
        txn: ServerTxn,
        branch: BranchId,
        status: int,
        *,
        reason: str = "",
        local: bool = False,
    ) -> None:
        """A device answers; a CANCEL that waited for it leaves."""
        transaction = self._transactions[txn]
        state = transaction.branches[branch]
        state.status = status
        response = BranchResponse(
            txn=txn,
            branch=branch,
            response=ResponseId(next(self._numbers)),
            status=status,
            reason=reason,
            local=local,
            raw=b"",
        )
        transaction.responses[response.response] = response
        if state.cancel_waits is not None and status < 200:
            self.orders.append(Cancelled(txn, branch, state.cancel_waits))
            state.cancel_waits = None
        self.tell(response)

    def answer_from_before(self, txn: ServerTxn, route_key: str, *, status: int = 200) -> None:
        """A device answers the INVITE that a former life had sent it."""
        if self._may_answer("answer", txn, BranchId(0), status):
            self.orders.append(Sent(txn, status))
            self.tell(FormerAnswered(txn=txn, status=status, route_key=route_key))

    def cancel_from_pbx(self, txn: ServerTxn, reason: str = "") -> None:
        """CANCEL comes for a held INVITE; too late for one that is answered (RFC 3261 §9.2)."""
        if self._transactions[txn].final is None:
            self.tell(CancelReceived(txn, reason))

    def lose_connection(self, remote: Address, reason: str = "connection reset") -> None:
        """A device's connection ends: its branches fail first, then the flow is told lost."""
        local = self.connections.pop(remote)
        for txn, transaction in tuple(self._transactions.items()):
            for branch, state in tuple(transaction.branches.items()):
                if state.destination == remote and not state.through and state.status < 200:
                    self.respond(txn, branch, 430, reason="Flow Failed", local=True)
        self.tell(FlowLost(remote=remote, local=local, outgoing=False, reason=reason))

    def await_device(
        self, route_key: str, *, method: str = "BYE", call: str = "", purr: bool = False
    ) -> None:
        """A request in a dialog goes to a device, or waits for it when it has no flow."""
        node = self.through.get(route_key)
        source, _ = self.flows.get(route_key, (None, None))
        waiting = source is None or (source.transport != "udp" and source not in self.connections)
        if node is not None:
            waiting = not self._lives(node)
        self.tell(
            DeviceAwaited(route_key=route_key, method=method, call=call, waiting=waiting, purr=purr)
        )

    def lose(self, txn: ServerTxn, reason: str = "connection reset") -> None:
        """The PBX's transport fails."""
        self.tell(TransactionLost(txn, reason))

    def sent(self, txn: ServerTxn) -> list[int]:
        """The statuses that went upstream, in order."""
        return [o.status for o in self.orders if isinstance(o, Sent) and o.txn == txn]

    def forks(self, txn: ServerTxn) -> list[Forked]:
        """The INVITEs that went to devices."""
        return [o for o in self.orders if isinstance(o, Forked) and o.txn == txn]

    # what the service does: see `contract.Signaling`

    async def start(self, settings: StackSettings, on_fact: Callable[[Fact], None]) -> None:
        """See `contract.Signaling.start`; port 0 becomes 5060 and up."""
        self._on_fact = on_fact
        self.opened = not settings.closed
        self._listening = tuple(
            replace(address, port=address.port or 5060 + number)
            for number, address in enumerate(settings.listen)
        )

    async def stop(self) -> None:
        """See `contract.Signaling.stop`."""
        self._on_fact = None

    def listening(self) -> tuple[Address, ...]:
        """See `contract.Signaling.listening`."""
        return self._listening

    def open(self) -> None:
        """See `contract.Signaling.open`."""
        self.opened = True

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
        """See `contract.Signaling.restore`; the test tells what comes of it."""
        self.restores.append(
            Restored(
                call=call,
                raw=raw,
                source=source,
                local=local,
                to_tag=to_tag,
                server_name=server_name,
                tls_profile=tls_profile,
            )
        )

    def drain(self, on: bool) -> None:  # noqa: FBT001 - an order with one meaning
        """See `contract.Signaling.drain`."""
        self.draining = on

    def peers(self, addresses: Sequence[Address]) -> None:
        """See `contract.Signaling.peers`."""
        self.alive = tuple(addresses)
        for txn, transaction in tuple(self._transactions.items()):
            for branch, state in tuple(transaction.branches.items()):
                if state.through and not self._lives(state.through) and state.status < 200:
                    self.respond(txn, branch, 430, reason="Flow Failed", local=True)

    def _lives(self, node: Address) -> bool:
        return self.alive is None or node in self.alive

    def reply(
        self, txn: ServerTxn, status: int, reason: str, *, headers: Headers = (), body: bytes = b""
    ) -> None:
        """See `contract.Signaling.reply`."""
        del body
        if self._may_answer("reply", txn, BranchId(0), status):
            self.orders.append(Sent(txn, status, reason, tuple(headers)))

    def fork(self, txn: ServerTxn, branch: BranchId, rewrite: Rewrite) -> None:
        """See `contract.Signaling.fork`."""
        if not self._may_answer("fork", txn, branch, 0):
            return
        self._transactions[txn].branches[branch] = _Branch(rewrite.destination, rewrite.through)
        if self._has_flow(rewrite):
            self.orders.append(Forked(txn, branch, rewrite))
        else:
            self.respond(txn, branch, 430, reason="Flow Failed", local=True)

    def relay(self, txn: ServerTxn, branch: BranchId, response: ResponseId) -> None:
        """See `contract.Signaling.relay`."""
        transaction = self._transactions.get(txn)
        known = transaction.responses.get(response) if transaction else None
        if known is None or known.branch != branch:
            self._fail("relay", txn, branch, "no such response")
        elif self._may_answer("relay", txn, branch, known.status):
            self.orders.append(Sent(txn, known.status, known.reason, branch=branch))

    def cancel(self, txn: ServerTxn, branch: BranchId, *, reason: str = "") -> None:
        """See `contract.Signaling.cancel`."""
        transaction = self._transactions.get(txn)
        state = transaction.branches.get(branch) if transaction else None
        if state is None or state.status >= 200:
            self._fail("cancel", txn, branch, "no such open branch")
        elif state.status == 0:
            state.cancel_waits = reason
        else:
            self.orders.append(Cancelled(txn, branch, reason))

    def ack_and_bye(self, txn: ServerTxn, branch: BranchId, response: ResponseId) -> None:
        """See `contract.Signaling.ack_and_bye`."""
        transaction = self._transactions.get(txn)
        known = transaction.responses.get(response) if transaction else None
        if known is None or known.branch != branch or not 200 <= known.status < 300:
            self._fail("ack_and_bye", txn, branch, "no such 2xx")
        else:
            self.orders.append(Ended(txn, branch))

    def forward(self, txn: ServerTxn, rewrite: Rewrite) -> None:
        """See `contract.Signaling.forward`."""
        if self._has_flow(rewrite):
            self.orders.append(Forwarded(txn, rewrite))
            return
        self.reply(txn, 430, "Flow Failed")
        self.tell(ForwardResponse(txn=txn, status=430, reason="Flow Failed", local=True))

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
        """See `contract.Signaling.request`."""
        self.orders.append(
            Requested(
                request=request,
                method=method,
                request_uri=request_uri,
                from_=from_,
                to=to,
                call_id=call_id,
                cseq=cseq,
                headers=tuple(headers),
                body=body,
                destination=destination,
                local=local,
                connect=connect,
                server_name=server_name,
                tls_profile=tls_profile,
                over=over,
                through=through,
                route_key=route_key,
            )
        )

    def bind(self, route_key: str, source: Address, local: Address) -> None:
        """See `contract.Signaling.bind`."""
        self.through.pop(route_key, None)
        self.flows[route_key] = (source, local)

    def bind_through(self, route_key: str, node: Address) -> None:
        """See `contract.Signaling.bind_through`."""
        self.flows.pop(route_key, None)
        self.through[route_key] = node

    def unbind(self, route_key: str) -> None:
        """See `contract.Signaling.unbind`."""
        self.flows.pop(route_key, None)
        self.through.pop(route_key, None)

    async def renew_tls(self, tls: TlsFiles | None, tls_clients: Mapping[str, TlsFiles]) -> None:
        """See `contract.Signaling.renew_tls`."""
        if self.tls_fault:
            raise ConfigurationError(self.tls_fault)
        self.renewed_tls.append((tls, dict(tls_clients)))

    def capture(self, limits: CaptureLimits | None, *, now: Instant) -> None:
        """See `contract.Signaling.capture`."""
        del now
        self.capturing = limits
        if limits is None:
            self._captured, self._not_captured = [], 0

    def take_captured(self, into: CapturedCalls, *, now: Instant) -> int:
        """See `contract.Signaling.take_captured`."""
        taken, self._captured = self._captured, []
        lost, self._not_captured = self._not_captured, 0
        into.take(list(map(as_tuple, taken)), lost, now)
        return lost

    def counters(self) -> dict[str, int]:
        """See `contract.Signaling.counters`."""
        return {}

    def _has_flow(self, rewrite: Rewrite) -> bool:
        """A device's connection is never opened by us (RFC 5626 §5.3)."""
        if rewrite.through is not None:
            return self._lives(rewrite.through)
        destination = rewrite.destination
        streams = destination.transport != "udp"
        return not streams or rewrite.connect or destination in self.connections

    def _may_answer(self, order: str, txn: ServerTxn, branch: BranchId, status: int) -> bool:
        transaction = self._transactions.get(txn)
        if transaction is None or transaction.final is not None:
            self._fail(order, txn, branch, "the request has its final response")
            return False
        if status >= 200:
            transaction.final = status
        return True

    def _fail(self, order: str, txn: ServerTxn, branch: BranchId, reason: str) -> None:
        self.tell(OrderFailed(order=order, txn=txn, branch=branch, reason=reason))
