"""Who is known: accounts, devices and bindings in memory, in step with the store.

Reads never touch the store, so a call finds its devices even while Redis is away. What an
operator or app asks by HTTP is written through: the caller learns of a failure. What follows
from SIP and from providers is written behind: bindings, devices' signs of life, dead tokens,
and devices that other ones push aside. While such a write waits, memory is right.
"""

import asyncio
import math
from dataclasses import replace
from functools import partial
from heapq import heappop, heappush

from ..cluster_ports import FeedKind
from ..core.ids import AccountKey, DeviceId, Instant
from ..core.model import Account, Address, Binding
from ..ports import Clock, Store
from ..tasks import spawn
from .changes import BindingChanged
from .connections import Connections
from .following import Following
from .index import Index, Place
from .kept_devices import job_of
from .nodes import News, Nodes


class Directory(Following):
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
        nodes: Nodes | None = None,
        news: News | None = None,
    ) -> None:
        """``max_devices`` of one account; None: as many as come. A reload may change it.

        ``nodes``: who else there is; ``news`` tells them what is written here.
        """
        super().__init__(store, clock, max_devices=max_devices, nodes=nodes, news=news)
        self._sweep_s = sweep_s
        self._expiries: list[tuple[Instant, AccountKey, DeviceId]] = []
        self._awaited: dict[Place, Instant] = {}
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

    # accounts: the store first, then memory

    async def put_account(self, account: Account, *, expected_version: int | None = None) -> None:
        """Create or replace; raises as `ports.Store.put_account`, then nothing has changed here."""
        async with self._lock(account.key):
            await self._settle_doubt(account.key)
            await self._through(
                account.key, self._store.put_account(account, expected_version=expected_version)
            )
            await self._announced(FeedKind.ACCOUNT, account.key)
            self._set_account(account)

    async def delete_account(self, key: AccountKey) -> bool:
        """Erase it with all that hangs on it; False when it was not there."""
        async with self._lock(key):
            there = await self._through(key, self._store.delete_account(key))
            await self._announced(FeedKind.ACCOUNT, key)
            self._drop_account(key)
            return there

    # bindings: memory first, the store behind

    def put_binding(self, binding: Binding) -> Binding:
        """Take a binding now, with its flow, which is ours; it is stored as soon as that goes.

        Returns it as it is kept.
        """
        if self.nodes.name:
            binding = replace(binding, node=self.nodes.name)
        self._connections.bound(binding)
        old = self._index.set_binding(binding)
        self._await_expiry(binding)
        self._submit_binding(binding)
        self.touch_device(binding.account, binding.device)
        self._tell(BindingChanged(old, binding))
        return binding

    def delete_binding(self, key: AccountKey, device: DeviceId) -> Binding | None:
        """Forget a binding now; returns what it was."""
        return self._forget_binding(key, device)

    def _forget_binding(
        self, key: AccountKey, device: DeviceId, *, remote: bool = False
    ) -> Binding | None:
        old = self._index.drop_binding(key, device)
        self._connections.unbound((key, device))
        if old is not None:
            if not remote:
                self._rebound((key, device))
                self._writes.submit((key, device), partial(self._write_no_binding, old))
            self._tell(BindingChanged(old, None, remote=remote))
        return old

    def flow_lost(self, remote: Address) -> None:
        """A connection has ended: bindings on it stay, but are asleep until they come again."""
        places = self._index.by_flow.get(remote, ())
        self._connections.lost(remote, places, self._clock.now())

    def heard(self, route_key: str, source: Address, now: Instant) -> None:
        """SIP came from the device: a sign of life, if on the flow that we would send to."""
        binding = self.by_route_key(route_key)
        if binding and binding.source == source and binding.heard_at < now:
            if self.nodes.is_me(binding.node):
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
                # Another node's goes from the store by that node, which may know a newer one.
                self._forget_binding(key, device, remote=not self.nodes.is_me(binding.node))

    def _await_expiry(self, binding: Binding) -> None:
        """Look at it when its time is over, or sooner if that has been noted for its place.

        A note per refresh would stay for an hour each: phones may refresh every few seconds.
        """
        at, place = binding.expires_at, (binding.account, binding.device)
        if at < self._awaited.get(place, math.inf):
            self._awaited[place] = at
            heappush(self._expiries, (at, *place))

    # how it is done

    async def _look(self, key: AccountKey) -> None:
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
            if self._writes.waits(job_of((key, name))):
                continue  # memory is newer
            if device is None:
                self._drop_device(key, name)
            elif device != self.device(key, name):
                self._take_stored(device)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            self.expire()
