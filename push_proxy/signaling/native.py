"""The real SIP stack: pjsip in a native thread, its facts drained by asyncio.

Nothing of pjsip crosses this file: facts come up as the values of `facts`, orders go down as
values that name a transaction by token. No Python ever runs on the SIP thread.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from ..core.ids import BranchId, CallId, Instant, ResponseId, ServerTxn
from ..core.model import Address
from ..errors import ConfigurationError
from . import _stack
from .captured import CapturedCalls, CaptureLimits
from .contract import Headers, Rewrite, StackSettings, TlsFiles
from .facts import (
    BranchResponse,
    CancelReceived,
    DeviceAwaited,
    DeviceHeard,
    DialogEnded,
    Fact,
    FlowLost,
    FormerAnswered,
    ForwardResponse,
    ForwardRinging,
    OrderFailed,
    RequestAnswered,
    RequestReceived,
    StackLog,
    TransactionLost,
)

_KIND = _stack.FactKind
_INTERFACE = 3
"""What this file expects of the compiled module; both are raised together."""


class NativeSignaling:
    """`contract.Signaling` on pjsip. One per process: pjsip's library is a singleton."""

    def __init__(self) -> None:
        self._stack = _stack.Stack()
        self._on_fact: Callable[[Fact], None] | None = None
        self._listening: tuple[Address, ...] = ()

    async def start(self, settings: StackSettings, on_fact: Callable[[Fact], None]) -> None:
        """See `contract.Signaling.start`."""
        if fault := _mismatch(getattr(_stack, "interface_version", 1)):
            raise ConfigurationError(fault)
        loop = asyncio.get_running_loop()
        try:
            bound = await loop.run_in_executor(None, lambda: self._start(settings))
        except ValueError as error:
            raise ConfigurationError(_tls_fault(error)) from error
        except RuntimeError as error:
            message = (
                f"sip.listen: {error}. Stop what uses the port, or choose another address or port."
            )
            raise ConfigurationError(message) from error
        self._listening = tuple(_address(address) for address in bound)
        self._on_fact = on_fact
        loop.add_reader(self._stack.fileno(), self._drain)

    def _start(self, settings: StackSettings) -> list[_stack.Address]:
        return self._stack.start(
            listen=[_native(address) for address in settings.listen],
            public_host=settings.public_host,
            own_hosts=list(settings.own_hosts),
            token_key=settings.token_key,
            queue_limit=settings.queue_limit,
            tls=_tls(settings.tls),
            tls_clients=_tls_clients(settings.tls_clients),
            closed=settings.closed,
            cluster_keys=list(settings.cluster_keys),
            cluster_host=settings.cluster_host,
        )

    async def stop(self) -> None:
        """See `contract.Signaling.stop`."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._stack.fileno())
        self._on_fact = None
        await loop.run_in_executor(None, self._stack.stop)

    def listening(self) -> tuple[Address, ...]:
        """See `contract.Signaling.listening`."""
        return self._listening

    def open(self) -> None:
        """See `contract.Signaling.open`."""
        self._stack.open()

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
        """See `contract.Signaling.restore`."""
        self._stack.restore(
            call, raw, _native(source), _native(local), to_tag, server_name, tls_profile
        )

    def drain(self, on: bool) -> None:  # noqa: FBT001 - an order with one meaning
        """See `contract.Signaling.drain`."""
        self._stack.drain_node(on)

    def peers(self, addresses: Sequence[Address]) -> None:
        """See `contract.Signaling.peers`."""
        self._stack.peers([_native(address) for address in addresses])

    def _drain(self) -> None:
        for fact in self._stack.drain():
            if self._on_fact is not None:
                self._on_fact(_translate(fact))

    def reply(
        self, txn: ServerTxn, status: int, reason: str, *, headers: Headers = (), body: bytes = b""
    ) -> None:
        """See `contract.Signaling.reply`."""
        self._stack.reply(txn, status, reason, list(headers), body)

    def fork(self, txn: ServerTxn, branch: BranchId, rewrite: Rewrite) -> None:
        """See `contract.Signaling.fork`."""
        self._stack.fork(txn, branch, *_changes(rewrite))

    def relay(self, txn: ServerTxn, branch: BranchId, response: ResponseId) -> None:
        """See `contract.Signaling.relay`."""
        self._stack.relay(txn, branch, response)

    def cancel(self, txn: ServerTxn, branch: BranchId, *, reason: str = "") -> None:
        """See `contract.Signaling.cancel`."""
        self._stack.cancel(txn, branch, reason)

    def ack_and_bye(self, txn: ServerTxn, branch: BranchId, response: ResponseId) -> None:
        """See `contract.Signaling.ack_and_bye`."""
        self._stack.ack_and_bye(txn, branch, response)

    def forward(self, txn: ServerTxn, rewrite: Rewrite) -> None:
        """See `contract.Signaling.forward`."""
        self._stack.forward(txn, *_changes(rewrite))

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
        self._stack.request(
            request,
            method,
            request_uri,
            from_,
            to,
            call_id,
            cseq,
            list(headers),
            body,
            _native(destination),
            _native(local),
            connect,
            server_name,
            tls_profile,
            over,
            _native(through) if through else None,
            route_key,
        )

    def bind(self, route_key: str, source: Address, local: Address) -> None:
        """See `contract.Signaling.bind`."""
        self._stack.bind(route_key, _native(source), _native(local))

    def bind_through(self, route_key: str, node: Address) -> None:
        """See `contract.Signaling.bind_through`."""
        self._stack.bind_through(route_key, _native(node))

    def unbind(self, route_key: str) -> None:
        """See `contract.Signaling.unbind`."""
        self._stack.unbind(route_key)

    async def renew_tls(self, tls: TlsFiles | None, tls_clients: Mapping[str, TlsFiles]) -> None:
        """See `contract.Signaling.renew_tls`."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(
                None,
                lambda: self._stack.renew_tls(tls=_tls(tls), tls_clients=_tls_clients(tls_clients)),
            )
        except ValueError as error:
            raise ConfigurationError(_tls_fault(error)) from error

    def capture(self, limits: CaptureLimits | None, *, now: Instant) -> None:
        """See `contract.Signaling.capture`."""
        if limits is None:
            self._stack.stop_capture()
        else:
            self._stack.capture(limits.messages, limits.bytes, now)

    def take_captured(self, into: CapturedCalls, *, now: Instant) -> int:
        """See `contract.Signaling.take_captured`."""
        return _stack.pull_captured(self._stack, into, now)

    def counters(self) -> dict[str, int]:
        """See `contract.Signaling.counters`."""
        return self._stack.counters()


def _mismatch(interface: int) -> str:
    """Why that compiled module does not go with this code; empty: it does."""
    if interface == _INTERFACE:
        return ""
    return (
        f"The compiled SIP stack belongs to another version of this service (its interface is "
        f"{interface}, {_INTERFACE} is needed): run ./dev setup, or install one complete version."
    )


def _tls(files: TlsFiles | None) -> _stack.TlsFiles | None:
    if files is None:
        return None
    return _stack.TlsFiles(
        certificate=files.certificate, key=files.key, ca=files.ca, verify=files.verify
    )


def _tls_clients(profiles: Mapping[str, TlsFiles]) -> dict[str, _stack.TlsFiles]:
    return {name: native for name, files in profiles.items() if (native := _tls(files))}


def _tls_fault(error: ValueError) -> str:
    return f"TLS: {error}. Correct the path, or the file (PEM; the key without a password)."


_Changes = tuple[
    str,
    _stack.Address,
    _stack.Address,
    list[tuple[str, str]],
    list[str],
    str,
    str,
    bool,
    bool,
    str,
    str,
    _stack.Address | None,
    str,
]


def _changes(rewrite: Rewrite) -> _Changes:
    return (
        rewrite.request_uri,
        _native(rewrite.destination),
        _native(rewrite.local),
        list(rewrite.add),
        list(rewrite.remove),
        rewrite.call or "",
        rewrite.route_key,
        rewrite.device_is_caller,
        rewrite.connect,
        rewrite.server_name,
        rewrite.tls_profile,
        _native(rewrite.through) if rewrite.through else None,
        rewrite.branch_seed,
    )


@lru_cache(maxsize=65536)
def _native(address: Address) -> _stack.Address:
    return _stack.Address(address.host, address.port, address.transport)


def _address(address: _stack.Address) -> Address:
    return Address(address.host, address.port, address.transport)


def _translate(fact: _stack.Fact) -> Fact:  # noqa: C901, PLR0912 - a case per fact
    txn = ServerTxn(fact.txn)
    match fact.kind:
        case _KIND.REQUEST:
            return RequestReceived(
                txn=txn,
                method=fact.name,
                request_uri=fact.request_uri,
                source=_address(fact.source),
                local=_address(fact.local),
                from_uri=fact.from_uri,
                from_tag=fact.from_tag,
                to_uri=fact.to_uri,
                to_tag=fact.to_tag,
                call_id=fact.call_id,
                cseq=fact.cseq,
                raw=fact.raw,
                peer_names=fact.peer_names,
                restored=CallId(fact.restored) if fact.restored else None,
            )
        case _KIND.CANCEL:
            return CancelReceived(txn, fact.text)
        case _KIND.TRANSACTION_LOST:
            return TransactionLost(txn, fact.text, CallId(fact.restored) if fact.restored else None)
        case _KIND.BRANCH_RESPONSE:
            return BranchResponse(
                txn=txn,
                branch=BranchId(fact.branch),
                response=ResponseId(fact.response),
                status=fact.status,
                reason=fact.text,
                local=fact.flag,
                raw=fact.raw,
            )
        case _KIND.FORMER_ANSWERED:
            return FormerAnswered(txn=txn, status=fact.status, route_key=fact.name)
        case _KIND.FORWARD_RESPONSE:
            return ForwardResponse(txn=txn, status=fact.status, reason=fact.text, local=fact.flag)
        case _KIND.FORWARD_RINGING:
            return ForwardRinging(txn=txn, status=fact.status, reason=fact.text)
        case _KIND.REQUEST_ANSWERED:
            return RequestAnswered(
                request=fact.txn,
                status=fact.status,
                reason=fact.text,
                local=fact.flag,
                raw=fact.raw,
            )
        case _KIND.DIALOG_ENDED:
            return DialogEnded(call=fact.text, by_device=fact.flag, reason=fact.name)
        case _KIND.DEVICE_HEARD:
            return DeviceHeard(route_key=fact.name, source=_address(fact.source))
        case _KIND.DEVICE_AWAITED:
            return DeviceAwaited(
                route_key=fact.name,
                method=fact.text,
                call=fact.call_id,
                waiting=fact.flag,
                purr=";pn-purr" in fact.request_uri.lower(),
            )
        case _KIND.FLOW_LOST:
            return FlowLost(
                remote=_address(fact.source),
                local=_address(fact.local),
                outgoing=fact.flag,
                reason=fact.text,
            )
        case _KIND.ORDER_FAILED:
            return OrderFailed(
                order=fact.name, txn=txn, branch=BranchId(fact.branch), reason=fact.text
            )
        case _:
            return StackLog(fact.status, fact.text)
