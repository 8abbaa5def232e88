"""How fast devices woke lately, by platform and vendor: running counts, for people to look at.

Kept in memory for a day, by the hour. Bounded: a vendor that is not known counts as ``other``.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.ids import Instant, TenantId
from ..core.model import Device
from ..core.wake_health import WakeEnd, WakeResult
from ..observability import labels
from ..observability.metrics import WAKE_BUCKETS
from ..ports import Clock

BUCKETS_S: tuple[float, ...] = tuple(float(edge) for edge in WAKE_BUCKETS)
"""Upper edges of `WakeLatency.histogram`, seconds; one more bucket has no upper edge."""
WINDOW_S = 86_400.0
_SLOT_S = 3_600.0
_GROUPS = 2_000
"""Groups of an hour, of all tenants: what is beyond them is not counted."""

_Group = tuple[TenantId, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeLatency:
    """The wakes of a platform's and vendor's devices within `WINDOW_S`."""

    platform: str
    """As `labels.platform`."""
    vendor: str
    """As `labels.vendor`."""
    wakes: int
    """Those that say something of the device (`core.wake_health`)."""
    woken: int
    measured: int
    """Of those that woke: the sum of ``histogram``."""
    p50_s: float | None
    p95_s: float | None
    """Estimated from ``histogram``; None: none was measured."""
    histogram: tuple[int, ...]
    """How many took at most as long as each of `BUCKETS_S`, each counted once; then the rest."""


class WakeLatencies:
    """Counts each wake's result."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: deque[_Slot] = deque()

    def add(self, tenant: TenantId, device: Device, result: WakeResult) -> None:
        """One more wake of this device."""
        if result.end is WakeEnd.NO_EVIDENCE:
            return
        group = (tenant, labels.platform(device.platform), labels.vendor(device.vendor))
        groups = self._slot().groups
        counts = groups.get(group)
        if counts is None:
            if len(groups) >= _GROUPS:
                return
            counts = groups[group] = _Counts()
        counts.add(result)

    def of(self, tenant: TenantId) -> tuple[WakeLatency, ...]:
        """A tenant's, those with most wakes first."""
        self._forget(self._clock.now())
        sums: dict[_Group, _Counts] = {}
        for slot in self._slots:
            for group, counts in slot.groups.items():
                if group[0] == tenant:
                    sums.setdefault(group, _Counts()).join(counts)
        found = [_shown(group, counts) for group, counts in sums.items()]
        return tuple(sorted(found, key=lambda each: (-each.wakes, each.platform, each.vendor)))

    def _slot(self) -> "_Slot":
        now = self._clock.now()
        if not self._slots or now >= self._slots[-1].began_at + _SLOT_S:
            self._forget(now)
            self._slots.append(_Slot(now))
        return self._slots[-1]

    def _forget(self, now: Instant) -> None:
        while self._slots and self._slots[0].began_at + WINDOW_S <= now:
            self._slots.popleft()


class _Slot:
    """One hour."""

    __slots__ = ("began_at", "groups")

    def __init__(self, began_at: Instant) -> None:
        self.began_at = began_at
        self.groups: dict[_Group, _Counts] = {}


class _Counts:
    """One group of one hour, or of all."""

    __slots__ = ("buckets", "wakes", "woken")

    def __init__(self) -> None:
        self.wakes = self.woken = 0
        self.buckets = [0] * (len(BUCKETS_S) + 1)

    def add(self, result: WakeResult) -> None:
        self.wakes += 1
        self.woken += result.woke
        if result.woke and result.wake_s is not None:
            self.buckets[bisect_left(BUCKETS_S, result.wake_s)] += 1

    def join(self, other: "_Counts") -> None:
        self.wakes += other.wakes
        self.woken += other.woken
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]


def _shown(group: _Group, counts: _Counts) -> WakeLatency:
    return WakeLatency(
        platform=group[1],
        vendor=group[2],
        wakes=counts.wakes,
        woken=counts.woken,
        measured=sum(counts.buckets),
        p50_s=quantile(counts.buckets, 0.5),
        p95_s=quantile(counts.buckets, 0.95),
        histogram=tuple(counts.buckets),
    )


def quantile(histogram: Sequence[int], share: float) -> float | None:
    """Seconds that ``share`` of the counted did not exceed, evenly spread within each bucket.

    Beyond the last edge: that edge, as nothing more is known. None: nothing was counted.
    """
    rank = share * sum(histogram)
    if rank <= 0:
        return None
    below, lower = 0, 0.0
    for upper, count in zip(BUCKETS_S, histogram, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below, lower = below + count, upper
    return BUCKETS_S[-1]
