"""What a wake asks for: requests, in the imperative.

`runtime.interpreter` carries them out; what comes of one returns as an event.
"""

from dataclasses import dataclass
from enum import StrEnum

from .ids import BranchId, DeviceId, PushId, ResponseId
from .model import Binding, CallState, Outcome


class PushType(StrEnum):
    """``type`` of the payload (docs/contracts.md)."""

    CALL = "call"
    CANCEL = "cancel"
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    MISSED = "missed"
    MESSAGE = "message"
    VOICEMAIL = "voicemail"
    REFRESH = "refresh"
    """Nothing has happened: the app shall register again, so that it stays reachable."""


@dataclass(frozen=True, slots=True)
class StoreInvite:
    """Make the held INVITE durable; answers with `events.InviteStored`."""


@dataclass(frozen=True, slots=True)
class ForgetInvite:
    """The call has its final response: drop the held INVITE from the store."""


@dataclass(frozen=True, slots=True)
class SendTrying:
    """100 Trying (the stack sends it by itself 150 ms after arrival at the latest)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response of our own to the INVITE: a provisional, or the final one."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPush:
    """Push to a device; a call push answers with `events.PushAnswered`."""

    device: DeviceId
    push: PushId
    type: PushType
    deadline_s: float
    """Seconds from now within which the push still makes sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Send the held INVITE to this binding on a new branch (RFC 3261 §16.6)."""

    branch: BranchId
    binding: Binding
    seed: str = ""
    """What its branch is derived from: the same after a restart; empty: anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """Forward this response of a branch to the PBX as it is."""

    branch: BranchId
    response: ResponseId
    forgets: bool = False
    """First the held INVITE leaves the store, as by `ForgetInvite`: a life of this node that comes
    after us must not call a phone that talks already.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelBranch:
    """CANCEL a branch (once it had a 1xx; until then the stack keeps it back, RFC 3261 §9.1)."""

    branch: BranchId
    reason: str
    """Reason header's value (RFC 3326), or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AckAndBye:
    """End a second 2xx: ACK it and send BYE, so that this device does not hang in a call."""

    branch: BranchId
    response: ResponseId


@dataclass(frozen=True, slots=True, kw_only=True)
class LateInvite:
    """Let a phone that woke too late know that the call is over: INVITE, and CANCEL at once."""

    binding: Binding
    reason: str
    """Reason header's value of the CANCEL (RFC 3326), or empty."""


@dataclass(frozen=True, slots=True)
class Note:
    """Write a line of the call's timeline."""

    event: str
    device: DeviceId | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """The call's public state changed."""

    state: CallState


@dataclass(frozen=True, slots=True)
class Finish:
    """The INVITE has its final response: the wake is decided.

    An answered call goes on without the wake; its record ends with the BYE.
    """

    outcome: Outcome


Action = (
    StoreInvite
    | ForgetInvite
    | SendTrying
    | Reply
    | SendPush
    | Fork
    | Relay
    | CancelBranch
    | AckAndBye
    | LateInvite
    | Note
    | Move
    | Finish
)
