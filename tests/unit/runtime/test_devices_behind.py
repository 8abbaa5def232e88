"""Devices that change behind the store: memory at once, the store as soon as it can."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountKey, DeviceId
from push_proxy.core.model import Device
from push_proxy.errors import PreconditionFailed, StoreUnavailable
from push_proxy.runtime.changes import Change, DeviceChanged, DeviceEvicted, DeviceMoved
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.kept_devices import SEEN_S
from push_proxy.store.memory import MemoryStore
from push_proxy.tasks import spawn

from .test_directory import ALICE, PHONE, HandClock, account, binding, device

BOB = AccountKey("acme/bob")


class Store(MemoryStore):
    """A memory store that can be cut off from devices, and made to wait."""

    away = False
    puts = 0

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def put_device(
        self, device: Device, *, expected_version: int | None
    ) -> tuple[tuple[AccountKey, DeviceId], ...]:
        if not self.gate.is_set():
            self.entered.set()
        await self.gate.wait()
        if self.away:
            raise StoreUnavailable("cut off")
        self.puts += 1
        return tuple(await super().put_device(device, expected_version=expected_version))

    async def delete_device(self, key: AccountKey, device: DeviceId) -> bool:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().delete_device(key, device)

    async def devices(self, key: AccountKey) -> tuple[Device, ...]:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().devices(key)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> Store:
    return Store(clock)


@pytest.fixture
async def directory(store: Store, clock: HandClock) -> AsyncIterator[Directory]:
    made = Directory(store, clock)
    made._writes._retry_s = 0.01
    await made.load()
    await made.put_account(account())
    await made.put_account(account("bob"))
    yield made
    store.away = False
    store.gate.set()
    await made.aclose()


async def written(directory: Directory) -> None:
    assert await directory._writes.drained(5)


async def restarted(store: Store, clock: HandClock) -> Directory:
    """What the next process finds."""
    again = Directory(store, clock)
    await again.load()
    again._sweeper.cancel()  # type: ignore[union-attr]
    return again


def known(directory: Directory, key: AccountKey = ALICE, name: str = "phone") -> Device:
    found = directory.device(key, DeviceId(name))
    assert found is not None
    return found


async def test_a_change_behind_is_there_at_once_and_after_a_restart(
    directory: Directory, store: Store, clock: HandClock
) -> None:
    """Also while the store is away; version and times are set, and listeners hear of it."""
    await directory.put_device(device())
    heard: list[Change] = []
    directory.subscribe(heard.append)
    store.away = True
    clock.at += 10
    directory.put_device_behind(replace(known(directory), token="t2"))
    changed = known(directory)
    assert (changed.token, changed.version, changed.updated_at) == ("t2", 2, clock.at)
    assert heard == [DeviceChanged(ALICE, device(), changed)]
    await asyncio.sleep(0.05)
    store.away = False
    await written(directory)
    assert (await restarted(store, clock)).device(ALICE, PHONE) == changed


async def test_signs_of_life_are_stored_seldom_and_change_nothing(
    directory: Directory, store: Store, clock: HandClock
) -> None:
    """Once an hour for SIP, always for a token that was named; no version, no listener."""
    await directory.put_device(device())
    heard: list[Change] = []
    directory.subscribe(heard.append)
    start, before = clock.at, store.puts
    for _ in range(3):
        directory.touch_device(ALICE, PHONE)
        await written(directory)
        clock.at += SEEN_S / 3
    assert store.puts == before + 1
    assert known(directory).seen_at == start
    directory.touch_device(ALICE, PHONE)
    directory.touch_device(ALICE, PHONE, token=True)
    await written(directory)
    assert (known(directory).seen_at, known(directory).token_at) == (clock.at, clock.at)
    clock.at += 1
    directory.touch_device(ALICE, PHONE, token=True)
    await written(directory)
    assert known(await restarted(store, clock)).token_at == clock.at
    assert known(directory).version == 1
    assert heard == []
    directory.touch_device(ALICE, DeviceId("nobody"))
    assert directory.device(ALICE, DeviceId("nobody")) is None


async def test_sip_is_a_sign_of_life(directory: Directory, clock: HandClock) -> None:
    """A REGISTER, and later whatever comes on its flow."""
    await directory.put_device(device())
    bound = binding(clock, expires_s=7200)
    directory.put_binding(bound)
    assert known(directory).seen_at == clock.at
    clock.at += SEEN_S
    directory.heard(bound.route_key, bound.source, clock.now())
    assert known(directory).seen_at == clock.at


async def test_an_exclusive_token_moves_in_memory_at_once(
    directory: Directory, store: Store, clock: HandClock
) -> None:
    """With the store away: the former owner and its binding are gone, here and after a restart."""
    await directory.put_device(device())
    directory.put_binding(binding(clock))
    await written(directory)
    heard: list[Change] = []
    directory.subscribe(heard.append)
    store.away = True
    displaced = directory.put_device_behind(device(BOB))
    assert displaced.moved == ((ALICE, PHONE),)
    assert directory.devices(ALICE) == directory.bindings(ALICE) == ()
    moved = [change for change in heard if isinstance(change, DeviceMoved)]
    assert [(change.old.account, change.to.account) for change in moved] == [(ALICE, BOB)]
    store.away = False
    await written(directory)
    again = await restarted(store, clock)
    assert (again.devices(ALICE), len(again.devices(BOB))) == ((), 1)


async def test_a_token_that_moves_to_and_fro_stays_where_it_went_last(
    directory: Directory, store: Store, clock: HandClock
) -> None:
    """Behind to Bob while a PUT brings it back: the store ends with what memory has."""
    await directory.put_device(device())
    store.gate.clear()
    directory.put_device_behind(device(BOB))
    back = spawn(directory.put_device(device(), expected_version=0), name="put")
    await store.entered.wait()
    store.gate.set()
    await back
    await written(directory)
    assert directory.devices(BOB) == ()
    again = await restarted(store, clock)
    assert (len(again.devices(ALICE)), again.devices(BOB)) == (1, ())


async def test_a_change_behind_during_a_put_wins(
    directory: Directory, store: Store, clock: HandClock
) -> None:
    """The PUT was decided upon what is no more: 412, and the store gets what memory has."""
    await directory.put_device(device())
    store.gate.clear()
    new = replace(device(), platform="ios", version=2)
    put = spawn(directory.put_device(new, expected_version=1), name="put")
    await store.entered.wait()
    directory.put_device_behind(replace(known(directory), token=""))
    store.gate.set()
    with pytest.raises(PreconditionFailed):
        await put
    await written(directory)
    assert known(directory).platform is None
    assert (await restarted(store, clock)).devices(ALICE) == directory.devices(ALICE)


async def test_a_put_waits_for_what_is_to_be_written_before_it(
    directory: Directory, store: Store
) -> None:
    """With the store away it fails, and nothing that was changed behind is lost or undone."""
    await directory.put_device(device())
    store.away = True
    directory.put_device_behind(replace(known(directory), token=""))
    new = replace(known(directory), token="t2", version=3)
    with pytest.raises(StoreUnavailable):
        await directory.put_device(new, expected_version=2)
    assert known(directory).token == ""
    store.away = False
    await written(directory)
    assert known(directory).token == ""
    await directory.put_device(new, expected_version=2)
    stored = await store.get_device(ALICE, PHONE)
    assert stored == known(directory) == new


async def test_devices_without_token_have_nothing_in_common(directory: Directory) -> None:
    """Two dead tokens of one app are no shared token: neither device pushes the other aside."""
    await directory.put_device(device(token="t1"))
    await directory.put_device(device(BOB, token="t2"))
    for key in (ALICE, BOB):
        directory.put_device_behind(replace(known(directory, key), token=""))
    await written(directory)
    assert directory.devices(ALICE) != ()
    assert directory.devices(BOB) != ()
    await directory.put_device(replace(device(BOB, "tablet"), token=""))
    assert len(directory.devices(BOB)) == 2


async def test_a_new_device_too_many_pushes_one_aside(
    directory: Directory, store: Store, clock: HandClock
) -> None:
    """By PUT and by REGISTER alike; those told are the directory's listeners."""
    directory.max_devices = 2
    heard: list[Change] = []
    directory.subscribe(heard.append)
    for name in ("a", "b"):
        clock.at += 1
        directory.put_device_behind(device(name=name, token=name))
    put = await directory.put_device(replace(device(name="c", token="c"), seen_at=clock.at))
    assert put.evicted == ("a",)
    clock.at += 1
    assert directory.put_device_behind(device(name="d", token="d")).evicted == ("b",)
    evicted = [change for change in heard if isinstance(change, DeviceEvicted)]
    assert [(change.old.device, change.by.device) for change in evicted] == [("a", "c"), ("b", "d")]
    await written(directory)
    assert [d.device for d in (await restarted(store, clock)).devices(ALICE)] == ["c", "d"]


async def test_a_device_made_behind_can_be_deleted(directory: Directory, store: Store) -> None:
    """Although the store has not heard of it yet; nor does it later."""
    store.gate.clear()
    directory.put_device_behind(device())
    await store.entered.wait()
    deleting = spawn(directory.delete_device(ALICE, PHONE), name="delete")
    store.gate.set()
    assert await deleting
    await written(directory)
    assert await store.devices(ALICE) == directory.devices(ALICE) == ()
