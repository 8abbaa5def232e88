"""What a wake is told: facts, in the past tense.

Events are the only way for `core.wake` to learn anything; its `core.actions` are the
counterpart. Each event is delivered as ``step(state, event, now)``.
"""

from dataclasses import dataclass
from enum import StrEnum

from .ids import BranchId, CallId, DeviceId, Instant, PushId, ResponseId
from .model import Binding, Ringing, RingMode
from .policy import PolicyCase


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeSettings:
    """Deadlines and policies of one wake, seconds; account's own over the service's."""

    deadline_s: float = 15.0
    """From INVITE until the first device must have registered (5 to 60)."""
    ringing: Ringing = Ringing.PUSH_ACCEPTED
    repush_after_s: float | None = 5.0
    """Second push after this long without a sign of life; None: never."""
    fresh_s: float = 30.0
    """SIP heard within this time on a live flow makes a device fresh: it is rung at once."""
    fresh_answer_s: float = 1.0
    """A fresh device without a provisional response after this long is pushed as well."""
    ack_s: float | None = None
    """A device without a sign of life after this long is given up early; None: at the deadline."""
    late_invite_s: float = 30.0
    """So long after the end a device that woke too late is sent INVITE and CANCEL; 0: never."""
    ring_mode: RingMode = RingMode.ALL_AT_ONCE
    together_s: float = 10.0
    """With `RingMode.TOGETHER`: so long after the INVITE nobody waits for others any more."""
    timer_c_s: float = 185.0
    """RFC 3261 §16.6 item 11: more than three minutes, restarted by each 101..199."""
    answer_grace_s: float = 5.0
    """An accepted push without a sign of life for this long is a failure, CANCEL or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One device as the wake sees it when the INVITE arrives."""

    device: DeviceId
    pushable: bool
    """It has a push target whose provider is configured."""
    repush: bool = True
    """Its provider takes a second push (webhook and FCM; not APNs)."""
    binding: Binding | None = None
    """Its live binding, if any."""
    fresh: bool = False
    """The binding was heard within ``fresh_s``, and its flow lives."""
    flow: bool = True
    """False: the binding's TCP or TLS connection is gone, so the INVITE cannot go there."""
    late_invite: bool = False
    """It shows the call at the push, before any SIP, and only SIP closes it (CallKit)."""
    returns: bool = False
    """It is gone since a moment ago: the device is probably about to make another one."""
    token_fault: str = ""
    """Why its push token has ended, if it has."""
    unpushable: str = ""
    """Why there is no push for it, if there is none: a word for the timeline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """What the wake needs to know of the INVITE."""

    call: CallId
    received_at: Instant
    requires_100rel: bool = False
    """``Require: 100rel``: no provisional of ours but 100 (RFC 3262 §3)."""
    expires_s: float | None = None
    """The INVITE's Expires (RFC 3261 §13.3.1): after it the call is over with 487."""
    case: PolicyCase | None = None
    """The call before the account's policy; None: there is none."""


class PushOutcome(StrEnum):
    """What a provider made of a push, after its own resend."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """Token dead, or not for this app: never again without a new token."""
    UNAVAILABLE = "unavailable"
    """Not taken in time: connection, 5xx, silence, throttling."""
    MISCONFIGURED = "misconfigured"
    """Our credentials or the app's configuration are at fault."""
    SKIPPED = "skipped"
    """Nothing was sent: the platform has no way for this kind of push. Never of a call push."""


class AppEvent(StrEnum):
    """What an app reports by HTTP while it wakes."""

    PUSH_RECEIVED = "push_received"
    UI_SHOWN = "ui_shown"
    REGISTERED = "registered"
    FAILED = "failed"


class AppAction(StrEnum):
    """What a person does on the push screen before SIP is up."""

    DECLINE = "decline"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class InviteStored:
    """The held INVITE is durable (``ok``), or the store failed and the call goes on without."""

    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PushAnswered:
    """A provider answered (or did not, in time)."""

    device: DeviceId
    push: PushId
    outcome: PushOutcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeviceRegistered:
    """A REGISTER of this account was answered 2xx; ``binding.device`` may be new to the wake."""

    binding: Binding


@dataclass(frozen=True, slots=True)
class DeviceUnregistered:
    """The device's binding is gone (removed or its device deleted)."""

    device: DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class AppReported:
    """The app reported its progress by HTTP."""

    device: DeviceId
    event: AppEvent
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppActed:
    """The person declined on the push screen."""

    device: DeviceId
    action: AppAction


@dataclass(frozen=True, slots=True)
class TokenRotated:
    """The device's push token changed during the wake: push again, same call."""

    device: DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseReceived:
    """A device answered on a branch (or the stack made a local 408 or 503 for it)."""

    branch: BranchId
    response: ResponseId
    status: int
    reason: str = ""
    local: bool = False
    """Made by our stack: timeout (408), flow gone (430) or transport failure (503)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchFailed:
    """The stack could not do what was asked for this branch (a stale token)."""

    branch: BranchId
    reason: str


@dataclass(frozen=True, slots=True)
class AnsweredBefore:
    """A device has answered the INVITE that a former life of ours had sent it."""

    device: DeviceId | None
    """None: nobody knows which."""
    status: int | None = None
    """Of its 2xx, which has just been passed on; None: a request in the dialog told so."""


@dataclass(frozen=True, slots=True)
class CallerCancelled:
    """CANCEL came from the PBX; the stack has answered it 200. ``reason`` is its Reason value."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallerLost:
    """The server transaction is gone: the PBX's transport failed."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class GivingUp:
    """We stop, or have failed: what has no final response now would never get one."""

    reason: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A deadline of ours has come; ``now`` says which."""


Event = (
    InviteStored
    | PushAnswered
    | DeviceRegistered
    | DeviceUnregistered
    | AppReported
    | AppActed
    | TokenRotated
    | ResponseReceived
    | BranchFailed
    | AnsweredBefore
    | CallerCancelled
    | CallerLost
    | GivingUp
    | TimePassed
)
