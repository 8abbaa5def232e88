"""How each device has woken lately: kept in the store, told when it stops or returns.

Written behind: no call waits for it, and while the store is away what happens waits in memory.
Of devices that were called lately a short form stays in memory, for whoever asks during a call.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog

from ..core.ids import AccountKey, CallId, DeviceId, TenantId, split_account_key
from ..core.model import Device
from ..core.notices import Notice, NoticeType
from ..core.wake_health import (
    KEPT,
    NO_WAKES,
    Health,
    Standing,
    WakeResult,
    WakeSummary,
    health_of,
    judged,
    summary_of,
)
from ..errors import StoreUnavailable
from ..observability.wake_metrics import WakeMetrics
from ..ports import Clock, Notices
from ..tasks import spawn
from ..wake_ports import WakeStore
from .changes import Change, DeviceChanged
from .directory import Directory
from .index import Place
from .wake_latency import WakeLatencies
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)

IN_MEMORY = 20_000
"""Devices of which the short form stays in memory: two kilobytes each at most."""
WAITING = 20_000
"""Devices whose wakes wait for the store at most."""
_READ_AGAIN_S = 5.0


class _Known:
    """A device's short form, and what is not in the store yet."""

    __slots__ = ("health", "newest", "unjudged", "unwritten")

    def __init__(self) -> None:
        self.health: Health | None = None
        """None: not read yet."""
        self.newest: CallId | None = None
        """In the store, as far as known."""
        self.unjudged: list[WakeResult] = []
        """Wakes that came before it was read, oldest first."""
        self.unwritten: list[WakeResult] = []

    @property
    def busy(self) -> bool:
        return bool(self.unjudged or self.unwritten)


class WakeHistory:
    """Hears what came of every wake (`runtime.wake_outcomes.WakeWatcher`)."""

    def __init__(
        self,
        *,
        store: WakeStore,
        directory: Directory,
        notices: Notices,
        clock: Clock,
        metrics: WakeMetrics,
        latencies: WakeLatencies,
    ) -> None:
        self._store = store
        self._directory = directory
        self._notices = notices
        self._clock = clock
        self._metrics = metrics
        self._latencies = latencies
        self._devices: OrderedDict[Place, _Known] = OrderedDict()
        self._stopped: set[Place] = set()
        self._reading: set[AccountKey] = set()
        self._writes = WriteBehind("wake histories")
        self._start: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow which devices go, and read which ones had stopped waking before our start."""
        self._directory.subscribe(self._on_change)
        self._metrics.watch(lambda: len(self._stopped))
        self._start = spawn(self._read_stopped(), name="devices that stopped waking")

    async def aclose(self) -> None:
        """Write what waits, as far as the time reaches."""
        if self._start is not None:
            self._start.cancel()
        await self._writes.aclose()

    # told during calls: nothing waits

    def expect(self, key: AccountKey) -> None:
        """A call may wake the account's devices: have their past at hand when it ends."""
        places = ((key, device.device) for device in self._directory.devices(key))
        if key not in self._reading and any(self._health(place) is None for place in places):
            self._reading.add(key)
            spawn(self._read_account(key), name=f"wakes of {key}")

    def ended(self, key: AccountKey, name: DeviceId, result: WakeResult) -> None:
        """A call is over for a device that it was to wake."""
        device = self._directory.device(key, name)
        if device is None:
            return
        result = replace(result, provider=device.provider)
        self._latencies.add(split_account_key(key)[0], device, result)
        place = (key, name)
        if self._writes.waiting >= WAITING and not self._writes.waits(place):
            self._metrics.lost()
            return
        known = self._device(place)
        known.unjudged = [*known.unjudged, result][-KEPT:]
        if known.health is not None:
            self._judge(place, known)
        self._writes.submit(place, partial(self._write, place))

    def summary(self, key: AccountKey, device: DeviceId) -> WakeSummary:
        """As far as it is in memory; without any wake when it is not."""
        return summary_of(self._health((key, device)) or NO_WAKES)

    def not_waking(self, tenant: TenantId) -> int:
        """How many of a tenant's devices have stopped waking."""
        return sum(split_account_key(key)[0] == tenant for key, _ in self._stopped)

    # asked by the API

    async def of_device(self, key: AccountKey, device: DeviceId) -> tuple[WakeResult, ...]:
        """A device's wakes, newest first. Raises `errors.StoreUnavailable`."""
        place = (key, device)
        known = self._devices.get(place)
        if known is not None and known.health is None:
            await self._read(place, known)
        newest = tuple(reversed(known.unwritten)) if known is not None else ()
        calls = {result.call for result in newest}
        stored = await self._store.wakes(key, device)
        return (*newest, *(result for result in stored if result.call not in calls))[:KEPT]

    async def of_account(self, key: AccountKey) -> Mapping[DeviceId, WakeSummary]:
        """Its devices' summaries; while the store is away those that are in memory."""
        names = [device.device for device in self._directory.devices(key)]
        found = {name: self._health((key, name)) for name in names}
        if None in found.values() and (stored := await self._read_account(key)) is not None:
            read = {name: health_of(stored.get(name, ())) for name in names}
            found = {name: self._health((key, name)) or read[name] for name in names}
        return {name: summary_of(health) for name, health in found.items() if health is not None}

    # reading

    async def _read_account(
        self, key: AccountKey
    ) -> Mapping[DeviceId, tuple[WakeResult, ...]] | None:
        """What the store has of an account; None while it is away."""
        try:
            stored = await self._store.wakes_of_account(key)
        except StoreUnavailable as error:
            # At the end of the call it is tried again, for as long as it takes.
            _log.debug("wakes not read: the store is away", account=key, error=str(error))
            return None
        finally:
            self._reading.discard(key)
        for device in self._directory.devices(key):
            place = (key, device.device)
            self._learn(place, self._device(place), stored.get(device.device, ()))
        return stored

    async def _read(self, place: Place, known: _Known) -> None:
        self._learn(place, known, await self._store.wakes(*place))

    def _learn(self, place: Place, known: _Known, stored: Sequence[WakeResult]) -> None:
        """The store has this of a device, unless it is known, or gone, by now."""
        if known.health is None and self._devices.get(place) is known:
            known.health = health_of(stored)
            known.newest = stored[0].call if stored else None
            self._note(place, known.health)
            self._judge(place, known)

    async def _read_stopped(self) -> None:
        stored: Sequence[Place] | None = None
        while stored is None:
            try:
                stored = await self._store.not_waking()
            except StoreUnavailable:
                await asyncio.sleep(_READ_AGAIN_S)
        for place in stored:
            # What has happened since our start is newer.
            if self._health(place) is None and self._directory.device(*place) is not None:
                self._stopped.add(place)

    # judging

    def _judge(self, place: Place, known: _Known) -> None:
        for result in known.unjudged:
            before = known.health or NO_WAKES
            known.health, after = judged(before, result)
            known.unwritten = [*known.unwritten, after][-KEPT:]
            if known.health.standing is not before.standing:
                self._turn(place, before.standing, known.health, after)
        known.unjudged = []

    def _turn(self, place: Place, before: Standing, health: Health, result: WakeResult) -> None:
        key, name = place
        device = self._directory.device(key, name)
        if device is None or before is Standing.NEW:
            return
        _log.info(f"device {before} -> {health.standing}", account=key, device=name)
        stopped = health.standing is Standing.STOPPED
        self._metrics.turned(stopped=stopped)
        self._note(place, health)
        self._notices.tell(
            Notice(
                type=NoticeType.DEVICE_STOPPED_WAKING if stopped else NoticeType.DEVICE_WAKES_AGAIN,
                at=self._clock.now(),
                account=key,
                device=name,
                data=_data(device, summary_of(health), result, stopped=stopped),
            )
        )

    def _note(self, place: Place, health: Health) -> None:
        if health.standing is Standing.STOPPED:
            self._stopped.add(place)
        else:
            self._stopped.discard(place)

    # writing

    async def _write(self, place: Place) -> None:
        known = self._devices.get(place)
        if known is None:
            return  # the device is gone
        if known.health is None:
            await self._read(place, known)
        if rows := tuple(known.unwritten):
            alone = await self._store.put_wakes(*place, rows, after=known.newest)
            known.newest = rows[-1].call
            known.unwritten = [each for each in known.unwritten if each not in rows]
            if not alone and not known.busy:
                # Another node has had calls for it: what we know is not all.
                known.health = None
        self._make_room()

    # memory

    def _health(self, place: Place) -> Health | None:
        known = self._devices.get(place)
        return None if known is None else known.health

    def _device(self, place: Place) -> _Known:
        """The device, from now on the one that was used last."""
        known = self._devices.get(place)
        if known is None:
            known = self._devices[place] = _Known()
            self._make_room()
        self._devices.move_to_end(place)
        return known

    def _make_room(self) -> None:
        while len(self._devices) > IN_MEMORY:
            place, oldest = self._devices.popitem(last=False)
            if oldest.busy:
                self._devices[place] = oldest
                return

    def _on_change(self, change: Change) -> None:
        if isinstance(change, DeviceChanged) and change.new is None and change.old is not None:
            place = (change.account, change.old.device)
            self._devices.pop(place, None)
            self._stopped.discard(place)


def _data(
    device: Device, summary: WakeSummary, result: WakeResult, *, stopped: bool
) -> dict[str, str]:
    data = {
        "call_id": result.call,
        "provider": device.provider,
        "app_id": device.app_id,
        "platform": device.platform or "",
        "vendor": device.vendor or "",
    }
    if stopped:
        data |= {"verdict": result.verdict.value, "reason": result.reason}
        data |= {"failed_in_a_row": str(summary.failed_in_a_row)}
    elif result.wake_s is not None:
        data |= {"wake_ms": str(round(result.wake_s * 1000))}
    return {name: value for name, value in data.items() if value}
