"""What the runtime needs from outside: each a Protocol with a real and an in-memory adapter.

SIP has its own in ``signaling/contract.py``.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .call_ports import CallRecords
from .cluster_ports import ClusterStore
from .core.events import PushOutcome
from .core.ids import AccountKey, CallId, DeviceId, Instant, TenantId
from .core.message_summary import Mailbox
from .core.model import (
    Account,
    Binding,
    CallRecord,
    Device,
    Enrolment,
    Verdict,
)
from .core.notices import Notice
from .core.payload import Push as Push  # noqa: PLC0414 - a part of the ports' vocabulary
from .event_ports import EventStore
from .held_ports import HeldInviteStore
from .lease_ports import LeaseStore, RegistrationStore
from .message_ports import KeptMessageStore
from .missed_ports import MissedCallStore
from .recording_ports import RecordingStore
from .wake_ports import AppLogStore, WakeStore


class Clock(Protocol):
    """Time: handed in, so that tests own it."""

    def now(self) -> Instant:
        """Seconds since the Unix epoch, never going back within one process."""


class TokenFate(StrEnum):
    """What a provider's answer says about the token (which may be another one by now)."""

    KEEP = "keep"
    WRONG_APP = "wrong_app"
    """It belongs to another app: marked, not forgotten."""
    DEAD = "dead"
    """Never push to it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What a provider made of a push."""

    outcome: PushOutcome
    reason: str = ""
    """Short and bounded: a status or an error's name, never a token or URL."""
    attempts: int = 1
    """Requests on the wire; 0 when nothing was sent."""
    elapsed_s: float = 0.0
    token: TokenFate = TokenFate.KEEP
    of_alert_token: bool = False
    """APNs: ``token`` and ``dead_since`` are about ``device.alert_token``, not the calls'."""
    dead_since: Instant | None = None
    """Since when it is dead by the provider's clock; None: since the request. One that was
    registered again after that is another one, even if it reads the same."""
    environment: str | None = None
    """APNs: where the token proved to be at home, when that was not known."""
    provider_id: str = ""
    """The provider's name of the push (``apns-id``, FCM's message id), for support cases."""


class AppState(StrEnum):
    """Whether pushes for an app can be sent."""

    UNKNOWN = "unknown"
    """Nothing has been sent yet."""
    OK = "ok"
    THROTTLED = "throttled"
    """The provider wants a pause."""
    BLOCKED = "blocked"
    """Credentials or configuration are at fault: a person must act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppHealth:
    """How one app does at its provider."""

    app_id: str
    state: AppState
    reason: str = ""
    """Bounded, as in `PushResult`."""
    credential_ends_at: float | None = None
    """Unix time; None: it does not end (a .p8 key), or is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of ``push-proxy doctor``."""

    what: str
    """``apns com.example.phone: credentials``"""
    ok: bool
    text: str
    """What was found, and when not ok, what to do."""


class PushProvider(Protocol):
    """Takes pushes for the apps it is configured for. Never raises: a failure is a result."""

    name: str

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""

    def app_for(self, pn_param: str) -> str | None:
        """The configured app that RFC 8599's ``pn-param`` names; None: none of ours."""

    def start(self, shared: "SharedValues") -> None:
        """Begin what runs in the background (credentials, warm connections); returns at once.

        Pushes are taken from now on, whatever of it is done.
        """

    async def send(self, push: Push) -> PushResult:
        """Send within the push's deadline, with one resend on silence (same id)."""

    def health(self) -> Sequence[AppHealth]:
        """How each configured app does."""

    def check(self) -> AsyncIterator[Check]:
        """Try credentials and reachability, without any phone noticing."""

    async def aclose(self) -> None:
        """Close connections."""


class SharedValues(Protocol):
    """Values that all nodes have in common, for a time."""

    async def share(
        self, name: str, value: bytes, *, ttl_s: float, replacing: bytes | None = None
    ) -> bytes:
        """Keep ``value`` for ``ttl_s`` unless another one is kept; returns the one that is.

        With ``replacing``, that very value gives way. Sealed at rest.

        Raises `errors.StoreUnavailable`.
        """


class Notices(Protocol):
    """Where events for operators' webhooks go."""

    def tell(self, notice: Notice) -> None:
        """Hand over; returns at once and never raises: no call waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQuery:
    """Search of calls; all given conditions must hold. Newest first."""

    tenant: TenantId
    account: AccountKey | None = None
    sip_call_id: str | None = None
    number: str | None = None
    verdict: Verdict | None = None
    since: Instant | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class CallPage:
    """One page of a search."""

    calls: tuple[CallRecord, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class AccountPage:
    """One page of accounts, by account id."""

    accounts: tuple[Account, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An operator's key, stored hashed."""

    name: str
    tenant: TenantId
    key_sha256: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account with what hangs on it, as read at the start."""

    account: Account
    devices: tuple[Device, ...]
    bindings: tuple[Binding, ...]


class Store(
    CallRecords,
    SharedValues,
    HeldInviteStore,
    EventStore,
    MissedCallStore,
    RecordingStore,
    KeptMessageStore,
    WakeStore,
    AppLogStore,
    RegistrationStore,
    LeaseStore,
    ClusterStore,
    Protocol,
):
    """State that outlives the process. Every method may raise `errors.StoreUnavailable`.

    Redis and memory satisfy the same contract suite. Writes are atomic per call: several
    keys change in one script.
    """

    async def open(self) -> None:
        """Connect and check that the store answers."""

    async def aclose(self) -> None:
        """Close connections."""

    async def ping(self) -> None:
        """Return when the store answers within half a second and takes writes."""

    # accounts
    async def put_account(self, account: Account, *, expected_version: int | None) -> None:
        """Create or replace. ``expected_version``: 0 for "must not exist", None for any.

        Raises `errors.PreconditionFailed` on another version and `errors.Conflict` when the
        AOR or contact token belongs to another account.
        """

    async def get_account(self, key: AccountKey) -> Account | None:
        """The account, or None."""

    async def delete_account(self, key: AccountKey) -> bool:
        """Erase the account with all that hangs on it; False: not there."""

    async def list_accounts(
        self, tenant: TenantId, *, limit: int, cursor: str | None
    ) -> AccountPage:
        """Accounts of a tenant in order of id."""

    def all_accounts(self) -> AsyncIterator[Account]:
        """Every account of every tenant."""

    def everything(self) -> AsyncIterator[AccountState]:
        """Every account with its devices and unexpired bindings, for the start."""

    # devices
    async def put_device(
        self, device: Device, *, expected_version: int | None
    ) -> Sequence[tuple[AccountKey, DeviceId]]:
        """Create or replace.

        With ``exclusive``, the same provider, app and token leave other devices (of any
        account), which are removed and returned.

        Raises `errors.PreconditionFailed`, and `errors.NotFound` when the account is gone.
        """

    async def get_device(self, key: AccountKey, device: DeviceId) -> Device | None:
        """The device, or None."""

    async def delete_device(self, key: AccountKey, device: DeviceId) -> bool:
        """Erase the device with its bindings; False: not there."""

    async def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """Devices of an account, by id."""

    # bindings
    async def put_binding(self, binding: Binding) -> bool:
        """Keep the device's binding until it expires (one per device).

        A deleted account's is dropped. False: another node took a newer one, which stays.
        """

    async def delete_binding(self, key: AccountKey, device: DeviceId, *, node: str = "") -> None:
        """Forget it; with ``node``, unless it has become another node's."""

    async def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """Unexpired bindings of an account."""

    # what other nodes wrote
    async def account_states(
        self, keys: Sequence[AccountKey]
    ) -> Mapping[AccountKey, AccountState | None]:
        """These accounts with all that hangs on them, in one round trip; None: not there.

        One that cannot be read is left out.
        """

    async def place_bindings(
        self, places: Sequence[tuple[AccountKey, DeviceId]]
    ) -> Mapping[tuple[AccountKey, DeviceId], Binding | None]:
        """The unexpired bindings of these devices, in one round trip; None: there is none.

        One that cannot be read is left out.
        """

    # voice mail
    async def put_mailbox(self, mailbox: Mailbox) -> None:
        """Keep the newest that the PBX said of an account's mailbox.

        A deleted account's is dropped.
        """

    async def get_mailbox(self, key: AccountKey) -> Mailbox | None:
        """As kept, or None."""

    # calls
    async def put_call(self, record: CallRecord) -> None:
        """Create or replace a call's record; history is capped per account and in time.

        A deleted account's record is dropped: its history was erased.
        """

    async def get_call(self, call: CallId) -> CallRecord | None:
        """The record, or None."""

    async def find_calls(self, query: CallQuery) -> CallPage:
        """Search, newest first.

        A page may be short, even empty, while ``next_cursor`` says that the search goes on.
        Raises `errors.InvalidInput` for a foreign cursor.
        """

    # keys
    async def put_api_key(self, key: ApiKey) -> None:
        """Keep an API key (hashed)."""

    async def api_keys(self) -> tuple[ApiKey, ...]:
        """All API keys kept here (configured ones are not)."""

    async def put_enrolment(self, enrolment: Enrolment) -> None:
        """Keep a one-time code."""

    async def take_enrolment(self, code_sha256: str, *, now: Instant) -> Enrolment | None:
        """Redeem a code: at most one caller ever gets it; None when unknown, used or expired."""

    async def idempotent(
        self, tenant: TenantId, key: str, response: bytes | None, *, ttl_s: float
    ) -> bytes | None:
        """The response kept earlier under an Idempotency-Key, or None.

        With ``response``, keep that unless one is there.
        """

    async def secret(self, name: str, *, size: int) -> bytes:
        """A service-wide random secret, made at first use and the same ever after."""
