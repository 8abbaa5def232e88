"""Wake histories in memory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from ..core.ids import AccountKey, CallId, DeviceId
from ..core.wake_health import KEPT, Standing, WakeResult


class WakesInMemory(ABC):
    """The wake histories' part of `memory.MemoryStore`."""

    def __init__(self) -> None:
        self._wakes: dict[AccountKey, dict[DeviceId, tuple[WakeResult, ...]]] = {}

    async def put_wakes(
        self,
        key: AccountKey,
        device: DeviceId,
        results: Sequence[WakeResult],
        *,
        after: CallId | None,
    ) -> bool:
        """See `wake_ports.WakeStore.put_wakes`."""
        if not results or not self._has_device(key, device):
            return True
        kept = self._wakes.setdefault(key, {}).get(device, ())
        known = after == (kept[0].call if kept else None)
        for result in results:
            if all(each.call != result.call for each in kept):
                kept = (result, *kept)
        self._wakes[key][device] = kept[:KEPT]
        return known

    async def wakes(self, key: AccountKey, device: DeviceId) -> tuple[WakeResult, ...]:
        """See `wake_ports.WakeStore.wakes`."""
        return self._wakes.get(key, {}).get(device, ())

    async def wakes_of_account(self, key: AccountKey) -> Mapping[DeviceId, tuple[WakeResult, ...]]:
        """See `wake_ports.WakeStore.wakes_of_account`."""
        return dict(self._wakes.get(key, {}))

    async def not_waking(self) -> tuple[tuple[AccountKey, DeviceId], ...]:
        """See `wake_ports.WakeStore.not_waking`."""
        return tuple(
            sorted(
                (key, device)
                for key, devices in self._wakes.items()
                for device, kept in devices.items()
                if kept[0].standing is Standing.STOPPED
            )
        )

    def _forget_wakes(self, key: AccountKey, device: DeviceId) -> None:
        self._wakes.get(key, {}).pop(device, None)

    @abstractmethod
    def _has_device(self, key: AccountKey, device: DeviceId) -> bool:
        """Whether the device is (still) there."""
