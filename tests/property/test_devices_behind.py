"""However changes through, changes behind and an unreliable store cross: they end up equal."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountId, AccountKey, DeviceId, Instant, TenantId
from push_proxy.core.model import Account, Device
from push_proxy.errors import PreconditionFailed, StoreUnavailable
from push_proxy.runtime.directory import Directory
from push_proxy.store.memory import MemoryStore
from push_proxy.tasks import spawn

ACCOUNTS = [AccountKey("t/a"), AccountKey("t/b")]
DEVICES = [DeviceId("one"), DeviceId("two")]
TOKENS = ["t1", "t2", "t3", ""]


class Clock:
    at = 1_000_000.0

    def now(self) -> Instant:
        self.at += 0.001
        return Instant(self.at)


class Weather(MemoryStore):
    """Slow, and at times away: before a write or, worse, after it."""

    chance = random.Random()
    bad = True

    async def _passes(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    def _fails(self) -> bool:
        return self.bad and self.chance.random() < 0.15

    async def put_device(
        self, device: Device, *, expected_version: int | None
    ) -> Sequence[tuple[AccountKey, DeviceId]]:
        await self._passes()
        if self._fails():
            raise StoreUnavailable("before")
        moved = await super().put_device(device, expected_version=expected_version)
        await self._passes()
        if self._fails():
            raise StoreUnavailable("after")
        return moved

    async def delete_device(self, key: AccountKey, device: DeviceId) -> bool:
        await asyncio.sleep(0)
        if self._fails():
            raise StoreUnavailable("before")
        there = await super().delete_device(key, device)
        if self._fails():
            raise StoreUnavailable("after")
        return there


async def change(directory: Directory, chance: random.Random) -> None:
    """One thing that an app, an operator or a provider does."""
    key, name = chance.choice(ACCOUNTS), chance.choice(DEVICES)
    known = directory.device(key, name)
    device = known or Device(
        account=key, device=name, provider="webhook", app_id="x", token="", created_at=1.0
    )
    device = replace(device, token=chance.choice(TOKENS), exclusive=chance.random() < 0.8)
    match chance.randrange(5):
        case 0 | 1:
            version = known.version if known else 0
            device = replace(device, version=version + 1)
            try:
                await directory.put_device(device, expected_version=version)
            except (PreconditionFailed, StoreUnavailable):
                return
        case 2:
            directory.put_device_behind(device)
        case 3:
            directory.touch_device(key, name, token=True)
        case _:
            try:
                await directory.delete_device(key, name)
            except StoreUnavailable:
                return


@pytest.mark.parametrize("seed", range(100))
async def test_memory_and_store_end_up_equal(seed: int) -> None:
    """And in memory no exclusive token is ever with two devices."""
    chance, clock = random.Random(seed), Clock()
    store = Weather(clock)
    store.chance = random.Random(seed + 1)
    directory = Directory(store, clock, max_devices=chance.choice([None, 1]))
    directory._writes._retry_s = directory._writes._retry_max_s = 0.001
    await directory.load()
    for key in ACCOUNTS:
        _, _, name = key.partition("/")
        await directory.put_account(
            Account(tenant=TenantId("t"), account=AccountId(name), aor=f"sip:{name}@pbx")
        )
    tasks = []
    for _ in range(30):
        tasks.append(spawn(change(directory, chance), name="change"))
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        devices = [device for key in ACCOUNTS for device in directory.devices(key)]
        for owner in devices:
            sharing = [d for d in devices if d.token == owner.token != ""]
            assert sum(d.exclusive for d in sharing[1:]) == 0 or not sharing[0].exclusive
    await asyncio.gather(*tasks)
    store.bad = False
    assert await directory._writes.drained(5)
    for key in ACCOUNTS:
        memory = sorted(directory.devices(key), key=lambda device: device.device)
        assert list(await store.devices(key)) == memory, f"seed {seed}"
    await directory.aclose()
