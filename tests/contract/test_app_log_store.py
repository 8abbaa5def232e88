"""What every store promises of apps' logs: memory, Valkey and Redis."""

import os

import pytest

from push_proxy.core.ids import DeviceId
from push_proxy.ports import Store
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from push_proxy.store.search import HistoryLimits
from push_proxy.store.secrets import KeyRing

from .conftest import HISTORY, RING, HandClock
from .samples import ALICE, BOB, PHONE, account, app_log, device

DAY_S = 86_400.0


@pytest.fixture
async def phones(store: Store) -> Store:
    """The store with two accounts, each with a phone."""
    for name, key in (("alice", ALICE), ("bob", BOB)):
        await store.put_account(account(name), expected_version=None)
        await store.put_device(device(key, PHONE, f"token-{name}"), expected_version=None)
    return store


async def kept(store: Store) -> list[str]:
    return [each.id for each in await store.app_logs(ALICE, PHONE)]


async def test_a_log_comes_back_whole(phones: Store, clock: HandClock) -> None:
    """Any bytes, of any size; what is known of it beside them; another device has none."""
    content = os.urandom(300_000)
    assert await phones.put_app_log(ALICE, PHONE, app_log(clock.at), content)
    assert await phones.app_logs(ALICE, PHONE) == (app_log(clock.at),)
    assert await phones.app_log(ALICE, PHONE, "log-1") == content
    assert await phones.app_log(ALICE, PHONE, "log-2") is None
    assert await phones.app_logs(BOB, PHONE) == ()
    assert await phones.app_log(BOB, PHONE, "log-1") is None


async def test_logs_are_capped(phones: Store, clock: HandClock) -> None:
    """The oldest go: beyond the number kept, and beyond the time, their contents too."""
    most = HISTORY.app_logs_per_device
    for number in range(most + 1):
        clock.at += 1
        await phones.put_app_log(ALICE, PHONE, app_log(clock.at, f"l{number}", call=None), b"x")
    newest = [f"l{number}" for number in range(most, 0, -1)]
    assert await kept(phones) == newest
    assert await phones.app_log(ALICE, PHONE, "l0") is None
    clock.at += HISTORY.app_logs_keep_s - 0.5
    assert await kept(phones) == newest[:1]
    assert await phones.app_log(ALICE, PHONE, newest[-1]) is None
    await phones.put_app_log(ALICE, PHONE, app_log(clock.at, "new"), b"x")
    assert await kept(phones) == ["new", newest[0]]
    clock.at += 1
    assert await kept(phones) == ["new"]


async def test_logs_go_with_their_device(phones: Store, clock: HandClock) -> None:
    """And with its account; nothing is kept for one that is gone."""
    await phones.put_app_log(ALICE, PHONE, app_log(clock.at), b"x")
    await phones.delete_device(ALICE, PHONE)
    assert not await phones.put_app_log(ALICE, PHONE, app_log(clock.at, "late"), b"x")
    await phones.put_device(device(), expected_version=None)
    assert await kept(phones) == []
    await phones.put_app_log(ALICE, PHONE, app_log(clock.at), b"x")
    await phones.delete_account(ALICE)
    await phones.put_account(account(), expected_version=None)
    await phones.put_device(device(), expected_version=None)
    assert await phones.app_log(ALICE, PHONE, "log-1") is None


async def test_the_server_keeps_nothing_of_what_went(
    valkey: EmbeddedValkey, clock: HandClock
) -> None:
    """No content is left behind without its entry, nor a key without its account."""
    store = RedisStore(valkey.url, ring=RING, clock=clock, history=HISTORY)
    await store.open()
    await store.put_account(account(), expected_version=0)
    for name in (PHONE, DeviceId("tablet")):
        await store.put_device(device(ALICE, name, name), expected_version=0)
        for number in range(HISTORY.app_logs_per_device + 2):
            await store.put_app_log(ALICE, name, app_log(clock.at, f"l{number}"), b"private text")

    async def fields() -> list[str]:
        found = await store._client.call("HKEYS", "pp:{acme/alice}:app-log-data")
        return sorted(each.decode() for each in found)

    expected = [f"l{number}" for number in range(2, HISTORY.app_logs_per_device + 2)]
    both = [*(f"{PHONE}/{log}" for log in expected), *(f"tablet/{log}" for log in expected)]
    assert await fields() == both
    await store.delete_device(ALICE, PHONE)
    assert await fields() == both[len(expected) :]
    values = await store._client.call("HVALS", "pp:{acme/alice}:app-log-data")
    assert not any(b"private" in each for each in values)
    await store.delete_account(ALICE)
    assert await store._client.call("KEYS", "pp:{acme/alice}:*") == []
    await store.aclose()


async def test_logs_outlive_a_new_key(valkey: EmbeddedValkey, clock: HandClock) -> None:
    """After a reseal the old key may go."""
    store = RedisStore(valkey.url, ring=RING, clock=clock)
    await store.open()
    await store.put_account(account(), expected_version=0)
    await store.put_device(device(), expected_version=0)
    await store.put_app_log(ALICE, PHONE, app_log(clock.at), b"private text")
    await store.aclose()
    for ring in (KeyRing({"new": b"n" * 32, "test": b"k" * 32}), KeyRing({"new": b"n" * 32})):
        store = RedisStore(valkey.url, ring=ring, clock=clock)
        await store.open()
        assert await store.app_log(ALICE, PHONE, "log-1") == b"private text"
        await store.reseal()
        await store.aclose()


def test_how_much_is_kept() -> None:
    """Five of a device, for a week."""
    limits = HistoryLimits()
    assert (limits.app_logs_per_device, limits.app_logs_keep_s) == (5, 7 * DAY_S)
