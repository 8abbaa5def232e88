"""What the SIP stack tells: values, drained from its queue by the asyncio thread.

A token (`ServerTxn`, `ResponseId`) names something inside the stack; using a stale one in
an order is an ordinary error that comes back as `OrderFailed`.
"""

from dataclasses import dataclass

from ..core.ids import BranchId, CallId, ResponseId, ServerTxn
from ..core.model import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReceived:
    """A request outside any dialog that needs a decision; the stack holds its transaction.

    CANCEL, ACK, in-dialog requests and OPTIONS to ourselves never come up.
    """

    txn: ServerTxn
    method: str
    request_uri: str
    source: Address
    local: Address
    from_uri: str
    from_tag: str
    to_uri: str
    call_id: str
    cseq: int
    raw: bytes
    """The whole message as received."""
    to_tag: str = ""
    """Our To-tag for this transaction: kept with a held INVITE."""
    peer_names: tuple[str, ...] = ()
    """Names in the client certificate that was verified on this TLS connection (RFC 5922 §7.1:
    SIP URIs' hosts and DNS names), lower case; empty without one."""
    restored: CallId | None = None
    """It was held before a restart: what `contract.Signaling.restore` has rebuilt."""


@dataclass(frozen=True, slots=True)
class CancelReceived:
    """CANCEL matched a held INVITE; it has been answered 200. The INVITE waits for its 487."""

    txn: ServerTxn
    reason: str
    """Value of the Reason header, or empty."""


@dataclass(frozen=True, slots=True)
class TransactionLost:
    """A server transaction ended without our final response (transport failure)."""

    txn: ServerTxn
    """0 when ``restored`` could not be rebuilt at all."""
    reason: str
    restored: CallId | None = None
    """Of a call given to `contract.Signaling.restore`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchResponse:
    """A response on a branch made by `Signaling.fork`, or a local 408 or 503 for it."""

    txn: ServerTxn
    branch: BranchId
    response: ResponseId
    status: int
    reason: str
    local: bool
    raw: bytes
    """The whole response; empty when local."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerAnswered:
    """A 2xx on a branch that a former life had made was passed upstream: the INVITE has its end.

    Only of what `contract.Signaling.restore` has rebuilt.
    """

    txn: ServerTxn
    status: int
    route_key: str
    """Of the device, by our Record-Route; empty when that has not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardResponse:
    """A final response passed upstream on a transaction given to `Signaling.forward`."""

    txn: ServerTxn
    status: int
    reason: str
    local: bool
    """Made by our stack, not by the peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRinging:
    """The first 18x passed upstream on an INVITE given to `Signaling.forward`."""

    txn: ServerTxn
    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswered:
    """The final response to a request of our own (`Signaling.request`), or a local 408 or 503."""

    request: int
    status: int
    reason: str
    local: bool
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogEnded:
    """A BYE passed through us for a dialog whose route token named this call."""

    call: str
    """Our call UUID."""
    by_device: bool
    """The device hung up; else the other side did."""
    reason: str
    """Value of the Reason header, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHeard:
    """An in-dialog request came from a device's side: a sign of life on its flow."""

    route_key: str
    source: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAwaited:
    """A request inside a dialog goes to a device, or waits for it to come (ADR 0010)."""

    route_key: str
    method: str
    call: str
    """Our call UUID, or empty: no call of ours."""
    waiting: bool
    """There is no flow to the device now."""
    purr: bool = False
    """Its Request-URI has ``pn-purr``: the phone wants to be woken for it (RFC 8599 §6.2.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLost:
    """A TCP or TLS connection has ended, or could not be opened.

    Branches and requests on it have been told (local 430 or 503) by facts of their own.
    """

    remote: Address
    """Its other end: a binding's ``source``, or where requests toward a PBX went."""
    local: Address
    """The listening address it belongs to."""
    outgoing: bool
    """We opened it."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFailed:
    """An order could not be carried out (stale token, bad target)."""

    order: str
    txn: ServerTxn
    branch: BranchId
    reason: str


@dataclass(frozen=True, slots=True)
class StackLog:
    """A line of the stack's own log: 1 error, 2 warning, 3 info.

    0: its thread has died, and with it all of SIP.
    """

    level: int
    text: str


Fact = (
    RequestReceived
    | CancelReceived
    | TransactionLost
    | BranchResponse
    | FormerAnswered
    | ForwardResponse
    | ForwardRinging
    | RequestAnswered
    | DialogEnded
    | DeviceHeard
    | DeviceAwaited
    | FlowLost
    | OrderFailed
    | StackLog
)
