"""Copies of SIP messages, for the recorder of calls (`contract.Signaling.capture`)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..core.ids import Instant
from ..core.model import Address
from ._stack import CapturedCalls as CapturedCalls  # noqa: PLC0414 - where messages go

if TYPE_CHECKING:
    from ._stack import CapturedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """What may wait in the stack for the next `take_captured`; more is lost, and counted."""

    messages: int = 20_000
    bytes: int = 16 * 1024 * 1024


class Captured(NamedTuple):
    """A message that came or left, as it was on the wire (over TLS: before encryption).

    Its secrets are masked, each character by ``*``: credentials, push tokens, our own tokens, media
    keys, keyed digits, texts of MESSAGEs (sip/src/masking.hpp).
    """

    at: Instant
    sent: bool
    device_register: bool
    """A device's REGISTER, or our response to one."""
    peer: Address
    local: Address
    """The listening address that it came to or belongs to."""
    call_id: str
    """The SIP Call-ID."""
    raw: bytes


def captured(message: "CapturedTuple") -> Captured:
    """As `CapturedCalls.given_out` has it."""
    at, sent, device_register, transport, host, port, own_host, own_port, call_id, raw = message
    return Captured(
        Instant(at),
        sent,
        device_register,
        _address(host, port, transport),
        _address(own_host, own_port, transport),
        call_id,
        raw,
    )


def as_tuple(message: Captured) -> "CapturedTuple":
    """As `CapturedCalls.take` wants it."""
    peer, local = message.peer, message.local
    return (
        message.at,
        message.sent,
        message.device_register,
        peer.transport,
        peer.host,
        peer.port,
        local.host,
        local.port,
        message.call_id,
        message.raw,
    )


@lru_cache(maxsize=4096)
def _address(host: str, port: int, transport: str) -> Address:
    return Address(host, port, transport)
