"""What a node gives back to a store that has lost what it held, and what it never believes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from push_proxy.errors import StoreUnavailable
from push_proxy.recovery_ports import StoreEmptied
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.store_recovery import StoreRecovery
from push_proxy.store.redis import RedisStore

from .conftest import RING, HandClock, debian_redis
from .samples import ALICE, BOB, account, binding, device


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    with debian_redis(folder) as url:
        yield url


async def opened(url: str, clock: HandClock) -> RedisStore:
    store = RedisStore(url, ring=RING, clock=clock)
    await store.open()
    return store


@pytest.fixture
async def store(url: str, clock: HandClock) -> AsyncIterator[RedisStore]:
    store = await opened(url, clock)
    yield store
    await store.aclose()


@pytest.fixture
async def directory(store: RedisStore, clock: HandClock) -> AsyncIterator[Directory]:
    """Two accounts, one with device and binding."""
    directory = Directory(store, clock)
    await directory.load()
    for name in ("alice", "bob"):
        await directory.put_account(replace(account(name), updated_at=clock.at))
    await directory.put_device(replace(device(token="token"), updated_at=clock.at))
    directory.put_binding(replace(binding(clock.at), heard_at=clock.now()))
    assert await directory._writes.drained(5)
    yield directory
    await directory.aclose()


async def emptied(url: str) -> None:
    """As if it had been started without its data."""
    async with Redis.from_url(url) as raw:
        await raw.flushall()


async def test_everything_is_given_back(
    url: str, store: RedisStore, directory: Directory, clock: HandClock
) -> None:
    """Emptied: the ping says so, whoever reads is refused, and what is in memory is put back, with
    versions and secrets; then another node reads the same.
    """
    secret = await store.secret("route-token", size=32)
    recovery = StoreRecovery(store, directory, clock)
    await store.ping()
    await recovery.look()
    await emptied(url)
    for refused in (store.ping(), store.get_account(ALICE), store.account_states([ALICE])):
        with pytest.raises(StoreEmptied):
            await refused
    await recovery.emptied()
    await store.ping()
    other = await opened(url, clock)
    mine = Directory(other, clock)
    await mine.load()
    everybody = (ALICE, BOB)
    assert [mine.account(key) for key in everybody] == [directory.account(key) for key in everybody]
    assert mine.devices(ALICE) == directory.devices(ALICE)
    assert mine.bindings(ALICE) == directory.bindings(ALICE)
    assert mine.by_aor(account().aor) is not None
    assert await other.secret("route-token", size=32) == secret
    await mine.aclose()
    await other.aclose()


async def test_a_new_node_was_first(
    url: str, store: RedisStore, directory: Directory, clock: HandClock
) -> None:
    """A node that starts on the emptied store gives it a name of its own: those that knew what it
    held still notice, and theirs counts, for it is the older one.
    """
    await emptied(url)
    clock.at += 5
    newcomer = await opened(url, clock)
    await newcomer.ping()
    with pytest.raises(StoreEmptied):
        await store.ping()
    await StoreRecovery(store, directory, clock).emptied()
    await store.ping()
    await newcomer.ping()
    assert await newcomer.get_account(ALICE) == directory.account(ALICE)
    await newcomer.aclose()


async def test_the_last_moments_are_written_again(
    store: RedisStore, directory: Directory, clock: HandClock
) -> None:
    """Another server process lacks what was written last: that is given again; what is missing and
    older was deleted by another node, and stays so; what is newer there stays as well.
    """
    recovery = StoreRecovery(store, directory, clock)
    store.lives = {"master": "one"}
    await recovery.look()
    clock.at += 600
    newer = replace(account("bob"), version=2, updated_at=clock.at)
    await directory.put_account(newer)
    await store.put_account(replace(account("bob"), version=1), expected_version=None)
    await store.delete_account(ALICE)
    store.lives = {"master": "two"}
    await recovery.look()
    assert await store.get_account(BOB) == newer
    assert await store.get_account(ALICE) is None
    newest = replace(newer, version=5)
    await store.put_account(newest, expected_version=None)
    store.lives = {"master": "three"}
    await recovery.look()
    assert await store.get_account(BOB) == newest


async def test_a_change_in_doubt_meets_an_empty_store(
    url: str, store: RedisStore, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a change was done is looked up when the store is back; one that is empty is not
    believed, so the account stays in memory.
    """

    async def in_doubt(*_: object, **__: object) -> None:
        await emptied(url)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_account", in_doubt)
        with pytest.raises(StoreUnavailable):
            await directory.put_account(replace(account(), version=2))
    assert not await directory._writes.drained(1)
    assert directory.account(ALICE) is not None
