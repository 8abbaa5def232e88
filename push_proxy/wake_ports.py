"""What wake histories and apps' logs need of the store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from .core.app_log import AppLog
from .core.ids import AccountKey, CallId, DeviceId
from .core.wake_health import WakeResult


class WakeStore(Protocol):
    """Each device's newest wakes (`ports.Store`); may raise `errors.StoreUnavailable`.

    They go with their device.
    """

    async def put_wakes(
        self,
        key: AccountKey,
        device: DeviceId,
        results: Sequence[WakeResult],
        *,
        after: CallId | None,
    ) -> bool:
        """Add these, the oldest first, and keep the newest `core.wake_health.KEPT`.

        One call's is kept once, however often it is put; a device that is gone has none.

        ``after``: the newest that was known when they were judged; None: there was none. False:
        another one is, so another node knows more; they are kept all the same.
        """

    async def wakes(self, key: AccountKey, device: DeviceId) -> tuple[WakeResult, ...]:
        """A device's, newest first."""

    async def wakes_of_account(self, key: AccountKey) -> Mapping[DeviceId, tuple[WakeResult, ...]]:
        """Those of all its devices that have any, newest first."""

    async def not_waking(self) -> tuple[tuple[AccountKey, DeviceId], ...]:
        """All devices that count as stopped by their newest wake; some may be gone."""


class AppLogStore(Protocol):
    """Logs that apps have handed in (`ports.Store`); may raise `errors.StoreUnavailable`.

    They are capped per device and in time, sealed at rest, and go with their device.
    """

    async def put_app_log(
        self, key: AccountKey, device: DeviceId, log: AppLog, content: bytes
    ) -> bool:
        """Keep it; the oldest ones go. False: the device is gone."""

    async def app_logs(self, key: AccountKey, device: DeviceId) -> tuple[AppLog, ...]:
        """A device's, newest first."""

    async def app_log(self, key: AccountKey, device: DeviceId, log: str) -> bytes | None:
        """One's content, or None."""
