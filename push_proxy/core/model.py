"""The values that are stored and passed around: accounts, devices, bindings, calls.

All are immutable; a change makes a new value (``dataclasses.replace``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .evidence import Evidence
from .ids import AccountId, AccountKey, CallId, DeviceId, Instant, TenantId, account_key
from .policy_rules import NO_POLICY, Policy

_NEVER = Instant(0.0)


class Algorithm(StrEnum):
    """Digest algorithms that we can check (RFC 7616, RFC 8760)."""

    MD5 = "MD5"
    SHA256 = "SHA-256"


class Topology(StrEnum):
    """How an account stands beside its PBX."""

    HOLD = "hold"
    """We register at the PBX with the account's credentials."""
    TRUNK = "trunk"
    """The PBX sends calls to us as a peer; nothing to register."""


class RegisterPolicy(StrEnum):
    """When a ``hold`` account is registered at its PBX."""

    WITH_DEVICE = "with_device"
    ALWAYS = "always"


class Ringing(StrEnum):
    """When the caller begins to hear ringing while a phone wakes."""

    PUSH_ACCEPTED = "push_accepted"
    IMMEDIATELY = "immediately"
    DEVICE_RINGS = "device_rings"


class RingMode(StrEnum):
    """Which devices begin to ring when some are awake and others are not."""

    ALL_AT_ONCE = "all_at_once"
    """Whatever is awake rings at once, and what wakes is added."""
    TOGETHER = "together"
    """Whatever is awake waits for the others, and all begin at the same moment."""


@dataclass(frozen=True, slots=True)
class Address:
    """A transport address: where SIP came from or goes to."""

    host: str
    """IPv4 or IPv6 literal, without brackets."""
    port: int
    transport: str = "udp"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A digest secret: a password, or the HA1 of each algorithm for one realm."""

    password: str | None = field(default=None, repr=False)
    ha1: Mapping[Algorithm, str] = field(default_factory=dict, repr=False)
    realm: str | None = None
    """The realm the HA1s were made for; needed with ``ha1``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppAuth:
    """What the app proves when it registers with us."""

    user: str
    realm: str
    credentials: Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeOverrides:
    """An account's own wake settings; None takes the service's (docs/contracts.md)."""

    deadline_s: float | None = None
    ringing: Ringing | None = None
    repush_after_s: float | None = None
    fresh_s: float | None = None
    ack_s: float | None = None
    late_invite_s: float | None = None
    ring_mode: RingMode | None = None
    together_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One AOR at one PBX, with its credentials."""

    tenant: TenantId
    account: AccountId
    aor: str
    """Canonical ``sip:user@host`` (host in lower case, no parameters); unique in the service."""
    topology: Topology = Topology.HOLD
    pbx: str | None = None
    """Name of a configured PBX (``pbxes``); or ``registrar`` is given."""
    registrar: str | None = None
    """``sip:host[:port]`` of the PBX's registrar."""
    outbound_proxy: str | None = None
    transport: str | None = None
    """Toward ``registrar`` and ``outbound_proxy``; None: as their URIs say, else DNS, else UDP."""
    auth_user: str | None = None
    """Digest user name toward the PBX; None: the AOR's user."""
    credentials: Credentials | None = None
    """Toward the PBX; None in ``trunk``."""
    app_auth: AppAuth | None = None
    """None: the app proves the PBX credentials (realm: the AOR's host, or the HA1's realm)."""
    register: RegisterPolicy = RegisterPolicy.WITH_DEVICE
    enabled: bool = True
    expires_s: int | None = None
    """Asked of the PBX; None: the PBX's setting (``pbxes``), else 600."""
    wake: WakeOverrides = WakeOverrides()
    policy: Policy = NO_POLICY
    language: str | None = None
    region: str | None = None
    contact_token: str = ""
    """Opaque ``pp`` parameter of our Contact at the PBX; made once, kept for life."""
    created_at: float = 0.0
    updated_at: float = 0.0
    """Unix seconds."""
    version: int = 1
    """Grows with each change; the HTTP ETag."""

    @property
    def key(self) -> AccountKey:
        """``tenant/account``."""
        return account_key(self.tenant, self.account)


class TokenState(StrEnum):
    """What is known of a push token."""

    GOOD = "good"
    WRONG_APP = "wrong_app"
    """The provider says that it belongs to another app. Kept: the configuration may be at fault."""
    DEAD = "dead"
    """The provider, or our own rules, have ended it. The token itself is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFault:
    """Why a token is not good."""

    state: TokenState
    reason: str
    """Bounded: the provider's reason (``Unregistered``), ``idle``, ``evicted``…"""
    at: Instant
    token_sha256: str = field(default="", repr=False)
    """Of a dead one: a REGISTER that goes on naming it does not bring it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One app installation with a push target."""

    account: AccountKey
    device: DeviceId
    provider: str
    """``apns``, ``fcm``, ``webhook``, ``webpush``, ``hms`` or ``rustore``."""
    app_id: str
    token: str = field(repr=False)
    """``apns``: of PushKit (VoIP). ``webpush``: the subscription as JSON, or its endpoint alone."""
    token_kind: str = "token"  # noqa: S105 - a kind, no token
    """``token`` or ``fid`` (a Firebase installation)."""
    alert_token: str | None = field(default=None, repr=False)
    """``apns``: of remote notifications, for all that is no call."""
    environment: str | None = None
    """``apns``: ``production`` or ``sandbox``; None: as configured, until the other one worked."""
    token_at: float = 0.0
    """When the app last said that this is its token: by PUT or REGISTER, also unchanged."""
    token_fault: TokenFault | None = None
    """None: the token is good, as far as known."""
    seen_at: float = 0.0
    """Last sign of life that was stored (REGISTER, PUT, app event); at most an hour behind."""
    refresh_sent_at: float = 0.0
    """When it was last asked by a ``refresh`` push for a sign of life."""
    exclusive: bool = True
    by_register: bool = False
    """Announced by its REGISTER (RFC 8599), never by PUT: it goes when the phone takes it back."""
    purr: bool = False
    """It is woken for requests inside its dialogs (``+sip.pnspurr`` was granted, RFC 8599 §6)."""
    platform: str | None = None
    vendor: str | None = None
    model: str | None = None
    os_version: str | None = None
    app_version: str | None = None
    install_source: str | None = None
    instance_id: str | None = None
    """``+sip.instance`` of the app's REGISTER, without quotes and angle brackets."""
    permissions: Mapping[str, bool | None] = field(default_factory=dict)
    """True, False, or None for unknown."""
    key_sha256: str | None = field(default=None, repr=False)
    """Hash of the device key that opens this device's part of the HTTP API."""
    created_at: float = 0.0
    updated_at: float = 0.0
    version: int = 1

    @property
    def has_target(self) -> bool:
        """Whether there is anything to push to: an app that has only enrolled has nothing yet."""
        return bool(self.provider and self.token)


def push_target(device: Device) -> tuple[str, str, str]:
    """What an exclusive device owns alone, if it has any."""
    return (device.provider, device.app_id, device.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One Contact that an app registered with us (RFC 3261 §10)."""

    account: AccountKey
    device: DeviceId
    contact: str
    """The Contact's URI, as received: what an INVITE's Request-URI becomes."""
    source: Address
    """Where its REGISTER came from: where requests are sent (the flow)."""
    local: Address
    """The listening address that took it: where requests leave from."""
    call_id: str
    cseq: int
    expires_at: Instant
    instance: str | None = None
    user_agent: str | None = None
    route_key: str = ""
    """16 hex digits that name the device in signed route tokens."""
    path: tuple[str, ...] = ()
    """Path values of its REGISTER (RFC 3327), topmost first: Route of every request to it."""
    heard_at: Instant = _NEVER
    """When SIP was last received from it."""
    wants_refresh: bool = False
    """Before its end a push asks for a REGISTER, unless that comes by itself (RFC 8599 §5.5)."""
    purr: bool = False
    """It is woken for requests inside its dialogs (RFC 8599 §6)."""
    node: str = ""
    """The node that took the REGISTER and has the flow; empty: there is one node alone."""


class CallState(StrEnum):
    """Where a call stands, as the HTTP API says it."""

    WAKING = "waking"
    CALLING = "calling"
    """An app's own call that does not ring yet."""
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"


class Direction(StrEnum):
    """Whether the PBX calls the app or the app calls out."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class Verdict(StrEnum):
    """How a call ended and at which hop (docs/contracts.md)."""

    ANSWERED = "answered"
    DECLINED = "declined"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    CALLER_CANCELLED = "caller_cancelled"
    NOT_WOKEN = "not_woken"
    WOKE_NOT_REGISTERED = "woke_not_registered"
    REGISTERED_NOT_RINGING = "registered_not_ringing"
    DEVICE_ERROR = "device_error"
    PUSH_REJECTED = "push_rejected"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    NO_DEVICE = "no_device"
    REFUSED = "refused"
    OVERLOADED = "overloaded"
    FORWARDED = "forwarded"
    PBX_LOST = "pbx_lost"
    OUTBOUND_FAILED = "outbound_failed"
    PROXY_ERROR = "proxy_error"


class Fault(StrEnum):
    """Whose fault a verdict is."""

    NOBODY = "nobody"
    PHONE_OR_NETWORK = "phone_or_network"
    APP = "app"
    APP_OR_NETWORK = "app_or_network"
    APP_CONFIGURATION = "app_configuration"
    PROVIDER = "provider"
    PBX = "pbx"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended."""

    verdict: Verdict
    fault: Fault
    phase: CallState
    """Where the call stood when it ended: any but ``ended``."""
    ended_by: str
    """``caller``, ``device``, ``pbx``, ``deadline`` or ``proxy``."""
    status: int
    """The final SIP status that the calling side got; 0 when it got none."""
    advice: str = ""
    """English, by the verdict alone; what is shown is made by `advice` from ``cause``."""
    cause: str = ""
    """Why, where something is known beyond the verdict (`causes.Cause`); else empty."""
    device: DeviceId | None = None
    """Whose part decided the call; None: nobody's."""
    led_by: Verdict | None = None
    """Of a call that was forwarded because it had failed: how it had."""


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened in a call."""

    at: Instant
    event: str
    """Snake case, past tense: ``invite_received``, ``push_sent``, ``push_accepted``…"""
    device: DeviceId | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call, as kept for search and support."""

    id: CallId
    account: AccountKey
    direction: Direction
    sip_call_id: str
    caller: str = ""
    """Number or user part; empty when ``Privacy: id`` asked for it."""
    caller_name: str = ""
    callee: str = ""
    video: bool = False
    """The INVITE offered it."""
    started_at: Instant
    answered_at: Instant | None = None
    ended_at: Instant | None = None
    state: CallState = CallState.WAKING
    outcome: Outcome | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    evidence: Evidence | None = None
    """What was known of the device that decided the call; None: nothing has to be explained."""
    node: str = ""
    """The node that has or had the call; empty: there is one node alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldDevice:
    """One device's part in a held call, as far as a restart cannot find it out by itself."""

    device: DeviceId
    pushes: int = 0
    """Call pushes that were ordered."""
    pushed_at: Instant | None = None
    accepted_at: Instant | None = None
    """When the provider first took one; None: not that we know."""
    failure: str = ""
    """`events.PushOutcome` of a push that it did not take."""
    failure_reason: str = ""
    reached: int = 0
    """`part.Reach`."""
    given_up: bool = False
    status: int = 0
    """What its part ended with; 0: it goes on."""
    reason: str = ""
    phone: str = ""
    """Whom its newest INVITE was sent to, where that is not who its binding says."""
    attempt: int = 0
    """Of that INVITE, among those to this phone, from 1; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInvite:
    """An INVITE kept durably until its final response, so that a restart can go on with it."""

    call: CallId
    account: AccountKey
    raw: bytes
    source: Address
    local: Address
    to_tag: str
    received_at: Instant
    deadline: Instant
    """After it no caller waits any more, whatever became of the call."""
    node: str = ""
    """Who holds it (`node.id`)."""
    host: str = ""
    """What that node calls itself in SIP: elsewhere the PBX's CANCEL cannot find it."""
    devices: tuple[HeldDevice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRecord:
    """What must outlive us of a registration at a PBX, so that a restart refreshes it."""

    account: AccountKey
    call_id: str
    cseq: int
    contact: str
    expires_at: Instant
    registrar: str = ""
    """Where it is registered (Request-URI)."""
    refresh_at: Instant = _NEVER
    """When it is due; not known: at once."""
    granted_s: int | None = None
    listed_as: str | None = None
    """How the PBX listed our Contact; None: it did not."""
    service_route: tuple[str, ...] = ()
    server: Address | None = None
    """Which of the PBX's servers has it."""
    leftovers: tuple[str, ...] = ()
    """Further Contacts of ours that the PBX may have: to be removed."""
    node: str = ""
    """Who wrote this; empty: there is only one."""
    fence: int = 0
    """The writer's, in a cluster: a lower one never replaces it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A one-time code that an app exchanges for its device key."""

    code_sha256: str
    account: AccountKey
    expires_at: Instant
