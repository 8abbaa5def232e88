"""Apps' logs in memory."""

from abc import ABC, abstractmethod

from ..core.app_log import AppLog
from ..core.ids import AccountKey, DeviceId
from ..ports import Clock
from .search import HistoryLimits

_Kept = tuple[AppLog, bytes]


class AppLogsInMemory(ABC):
    """The apps' logs' part of `memory.MemoryStore`."""

    def __init__(self, clock: Clock, history: HistoryLimits) -> None:
        self._app_log_clock = clock
        self._app_log_limits = history
        self._app_logs: dict[tuple[AccountKey, DeviceId], tuple[_Kept, ...]] = {}

    async def put_app_log(
        self, key: AccountKey, device: DeviceId, log: AppLog, content: bytes
    ) -> bool:
        """See `wake_ports.AppLogStore.put_app_log`."""
        if not self._has_device(key, device):
            return False
        kept = ((log, content), *self._kept_logs(key, device))
        self._app_logs[key, device] = kept[: self._app_log_limits.app_logs_per_device]
        return True

    async def app_logs(self, key: AccountKey, device: DeviceId) -> tuple[AppLog, ...]:
        """See `wake_ports.AppLogStore.app_logs`."""
        return tuple(log for log, _ in self._kept_logs(key, device))

    async def app_log(self, key: AccountKey, device: DeviceId, log: str) -> bytes | None:
        """See `wake_ports.AppLogStore.app_log`."""
        kept = self._kept_logs(key, device)
        return next((content for each, content in kept if each.id == log), None)

    def _kept_logs(self, key: AccountKey, device: DeviceId) -> tuple[_Kept, ...]:
        oldest = self._app_log_clock.now() - self._app_log_limits.app_logs_keep_s
        return tuple(kept for kept in self._app_logs.get((key, device), ()) if kept[0].at >= oldest)

    def _forget_app_logs(self, key: AccountKey, device: DeviceId) -> None:
        self._app_logs.pop((key, device), None)

    @abstractmethod
    def _has_device(self, key: AccountKey, device: DeviceId) -> bool:
        """Whether the device is (still) there."""
