"""Devices in memory and in the store: written through, or behind while memory is right."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog

from ..cluster_ports import FeedKind
from ..core.device_limit import giving_way
from ..core.ids import AccountKey, DeviceId
from ..core.model import Binding, Device, push_target
from ..errors import NotFound, PreconditionFailed, StoreUnavailable
from ..ports import Clock, Store
from ..store.faults import check_version
from .changes import Change, DeviceChanged, DeviceEvicted, DeviceMoved
from .index import Place
from .lookup import Lookup
from .nodes import NO_DEVICE, Alone, News, Nodes
from .write_behind import WriteBehind

SEEN_S = 3600.0
"""A sign of life is stored at most this often, seconds."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
Listener = Callable[[Change], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Displaced:
    """What gave way to a device."""

    moved: tuple[Place, ...] = ()
    """Lost their exclusive push token to it, and are gone."""
    evicted: tuple[DeviceId, ...] = ()
    """Of the same account, which had too many."""


class KeptDevices(Lookup, ABC):
    """The devices' part of `directory.Directory`, with what all its writes have in common."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        max_devices: int | None,
        nodes: Nodes | None = None,
        news: News | None = None,
    ) -> None:
        """``max_devices`` of one account; None: as many as come. A reload may change it."""
        super().__init__(clock, nodes)
        self._news: News = news or Alone()
        self.max_devices = max_devices
        self._store = store
        self._listeners: list[Listener] = []
        self._writes = WriteBehind("directory")
        self._locks: WeakValueDictionary[AccountKey, asyncio.Lock] = WeakValueDictionary()

    @property
    def degraded(self) -> bool:
        """The store does not take writes; bindings live in memory alone for now."""
        return self._writes.degraded

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` with every change from now on, synchronously."""
        self._listeners.append(listener)

    @abstractmethod
    def delete_binding(self, key: AccountKey, device: DeviceId) -> Binding | None:
        """Forget a binding now; returns what it was."""

    @abstractmethod
    def _forget_binding(
        self, key: AccountKey, device: DeviceId, *, remote: bool = False
    ) -> Binding | None:
        """As `delete_binding`; what is ``remote`` has left the store already."""

    @abstractmethod
    def _touched(self, key: AccountKey) -> None:
        """This node changes something of the account: what is being read of it is old."""

    @abstractmethod
    async def _look(self, key: AccountKey) -> None:
        """Take what the store has of this account; its lock is held."""

    # the store first, then memory

    async def put_device(self, device: Device, *, expected_version: int | None = None) -> Displaced:
        """Create or replace; returns what gave way to it.

        Raises as `ports.Store.put_device`, then nothing has changed here.
        """
        try:
            async with self._lock(device.account):
                return await self._put_through(device, expected_version)
        except StoreUnavailable:
            # Others may have lost the token there all the same.
            for other in self._index.sharing_target(device):
                self._submit_device((other.account, other.device))
            raise

    async def _put_through(self, device: Device, expected_version: int | None) -> Displaced:
        key, place = device.account, (device.account, device.device)
        await self._settle_doubt(key)
        self._check_version(place, expected_version)
        if self._writes.waits(job_of(place)):
            await self._through(key, self._settle_device(place))
        removed = await self._through(
            key, self._store.put_device(device, expected_version=expected_version)
        )
        await self._announced(FeedKind.DEVICE, *place)
        try:
            self._check_version(place, expected_version)
            return self._take_device(with_signs(device, self.device(*place)))
        except PreconditionFailed:
            # Changed behind while the store was writing: what is in memory goes there.
            self._submit_device(place)
            raise
        finally:
            self._correct(removed)

    async def delete_device(self, key: AccountKey, device: DeviceId) -> bool:
        """Erase it with its binding; False when it was not there."""
        async with self._lock(key):
            there = await self._through(key, self._store.delete_device(key, device))
            await self._announced(FeedKind.DEVICE, key, device)
            known = self.device(key, device) is not None
            self._drop_device(key, device)
            return there or known

    # memory first, the store behind

    def put_device_behind(self, device: Device) -> Displaced:
        """Create or replace now, whatever the store does; returns what gave way to it.

        Version and times of creation and change are set here.
        """
        now = self._clock.now()
        old = self.device(device.account, device.device)
        device = replace(
            device,
            version=old.version + 1 if old else 1,
            created_at=old.created_at if old else now,
            updated_at=now,
            seen_at=device.seen_at or now,
        )
        displaced = self._take_device(device)
        self._submit_device((device.account, device.device))
        return displaced

    def delete_device_behind(self, key: AccountKey, device: DeviceId) -> None:
        """Erase it now with its binding, whatever the store does."""
        self._drop_device(key, device)
        self._submit_device((key, device))

    def touch_device(self, key: AccountKey, device: DeviceId, *, token: bool = False) -> None:
        """The app has shown a sign of life; with ``token``, it said that its push token is this.

        Not a change: version and ETag stay, and nobody is told. An unknown device is ignored.
        """
        known, now = self.device(key, device), self._clock.now()
        if known is None:
            return
        seen_at = now if token or now - known.seen_at >= SEEN_S else known.seen_at
        token_at = now if token else known.token_at
        if (seen_at, token_at) != (known.seen_at, known.token_at):
            self._note(replace(known, seen_at=seen_at, token_at=token_at))

    def note_refresh(self, key: AccountKey, device: DeviceId) -> None:
        """It has been asked for a sign of life now. As little a change as one of those."""
        known = self.device(key, device)
        if known is not None:
            self._note(replace(known, refresh_sent_at=self._clock.now()))

    def _note(self, device: Device) -> None:
        self._index.set_device(device)
        place = (device.account, device.device)
        if not self.nodes.name or self._writes.waits(job_of(place)):
            self._submit_device(place)
        else:
            self._touched(place[0])
            self._writes.submit(("signs", *place), partial(self._write_signs, place))

    def _take_device(self, device: Device) -> Displaced:
        """Into memory, and out of it whatever gives way, which leaves the store behind."""
        key, name = device.account, device.device
        old = self._index.set_device(device)
        self._tell(DeviceChanged(key, old, device))
        losers = self._index.sharing_target(device) if device.exclusive else ()
        for loser in losers:
            self._tell(DeviceMoved(loser, device))
            self.delete_device_behind(loser.account, loser.device)
        evicted: tuple[DeviceId, ...] = ()
        if old is None and self.max_devices is not None:
            evicted = giving_way(
                self.devices(key), self.bindings(key), new=name, limit=self.max_devices
            )
        for gone in evicted:
            self._tell(DeviceEvicted(self._index.devices[key][gone], device))
            self.delete_device_behind(key, gone)
        moved = tuple(sorted((loser.account, loser.device) for loser in losers))
        return Displaced(moved=moved, evicted=evicted)

    def _check_version(self, place: Place, expected: int | None) -> None:
        known = self.device(*place)
        check_version(known.version if known else 0, expected)

    def _submit_device(self, place: Place) -> None:
        self._touched(place[0])
        self._writes.submit(job_of(place), partial(self._write_behind, place))

    async def _write_behind(self, place: Place) -> None:
        async with self._lock(place[0]):
            await self._settle_device(place)

    async def _write_signs(self, place: Place) -> None:
        """A sign of life never undoes what another node has changed or deleted meanwhile."""
        async with self._lock(place[0]):
            device = self.device(*place)
            if device is None:
                return
            try:
                removed = await self._store.put_device(device, expected_version=device.version)
            except (NotFound, PreconditionFailed):
                self._writes.submit(place[0], partial(self._read_again, place[0]))
            else:
                self._written(place)
                self._correct(removed)

    async def _settle_device(self, place: Place) -> None:
        """Make the store have of this device what memory has."""
        device = self.device(*place)
        if device is None:
            await self._store.delete_device(*place)
            self._written(place)
        else:
            removed = await self._store.put_device(device, expected_version=None)
            self._written(place)
            self._correct(removed)

    def _correct(self, removed: Iterable[Place]) -> None:
        """The store removed these for a token that they may have had once: memory is right."""
        for place in removed:
            if self.device(*place) is not None:
                self._submit_device(place)
            else:
                self._written(place)

    def _written(self, place: Place) -> None:
        """A device, or its end, has reached the store."""
        self._touched(place[0])
        self._news.tell(FeedKind.DEVICE, *place)

    async def _announced(
        self, kind: FeedKind, key: AccountKey, device: DeviceId = NO_DEVICE
    ) -> None:
        """Whoever asked for this may go on at another node, which knows where to look."""
        self._touched(key)
        self._news.tell(kind, key, device)
        await self._news.sent()

    def _take_stored(self, device: Device) -> None:
        """The store has it otherwise; unless its token went elsewhere behind meanwhile."""
        sharing = self._index.sharing_target(device) if device.exclusive else ()
        if any(self._writes.waits(job_of((d.account, d.device))) for d in sharing):
            self.delete_device_behind(device.account, device.device)
        else:
            self._take_device(device)

    def _drop_device(self, key: AccountKey, device: DeviceId, *, remote: bool = False) -> None:
        self._forget_binding(key, device, remote=remote)
        if (old := self._index.drop_device(key, device)) is not None:
            self._tell(DeviceChanged(key, old, None, remote=remote))

    # what all writes have in common

    async def _read_again(self, key: AccountKey) -> None:
        async with self._lock(key):
            await self._look(key)

    def _lock(self, key: AccountKey) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - logged below
                # One listener's fault must not keep the others from learning of the change.
                _log.exception("a listener of the directory failed", change=type(change).__name__)

    async def _settle_doubt(self, key: AccountKey) -> None:
        """A write that timed out may have been done: who changes more now is told what there is.

        Else its own change, begun from what memory has, would be refused as outdated.
        """
        if self._writes.waits(key):
            await self._through(key, self._look(key))

    async def _through(self, key: AccountKey, write: Awaitable[_T]) -> _T:
        try:
            return await write
        except StoreUnavailable:
            # A write that timed out may have been done all the same: look when the store is back.
            self._writes.submit(key, partial(self._read_again, key))
            raise


def job_of(place: Place) -> tuple[str, AccountKey, DeviceId]:
    """How a device's write is called among those that wait; a binding's is the place itself."""
    return ("device", *place)


def with_signs(device: Device, known: Device | None) -> Device:
    """What the app showed while the store was writing is not lost."""
    if known is None or push_target(known) != push_target(device):
        return device
    return replace(
        device,
        token_at=max(device.token_at, known.token_at),
        seen_at=max(device.seen_at, known.seen_at),
        refresh_sent_at=max(device.refresh_sent_at, known.refresh_sent_at),
    )
