"""Phones that were pushed and came when their call was over: that says why it did not ring."""

from collections import OrderedDict

from ..core.ids import AccountKey, CallId, DeviceId, Instant

REMEMBERED_S = 120.0
"""Who comes later has been opened by its owner: no push takes so long."""
_MOST = 50_000


class Latecomers:
    """Devices that are missing from a call that has ended."""

    def __init__(self) -> None:
        self._missing: OrderedDict[tuple[AccountKey, DeviceId], tuple[CallId, Instant]] = (
            OrderedDict()
        )

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._missing)

    def missed(self, account: AccountKey, device: DeviceId, call: CallId, now: Instant) -> None:
        """The call has ended without this device. A device's newest call counts."""
        key = (account, device)
        self._missing.pop(key, None)
        self._missing[key] = call, Instant(now + REMEMBERED_S)
        while self._missing:
            oldest, (_, until) = next(iter(self._missing.items()))
            if now < until and len(self._missing) <= _MOST:
                return
            del self._missing[oldest]

    def came(self, account: AccountKey, device: DeviceId, now: Instant) -> CallId | None:
        """It has registered; the call that it is too late for, told once."""
        call, until = self._missing.pop((account, device), (None, now))
        return call if now < until else None
