"""What the API needs from the rest of the service; `runtime` satisfies each Protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ..core.events import AppAction, AppEvent
from ..core.evidence import NO_WORDS, AppWords
from ..core.ids import AccountKey, CallId, DeviceId, TenantId
from ..core.model import Account, Binding, CallRecord, Device
from ..core.queued_event import DeadLetterPage, Replayed
from ..core.registration_status import RegistrationStatus
from ..core.wake_health import WakeResult, WakeSummary
from ..missed_ports import MissedCallPage
from ..ports import AppHealth
from ..recorder.recording import Recording
from ..runtime.changes import Change
from ..runtime.kept_devices import Displaced


class Accounts(Protocol):
    """Who is known: `runtime.directory.Directory`."""

    def accounts(self) -> tuple[Account, ...]:
        """All accounts."""

    def account(self, key: AccountKey) -> Account | None:
        """The account of this key."""

    def by_aor(self, aor: str) -> Account | None:
        """The account of this canonical AOR."""

    def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """Devices of an account."""

    def device(self, key: AccountKey, device: DeviceId) -> Device | None:
        """One device."""

    def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """Unexpired bindings of an account."""

    def binding(self, key: AccountKey, device: DeviceId) -> Binding | None:
        """The device's unexpired binding."""

    def has_flow(self, binding: Binding) -> bool:
        """Whether requests can be sent to the phone: its connection stands, or it is on UDP."""

    async def put_account(self, account: Account, *, expected_version: int | None = None) -> None:
        """As `ports.Store.put_account`."""

    async def delete_account(self, key: AccountKey) -> bool:
        """As `ports.Store.delete_account`."""

    async def put_device(self, device: Device, *, expected_version: int | None = None) -> Displaced:
        """Create or replace; what gave way to it. Raises as `ports.Store.put_device`."""

    def touch_device(self, key: AccountKey, device: DeviceId, *, token: bool = False) -> None:
        """A sign of life; with ``token``, the app named its push token again."""

    async def delete_device(self, key: AccountKey, device: DeviceId) -> bool:
        """As `ports.Store.delete_device`."""

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        """Call ``listener`` with every change from now on."""


class Registrations(Protocol):
    """Registrations toward the PBXs."""

    def status(self, account: AccountKey) -> RegistrationStatus:
        """How the account stands at its PBX."""


class LiveCalls(Protocol):
    """Calls that are going on; finished ones are in the store."""

    def get(self, call: CallId) -> CallRecord | None:
        """The newest record of a call still in memory."""


class UnseenCalls(Protocol):
    """Missed calls that nobody has seen: `runtime.missed_book.MissedBook`."""

    async def page(self, key: AccountKey, *, limit: int, cursor: str | None) -> MissedCallPage:
        """An account's, newest first. Raises as `ports.Store.missed_calls`."""

    async def count(self, key: AccountKey) -> int | None:
        """How many an account has; None while the store is away."""

    async def see(
        self, key: AccountKey, calls: Sequence[CallId], *, up_to: CallId | None = None
    ) -> None:
        """These were seen, or all up to one. Raises `errors.StoreUnavailable`."""


class WakeHistories(Protocol):
    """How devices have woken lately: `runtime.wake_history.WakeHistory`."""

    async def of_device(self, key: AccountKey, device: DeviceId) -> tuple[WakeResult, ...]:
        """A device's wakes, newest first. Raises `errors.StoreUnavailable`."""

    async def of_account(self, key: AccountKey) -> Mapping[DeviceId, WakeSummary]:
        """Its devices' summaries; while the store is away those that are in memory."""

    def not_waking(self, tenant: TenantId) -> int:
        """How many of a tenant's devices have stopped waking."""


class CallRecorder(Protocol):
    """The SIP of calls: `recorder.recorder.Recorder`."""

    @property
    def enabled(self) -> bool:
        """Whether calls are being recorded."""

    async def find(self, record: CallRecord) -> Recording | None:
        """What is kept of this call; None: nothing.

        Raises `errors.StoreUnavailable` and `recorder.recording.UnreadableRecording`.
        """


class LiveWakes(Protocol):
    """Wakes that are going on: `runtime.wakes.Wakes`."""

    def report(
        self,
        call: CallId,
        device: DeviceId,
        event: AppEvent,
        detail: str,
        *,
        words: AppWords = NO_WORDS,
    ) -> bool:
        """The app reports its progress; False when no such wake is open."""

    def act(self, call: CallId, device: DeviceId, action: AppAction) -> bool:
        """The person declined on the push screen; False when no such wake is open."""


class DeadLetters(Protocol):
    """Events that no webhook took: `events.dead_letters.DeadLetters`."""

    async def page(self, tenant: TenantId, *, limit: int, cursor: str | None) -> DeadLetterPage:
        """Newest first. Raises `errors.StoreUnavailable`, `errors.InvalidInput`."""

    async def replay(self, tenant: TenantId, letters: Sequence[str] | None) -> Replayed:
        """Deliver these, or all, once more. Raises `errors.StoreUnavailable`."""

    async def delete(self, tenant: TenantId, letters: Sequence[str] | None) -> int:
        """Forget these, or all; how many there were. Raises `errors.StoreUnavailable`."""


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
    impaired: tuple[tuple[str, AppHealth], ...] = ()
    """Apps whose pushes do not go through now, with their provider's name. The state is the same:
    another node would fare no better."""
    left: int | None = None
    """Calls and MESSAGEs without a final response, of a service that drains."""
