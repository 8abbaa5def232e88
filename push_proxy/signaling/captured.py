"""Copies of SIP messages, for the recorder of calls (`contract.Signaling.capture`)."""

from dataclasses import dataclass
from typing import NamedTuple

from ..core.ids import Instant
from ..core.model import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """What may wait in the stack for the next `take_captured`; more is lost, and counted."""

    messages: int = 20_000
    bytes: int = 16 * 1024 * 1024


class Captured(NamedTuple):
    """A message that came or left, as it was on the wire (over TLS: before encryption).

    Its secrets are masked, each character by ``*``: credentials, push tokens, our own tokens, media
    keys, keyed digits, texts of MESSAGEs (sip/src/masking.hpp).

    A tuple, because there are twenty in every call.
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


class CapturedBatch(NamedTuple):
    """All that was captured since the last batch, in order."""

    messages: tuple[Captured, ...]
    lost: int
    """Messages that there was no room for."""


NOTHING_CAPTURED = CapturedBatch((), 0)
