"""What the API needs from the rest of the service; `runtime` satisfies each Protocol."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ..core.events import AppAction, AppEvent
from ..core.ids import AccountKey, CallId, DeviceId, Instant
from ..core.model import Account, Binding, CallRecord, Device
from ..runtime.changes import Change


class Accounts(Protocol):
    """Who is known: `runtime.directory.Directory`."""

    def accounts(self) -> tuple[Account, ...]:
        """All accounts."""

    def account(self, key: AccountKey) -> Account | None:
        """The account of this key."""

    def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """Devices of an account."""

    def device(self, key: AccountKey, device: DeviceId) -> Device | None:
        """One device."""

    def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """Unexpired bindings of an account."""

    def binding(self, key: AccountKey, device: DeviceId) -> Binding | None:
        """The device's unexpired binding."""

    async def put_account(self, account: Account, *, expected_version: int | None = None) -> None:
        """As `ports.Store.put_account`."""

    async def delete_account(self, key: AccountKey) -> bool:
        """As `ports.Store.delete_account`."""

    async def put_device(
        self, device: Device, *, expected_version: int | None = None
    ) -> Sequence[tuple[AccountKey, DeviceId]]:
        """As `ports.Store.put_device`."""

    async def delete_device(self, key: AccountKey, device: DeviceId) -> bool:
        """As `ports.Store.delete_device`."""

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        """Call ``listener`` with every change from now on."""


class RegistrationState(StrEnum):
    """Where our registration at the PBX stands."""

    UNUSED = "unused"
    """None is wanted: trunk, disabled, or no device yet."""
    PENDING = "pending"
    """Asked for; no answer yet."""
    REGISTERED = "registered"
    RETRYING = "retrying"
    """The last attempt failed; another one follows."""
    REJECTED = "rejected"
    """The PBX refused for good: nothing is tried until the account changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationStatus:
    """Our registration of one account at its PBX, for people."""

    state: RegistrationState
    last_status: int | None = None
    """The PBX's last answer: a SIP status (408 and 503 may be our own, for silence)."""
    last_reason: str = ""
    last_answer_at: Instant | None = None
    next_attempt_at: Instant | None = None
    """The next refresh or retry."""
    expires_at: Instant | None = None
    other_contacts: tuple[str, ...] = ()
    """Contacts of others that the PBX listed beside ours."""
    advice: str = ""
    """What the operator can do, in one sentence; empty when there is nothing to do."""


class Registrations(Protocol):
    """Registrations toward the PBXs."""

    def status(self, account: AccountKey) -> RegistrationStatus:
        """How the account stands at its PBX."""


class LiveCalls(Protocol):
    """Calls that are going on; finished ones are in the store."""

    def get(self, call: CallId) -> CallRecord | None:
        """The newest record of a call still in memory."""


class LiveWakes(Protocol):
    """Wakes that are going on: `runtime.wakes.Wakes`."""

    def report(self, call: CallId, device: DeviceId, event: AppEvent, detail: str) -> bool:
        """The app reports its progress; False when no such wake is open."""

    def act(self, call: CallId, device: DeviceId, action: AppAction) -> bool:
        """The person declined on the push screen; False when no such wake is open."""


class ReadyState(StrEnum):
    """Whether calls should be sent here."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state, and why it is not ``ready``: one sentence per reason."""

    state: ReadyState
    reasons: tuple[str, ...] = ()
