"""What other nodes wrote: read from the store where they say so, and told here as remote.

What is read may be older than what this node changed meanwhile. Every change of ours leaves its
time, at its beginning and at its end: a read that began before that is not taken, but done again.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from ..cluster_ports import FeedEntry, FeedKind
from ..core.ids import AccountKey, Instant
from ..core.model import Account, Binding, Device
from ..ports import AccountState, Clock, Store
from ..tasks import spawn
from .changes import AccountChanged, BindingChanged, DeviceChanged
from .index import Place
from .kept_devices import KeptDevices, job_of, with_signs
from .nodes import News, Nodes

_log = structlog.get_logger(__name__)
_CHUNK = 200
_ATTEMPTS = 5
_FORGET_S = 60.0
_MOST_TIMES = 10_000
_LONG_AGO = Instant(0.0)
_T = TypeVar("_T")


class Following(KeptDevices):
    """The part of `directory.Directory` that keeps up with other nodes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        max_devices: int | None,
        nodes: Nodes | None = None,
        news: News | None = None,
    ) -> None:
        super().__init__(store, clock, max_devices=max_devices, nodes=nodes, news=news)
        self._touched_at: dict[AccountKey, Instant] = {}
        """When this node last changed an account or device of it; empty when it is alone."""
        self._bound_at: dict[Place, Instant] = {}
        """The same of bindings."""

    async def follow(self, entries: Iterable[FeedEntry]) -> None:
        """Read anew what these name. Raises `errors.StoreUnavailable`; it may be called again."""
        whole = {e.account for e in entries if e.kind in {FeedKind.ACCOUNT, FeedKind.DEVICE}}
        places = {
            (e.account, e.device)
            for e in entries
            if e.kind is FeedKind.BINDING and e.account not in whole
        }
        for keys in _chunks(whole):
            await self._follow_accounts(keys)
        await self._follow_places(places)

    async def look_for(self, keys: Iterable[AccountKey]) -> None:
        """Read the bindings of these accounts anew. Raises `errors.StoreUnavailable`."""
        await self._follow_places(
            {
                (key, name)
                for key in keys
                for name in (*self._index.devices.get(key, {}), *self._index.bindings.get(key, {}))
            }
        )

    async def reload(self) -> None:
        """Read everything anew, and take the differences. Raises `errors.StoreUnavailable`."""
        began, seen = self._clock.now(), set[AccountKey]()
        async for state in self._store.everything():
            key = state.account.key
            seen.add(key)
            self._write_again(state)
            if not await self._taken(key, state, began):
                await self._follow_one(key)
        missing = [key for key in self._index.accounts if key not in seen]
        if missing and not seen:
            _log.error(
                "the store is empty, and we know accounts: was it emptied, or started without its "
                "data? What is in memory goes on to count until a restart",
                accounts=len(missing),
            )
            return
        for key in missing:
            await self._follow_one(key)

    def _touched(self, key: AccountKey) -> None:
        if self.nodes.name:
            _note(self._touched_at, key, self._clock.now())

    def _rebound(self, place: Place) -> None:
        if self.nodes.name:
            _note(self._bound_at, place, self._clock.now())

    # accounts with all that hangs on them

    async def _follow_accounts(self, keys: Sequence[AccountKey]) -> None:
        began = self._clock.now()
        for key, state in (await self._store.account_states(keys)).items():
            if self._lock(key).locked() or not await self._taken(key, state, began):
                await self._follow_one(key)

    async def _follow_one(self, key: AccountKey) -> None:
        """With nobody else writing the account through meanwhile."""
        for _ in range(_ATTEMPTS):
            async with self._lock(key):
                began = self._clock.now()
                for state in (await self._store.account_states([key])).values():
                    if await self._taken(key, state, began):
                        return
        _log.warning("an account changes too fast to be followed", account=key)

    async def _taken(self, key: AccountKey, state: AccountState | None, began: Instant) -> bool:
        """False: what was read is too old by now."""
        if self._touched_at.get(key, _LONG_AGO) >= began or self._writes.waits(key):
            return False
        if state is None:
            self._drop_account(key, remote=True)
            return True
        if state.account != self.account(key):
            self._set_account(state.account, remote=True)
        devices = {device.device: device for device in state.devices}
        for name in {*self._index.devices.get(key, {}), *devices}:
            if not self._writes.waits(job_of((key, name))):  # else memory is newer
                self._follow_device((key, name), devices.get(name))
        bindings = {binding.device: binding for binding in state.bindings}
        again: set[Place] = set()
        for name in {*self._index.bindings.get(key, {}), *bindings}:
            if not self._follow_binding((key, name), bindings.get(name), began):
                again.add((key, name))
        await self._follow_places(again)
        return True

    def _set_account(self, account: Account, *, remote: bool = False) -> None:
        old = self._index.set_account(account)
        self._tell(AccountChanged(old, account, remote=remote))

    def _drop_account(self, key: AccountKey, *, remote: bool = False) -> None:
        for name in (*self._index.devices.get(key, {}), *self._index.bindings.get(key, {})):
            self._drop_device(key, name, remote=remote)
        if (old := self._index.drop_account(key)) is not None:
            self._tell(AccountChanged(old, None, remote=remote))

    def _follow_device(self, place: Place, stored: Device | None) -> None:
        known = self.device(*place)
        if stored is None:
            if known is not None:
                self._drop_device(*place, remote=True)
            return
        stored = with_signs(stored, known)
        if stored == known:
            return
        self._index.set_device(stored)
        if known is None or _without_signs(known) != _without_signs(stored):
            self._tell(DeviceChanged(stored.account, known, stored, remote=True))

    # bindings

    async def _follow_places(self, places: Collection[Place]) -> None:
        for _ in range(_ATTEMPTS):
            again: set[Place] = set()
            for chunk in _chunks(places):
                began = self._clock.now()
                for place, stored in (await self._store.place_bindings(chunk)).items():
                    if not self._follow_binding(place, stored, began):
                        again.add(place)
            if not again:
                return
            places = again

    def _follow_binding(self, place: Place, stored: Binding | None, began: Instant) -> bool:
        """False: what was read is too old by now."""
        if self._writes.waits(place):
            return True  # memory is newer, and is told when it has been written
        if self._bound_at.get(place, _LONG_AGO) >= began:
            return False
        known = self._index.bindings.get(place[0], {}).get(place[1])
        if stored is None:
            if known is not None:
                self._forget_binding(*place, remote=True)
            return True
        ours = self.nodes.is_me(stored.node)
        if stored == known or (ours and known is not None and self.nodes.is_me(known.node)):
            return True  # of our own bindings memory knows when they were heard
        self._index.set_binding(stored)
        self._connections.unbound(place)
        self._await_expiry(stored)
        self._tell(BindingChanged(known, stored, remote=True))
        return True

    def _write_again(self, state: AccountState) -> None:
        """A store that lost what it had taken gets our phones' bindings back."""
        stored = {binding.device for binding in state.bindings}
        devices = {device.device for device in state.devices}
        for name, binding in self._index.bindings.get(state.account.key, {}).items():
            if name in devices and name not in stored and binding.node == self.nodes.name:
                self._submit_binding(binding)

    def _submit_binding(self, binding: Binding) -> None:
        place = (binding.account, binding.device)
        self._rebound(place)
        self._writes.submit(place, lambda: self._write_binding(binding))

    async def _write_binding(self, binding: Binding) -> None:
        place = (binding.account, binding.device)
        kept = await self._store.put_binding(binding)
        self._rebound(place)
        self._news.tell(FeedKind.BINDING, *place)
        if not kept:
            # The phone went to another node while this waited for the store.
            spawn(self._read_place(place), name=f"binding of {place[1]}")

    async def _write_no_binding(self, old: Binding) -> None:
        place = (old.account, old.device)
        await self._store.delete_binding(*place, node=old.node)
        self._rebound(place)
        self._news.tell(FeedKind.BINDING, *place)

    async def _read_place(self, place: Place) -> None:
        await asyncio.sleep(0)  # the write that led to this is done by then
        await self._follow_places([place])

    @abstractmethod
    def _await_expiry(self, binding: Binding) -> None:
        """Look at it when its time is over."""


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    found = list(items)
    for start in range(0, len(found), _CHUNK):
        yield found[start : start + _CHUNK]


def _without_signs(device: Device) -> Device:
    return replace(device, seen_at=0.0, token_at=0.0, refresh_sent_at=0.0)


def _note(times: dict[_T, Instant], what: _T, now: Instant) -> None:
    """The newest stand last: what is old enough to be forgotten stands first."""
    times.pop(what, None)
    times[what] = now
    while len(times) > _MOST_TIMES and now - next(iter(times.values())) > _FORGET_S:
        del times[next(iter(times))]
