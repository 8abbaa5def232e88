# The native SIP stack (sip/src/binding.cpp). Only native.py and captured.py import it.

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeAlias

interface_version: int

class Address:
    def __init__(self, host: str, port: int, transport: str) -> None: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def transport(self) -> str: ...

class FactKind(IntEnum):
    REQUEST = 0
    CANCEL = 1
    TRANSACTION_LOST = 2
    BRANCH_RESPONSE = 3
    FORWARD_RESPONSE = 4
    FORWARD_RINGING = 5
    REQUEST_ANSWERED = 6
    DIALOG_ENDED = 7
    DEVICE_HEARD = 8
    DEVICE_AWAITED = 9
    FLOW_LOST = 10
    ORDER_FAILED = 11
    LOG = 12
    FORMER_ANSWERED = 13

class Fact:
    @property
    def kind(self) -> int: ...
    @property
    def txn(self) -> int: ...
    @property
    def branch(self) -> int: ...
    @property
    def response(self) -> int: ...
    @property
    def status(self) -> int: ...
    @property
    def flag(self) -> bool: ...
    @property
    def cseq(self) -> int: ...
    @property
    def source(self) -> Address: ...
    @property
    def local(self) -> Address: ...
    @property
    def text(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def request_uri(self) -> str: ...
    @property
    def from_uri(self) -> str: ...
    @property
    def from_tag(self) -> str: ...
    @property
    def to_uri(self) -> str: ...
    @property
    def to_tag(self) -> str: ...
    @property
    def call_id(self) -> str: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def restored(self) -> str: ...
    @property
    def peer_names(self) -> tuple[str, ...]: ...

class TlsFiles:
    def __init__(self, *, certificate: str, key: str, ca: str, verify: bool) -> None: ...

_Headers: TypeAlias = list[tuple[str, str]]

# Time, sent, device's REGISTER; transport; host and port, the other end's and ours; Call-ID, text.
CapturedTuple: TypeAlias = tuple[float, bool, bool, str, str, int, str, int, str, bytes]

def mask(message: bytes, /) -> bytes: ...

# Captured messages by call (sip/src/captured_calls.hpp). One thread's.
class CapturedCalls:
    def __init__(self) -> None: ...
    def take(self, messages: list[CapturedTuple], lost: int, now: float, /) -> None: ...
    def open(
        self,
        call: str,
        sip_call_id: str,
        tenant: str,
        since: float,
        messages: int,
        most_bytes: int,
        /,
    ) -> None: ...
    def forget(self, call: str, /) -> None: ...
    def link(
        self, register_call_id: str, host: str, hop: str, calls: Sequence[str], until: float, /
    ) -> None: ...
    # Call, hop's number, transport, host, port; whether it is the first, and whether we sent first.
    def met(self) -> list[tuple[str, int, str, str, int, bool, bool]]: ...
    def name(self, call: str, hop: int, name: str, /) -> None: ...
    def text(self, call: str, emptied: bool, /) -> bytes | None: ...
    def seen(self, call: str, /) -> int: ...
    def size(self, call: str, /) -> int: ...
    def total(self) -> int: ...
    def unclaimed(self) -> int: ...
    def links(self) -> int: ...
    def give_out(self, on: bool, /) -> None: ...
    def given_out(self) -> list[CapturedTuple]: ...
    def clear(self) -> None: ...

def pull_captured(stack: Stack, into: CapturedCalls, now: float, /) -> int: ...

class Stack:
    def __init__(self) -> None: ...
    def start(
        self,
        *,
        listen: list[Address],
        public_host: str,
        own_hosts: list[str],
        token_key: bytes,
        queue_limit: int,
        tls: TlsFiles | None,
        tls_clients: dict[str, TlsFiles],
        closed: bool,
        cluster_keys: list[bytes],
        cluster_host: str,
    ) -> list[Address]: ...
    def renew_tls(self, *, tls: TlsFiles | None, tls_clients: dict[str, TlsFiles]) -> None: ...
    def stop(self) -> None: ...
    def fileno(self) -> int: ...
    def drain(self) -> list[Fact]: ...
    def open(self) -> None: ...
    def restore(
        self,
        call: str,
        raw: bytes,
        source: Address,
        local: Address,
        to_tag: str,
        server_name: str,
        tls_profile: str,
        /,
    ) -> None: ...
    def drain_node(self, on: bool, /) -> None: ...
    def peers(self, addresses: list[Address], /) -> None: ...
    def capture(self, most_messages: int, most_bytes: int, now: float, /) -> None: ...
    def stop_capture(self) -> None: ...
    def counters(self) -> dict[str, int]: ...
    def reply(
        self, txn: int, status: int, reason: str, headers: _Headers, body: bytes, /
    ) -> None: ...
    def fork(
        self,
        txn: int,
        branch: int,
        request_uri: str,
        destination: Address,
        local: Address,
        add: _Headers,
        remove: list[str],
        call: str,
        route_key: str,
        device_is_caller: bool,
        connect: bool,
        server_name: str,
        tls_profile: str,
        through: Address | None,
        branch_seed: str,
        /,
    ) -> None: ...
    def forward(
        self,
        txn: int,
        request_uri: str,
        destination: Address,
        local: Address,
        add: _Headers,
        remove: list[str],
        call: str,
        route_key: str,
        device_is_caller: bool,
        connect: bool,
        server_name: str,
        tls_profile: str,
        through: Address | None,
        branch_seed: str,
        /,
    ) -> None: ...
    def relay(self, txn: int, branch: int, response: int, /) -> None: ...
    def cancel(self, txn: int, branch: int, reason: str, /) -> None: ...
    def ack_and_bye(self, txn: int, branch: int, response: int, /) -> None: ...
    def request(
        self,
        request: int,
        method: str,
        request_uri: str,
        from_: str,
        to: str,
        call_id: str,
        cseq: int,
        headers: _Headers,
        body: bytes,
        destination: Address,
        local: Address,
        connect: bool,
        server_name: str,
        tls_profile: str,
        over: str | None,
        through: Address | None,
        route_key: str,
        /,
    ) -> None: ...
    def bind(self, route_key: str, source: Address, local: Address, /) -> None: ...
    def bind_through(self, route_key: str, node: Address, /) -> None: ...
    def unbind(self, route_key: str, /) -> None: ...
