"""Who is known: accounts, devices and bindings in memory, in step with the store.

Reads never touch the store, so a call finds its devices even while Redis is away. What an
operator or app asks by HTTP is written through: the caller learns of a failure. What follows
from SIP and from providers is written behind: bindings, devices' signs of life, dead tokens,
and devices that other ones push aside. While such a write waits, memory is right.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from heapq import heappop, heappush
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog

from ..core.device_limit import giving_way
from ..core.ids import AccountKey, DeviceId, Instant
from ..core.model import Account, Address, Binding, Device, push_target
from ..errors import PreconditionFailed, StoreUnavailable
from ..ports import Clock, Store
from ..store.faults import check_version
from ..tasks import spawn
from .changes import (
    AccountChanged,
    BindingChanged,
    Change,
    DeviceChanged,
    DeviceEvicted,
    DeviceMoved,
)
from .connections import Connections
from .index import Index, Place
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


class Directory:
    """In-memory index with write-through; see the module's text.

    All methods belong to the asyncio thread.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        sweep_s: float = 1.0,
        max_devices: int | None = None,
    ) -> None:
        """``max_devices`` of one account; None: as many as come. A reload may change it."""
        self.max_devices = max_devices
        self._store = store
        self._clock = clock
        self._sweep_s = sweep_s
        self._index = Index()
        self._listeners: list[Listener] = []
        self._connections = Connections(clock.now())
        self._expiries: list[tuple[Instant, AccountKey, DeviceId]] = []
        self._awaited: dict[Place, Instant] = {}
        self._writes = WriteBehind("directory")
        self._locks: WeakValueDictionary[AccountKey, asyncio.Lock] = WeakValueDictionary()
        self._sweeper: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read everything from the store, without telling listeners; expiry runs from now on.

        Raises `errors.StoreUnavailable`; then nothing is loaded and it may be called again.
        """
        index, bindings = Index(), list[Binding]()
        async for state in self._store.everything():
            index.set_account(state.account)
            for device in state.devices:
                index.set_device(device)
            for binding in state.bindings:
                index.set_binding(binding)
                bindings.append(binding)
        self._index, self._expiries, self._awaited = index, [], {}
        for binding in bindings:
            self._await_expiry(binding)
        self._connections = Connections(self._clock.now())
        if self._sweeper is None:
            self._sweeper = spawn(self._sweep_forever(), name="expiry of bindings")

    async def aclose(self, timeout_s: float = 3.0) -> None:
        """Stop expiry and finish the writes that wait, as far as the time reaches."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await self._writes.aclose(timeout_s)

    @property
    def degraded(self) -> bool:
        """The store does not take writes; bindings live in memory alone for now."""
        return self._writes.degraded

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` with every change from now on, synchronously."""
        self._listeners.append(listener)

    # reads

    def account(self, key: AccountKey) -> Account | None:
        """The account of this key."""
        return self._index.accounts.get(key)

    def accounts(self) -> tuple[Account, ...]:
        """All accounts."""
        return tuple(self._index.accounts.values())

    def by_aor(self, aor: str) -> Account | None:
        """The account of this canonical AOR."""
        return self._account(self._index.by_aor.get(aor))

    def by_contact_token(self, token: str) -> Account | None:
        """The account whose Contact at the PBX carries this ``pp`` parameter."""
        return self._account(self._index.by_token.get(token))

    def by_user(self, user: str) -> tuple[Account, ...]:
        """The accounts whose AOR has this user part."""
        return tuple(self._index.accounts[key] for key in self._index.by_user.get(user, ()))

    def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """Devices of an account."""
        return tuple(self._index.devices.get(key, {}).values())

    def device(self, key: AccountKey, device: DeviceId) -> Device | None:
        """One device."""
        return self._index.devices.get(key, {}).get(device)

    def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """Unexpired bindings of an account."""
        now = self._clock.now()
        kept = self._index.bindings.get(key, {}).values()
        return tuple(binding for binding in kept if binding.expires_at > now)

    def binding(self, key: AccountKey, device: DeviceId) -> Binding | None:
        """The device's unexpired binding."""
        found = self._index.bindings.get(key, {}).get(device)
        return found if found and found.expires_at > self._clock.now() else None

    def binding_count(self) -> int:
        """Bindings of all accounts."""
        return sum(len(kept) for kept in self._index.bindings.values())

    def by_flow(self, source: Address) -> tuple[Binding, ...]:
        """Unexpired bindings whose REGISTER came from this address, over what still stands.

        Whoever opens another TCP connection from the same port has proved nothing.
        """
        if not self._connections.stands(source):
            return ()
        found = (self.binding(*place) for place in self._index.by_flow.get(source, ()))
        return tuple(binding for binding in found if binding)

    def by_route_key(self, route_key: str) -> Binding | None:
        """The unexpired binding that signed route tokens call by this name."""
        place = self._index.by_route_key.get(route_key)
        return self.binding(*place) if place else None

    # accounts and devices: the store first, then memory

    async def put_account(self, account: Account, *, expected_version: int | None = None) -> None:
        """Create or replace; raises as `ports.Store.put_account`, then nothing has changed here."""
        async with self._lock(account.key):
            await self._through(
                account.key, self._store.put_account(account, expected_version=expected_version)
            )
            self._set_account(account)

    async def delete_account(self, key: AccountKey) -> bool:
        """Erase it with all that hangs on it; False when it was not there."""
        async with self._lock(key):
            there = await self._through(key, self._store.delete_account(key))
            self._drop_account(key)
            return there

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
        self._check_version(place, expected_version)
        if self._writes.waits(_job(place)):
            await self._through(key, self._settle_device(place))
        removed = await self._through(
            key, self._store.put_device(device, expected_version=expected_version)
        )
        try:
            self._check_version(place, expected_version)
            return self._take_device(_with_signs(device, self.device(*place)))
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
            known = self.device(key, device) is not None
            self._drop_device(key, device)
            return there or known

    # devices: memory first, the store behind

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
        self._submit_device((device.account, device.device))

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
        self._writes.submit(_job(place), partial(self._write_behind, place))

    async def _write_behind(self, place: Place) -> None:
        async with self._lock(place[0]):
            await self._settle_device(place)

    async def _settle_device(self, place: Place) -> None:
        """Make the store have of this device what memory has."""
        device = self.device(*place)
        if device is None:
            await self._store.delete_device(*place)
        else:
            self._correct(await self._store.put_device(device, expected_version=None))

    def _correct(self, removed: Iterable[Place]) -> None:
        """The store removed these for a token that they may have had once: memory is right."""
        for place in removed:
            if self.device(*place) is not None:
                self._submit_device(place)

    # bindings: memory first, the store behind

    def put_binding(self, binding: Binding) -> None:
        """Take a binding now, with its flow; it is stored as soon as the store takes it."""
        self._connections.bound(binding)
        old = self._index.set_binding(binding)
        self._await_expiry(binding)
        self._writes.submit(
            (binding.account, binding.device), partial(self._store.put_binding, binding)
        )
        self.touch_device(binding.account, binding.device)
        self._tell(BindingChanged(old, binding))

    def delete_binding(self, key: AccountKey, device: DeviceId) -> Binding | None:
        """Forget a binding now; returns what it was."""
        old = self._index.drop_binding(key, device)
        self._connections.unbound((key, device))
        if old is not None:
            self._writes.submit((key, device), partial(self._store.delete_binding, key, device))
            self._tell(BindingChanged(old, None))
        return old

    def has_flow(self, binding: Binding) -> bool:
        """Whether requests can be sent to the phone: always over UDP, as far as we know.

        Over TCP and TLS only while its connection stands: never after a restart of ours.
        """
        return self._connections.stands(binding.source)

    def flow_lost(self, remote: Address) -> None:
        """A connection has ended: bindings on it stay, but are asleep until they come again."""
        places = self._index.by_flow.get(remote, ())
        self._connections.lost(remote, places, self._clock.now())

    def returns_soon(self, binding: Binding) -> bool:
        """Whether a phone without connection is probably about to make another one."""
        return self._connections.returns_soon(binding, self._clock.now())

    def heard(self, route_key: str, source: Address, now: Instant) -> None:
        """SIP came from the device: a sign of life, if on the flow that we would send to."""
        binding = self.by_route_key(route_key)
        if binding and binding.source == source and binding.heard_at < now:
            self._index.set_binding(replace(binding, heard_at=now))
            self.touch_device(binding.account, binding.device)

    def expire(self) -> None:
        """Drop bindings whose time is over, and tell. Runs by itself once loaded."""
        now = self._clock.now()
        while self._expiries and self._expiries[0][0] <= now:
            at, key, device = heappop(self._expiries)
            if self._awaited.get((key, device)) != at:
                continue
            del self._awaited[key, device]
            binding = self._index.bindings.get(key, {}).get(device)
            if binding is not None and binding.expires_at > now:
                self._await_expiry(binding)
            elif binding is not None:
                self.delete_binding(key, device)

    def _await_expiry(self, binding: Binding) -> None:
        """Look at it when its time is over, or sooner if that has been noted for its place.

        A note per refresh would stay for an hour each: phones may refresh every few seconds.
        """
        at, place = binding.expires_at, (binding.account, binding.device)
        if at < self._awaited.get(place, math.inf):
            self._awaited[place] = at
            heappush(self._expiries, (at, *place))

    # how it is done

    def _account(self, key: AccountKey | None) -> Account | None:
        return None if key is None else self._index.accounts.get(key)

    def _lock(self, key: AccountKey) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - logged below
                # One listener's fault must not keep the others from learning of the change.
                _log.exception("a listener of the directory failed", change=type(change).__name__)

    def _set_account(self, account: Account) -> None:
        self._tell(AccountChanged(self._index.set_account(account), account))

    def _drop_account(self, key: AccountKey) -> None:
        for name in (*self._index.devices.get(key, {}), *self._index.bindings.get(key, {})):
            self._drop_device(key, name)
        if (old := self._index.drop_account(key)) is not None:
            self._tell(AccountChanged(old, None))

    def _drop_device(self, key: AccountKey, device: DeviceId) -> None:
        self.delete_binding(key, device)
        if (old := self._index.drop_device(key, device)) is not None:
            self._tell(DeviceChanged(key, old, None))

    async def _through(self, key: AccountKey, write: Awaitable[_T]) -> _T:
        try:
            return await write
        except StoreUnavailable:
            # A write that timed out may have been done all the same: look when the store is back.
            self._writes.submit(key, partial(self._read_again, key))
            raise

    async def _read_again(self, key: AccountKey) -> None:
        async with self._lock(key):
            account = await self._store.get_account(key)
            devices = await self._store.devices(key)
            if account is None:
                self._drop_account(key)
                return
            if account != self.account(key):
                self._set_account(account)
            stored = {device.device: device for device in devices}
            for name in {*self._index.devices.get(key, {}), *stored}:
                device = stored.get(name)
                if self._writes.waits(_job((key, name))):
                    continue  # memory is newer
                if device is None:
                    self._drop_device(key, name)
                elif device != self.device(key, name):
                    self._take_stored(device)

    def _take_stored(self, device: Device) -> None:
        """The store has it otherwise; unless its token went elsewhere behind meanwhile."""
        sharing = self._index.sharing_target(device) if device.exclusive else ()
        if any(self._writes.waits(_job((d.account, d.device))) for d in sharing):
            self.delete_device_behind(device.account, device.device)
        else:
            self._take_device(device)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            self.expire()


def _job(place: Place) -> tuple[str, AccountKey, DeviceId]:
    """How a device's write is called among those that wait; a binding's is the place itself."""
    return ("device", *place)


def _with_signs(device: Device, known: Device | None) -> Device:
    """What the app showed while the store was writing is not lost."""
    if known is None or push_target(known) != push_target(device):
        return device
    return replace(
        device,
        token_at=max(device.token_at, known.token_at),
        seen_at=max(device.seen_at, known.seen_at),
        refresh_sent_at=max(device.refresh_sent_at, known.refresh_sent_at),
    )
