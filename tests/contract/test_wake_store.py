"""What every store promises of wake histories: memory, Valkey and Redis."""

import pytest

from push_proxy.core.ids import CallId
from push_proxy.core.wake_health import KEPT, Standing, WakeEnd
from push_proxy.ports import Store

from .conftest import HandClock
from .samples import ALICE, BOB, PHONE, account, device, wake


@pytest.fixture
async def phones(store: Store) -> Store:
    """The store with two accounts, each with a phone."""
    for name, key in (("alice", ALICE), ("bob", BOB)):
        await store.put_account(account(name), expected_version=None)
        await store.put_device(device(key, PHONE, f"token-{name}"), expected_version=None)
    return store


async def test_wakes_come_back_whole(phones: Store, clock: HandClock) -> None:
    """In every field, newest first, of that device alone."""
    woke = wake(clock.at, "a", standing=Standing.WAKES)
    failed = wake(clock.at + 1, "b", WakeEnd.FAILED, standing=Standing.STOPPED)
    await phones.put_wakes(ALICE, PHONE, [woke, failed], after=None)
    assert await phones.wakes(ALICE, PHONE) == (failed, woke)
    assert await phones.wakes_of_account(ALICE) == {PHONE: (failed, woke)}
    assert await phones.wakes(BOB, PHONE) == ()
    assert await phones.wakes_of_account(BOB) == {}


async def test_the_newest_are_kept(phones: Store, clock: HandClock) -> None:
    """However they come; one call's wake is kept once, whoever puts it again."""
    await phones.put_wakes(ALICE, PHONE, [], after=None)
    await phones.put_wakes(
        ALICE, PHONE, [wake(clock.at, f"c{n}") for n in range(KEPT - 1)], after=None
    )
    for number in range(KEPT - 1, KEPT + 7):
        for _ in range(2):
            await phones.put_wakes(ALICE, PHONE, [wake(clock.at, f"c{number}")], after=None)
    kept = [each.call for each in await phones.wakes(ALICE, PHONE)]
    assert kept == [f"c{number}" for number in range(KEPT + 6, 6, -1)]


async def test_who_else_writes(phones: Store, clock: HandClock) -> None:
    """A write says whether what it was judged upon was the newest there is."""
    assert await phones.put_wakes(ALICE, PHONE, [wake(clock.at, "a")], after=None)
    assert await phones.put_wakes(ALICE, PHONE, [wake(clock.at, "b")], after=CallId("a"))
    assert not await phones.put_wakes(ALICE, PHONE, [wake(clock.at, "c")], after=CallId("a"))
    assert not await phones.put_wakes(ALICE, PHONE, [wake(clock.at, "d")], after=None)
    assert not await phones.put_wakes(BOB, PHONE, [wake(clock.at, "e")], after=CallId("a"))
    assert [each.call for each in await phones.wakes(ALICE, PHONE)] == ["d", "c", "b", "a"]
    assert await phones.put_wakes(ALICE, PHONE, [], after=None)


async def test_wakes_go_with_their_device(phones: Store, clock: HandClock) -> None:
    """Deleted, pushed aside by another device with its token, or with its account.

    A write that comes too late keeps nothing.
    """
    await phones.put_wakes(ALICE, PHONE, [wake(clock.at)], after=None)
    await phones.delete_device(ALICE, PHONE)
    await phones.put_wakes(ALICE, PHONE, [wake(clock.at, "late")], after=None)
    await phones.put_device(device(ALICE, PHONE, "token-alice"), expected_version=None)
    assert await phones.wakes(ALICE, PHONE) == ()
    await phones.put_wakes(ALICE, PHONE, [wake(clock.at)], after=None)
    await phones.put_device(device(BOB, PHONE, "token-alice"), expected_version=None)
    await phones.put_device(device(ALICE, PHONE, "token-other"), expected_version=None)
    assert await phones.wakes(ALICE, PHONE) == ()
    await phones.put_wakes(ALICE, PHONE, [wake(clock.at)], after=None)
    await phones.delete_account(ALICE)
    await phones.put_account(account(), expected_version=None)
    await phones.put_device(device(ALICE, PHONE, "token-other"), expected_version=None)
    assert await phones.wakes(ALICE, PHONE) == ()


async def test_who_stopped_waking(phones: Store, clock: HandClock) -> None:
    """By the newest wake, in any account, until it wakes again or is gone."""
    stopped = wake(clock.at, "a", WakeEnd.FAILED, standing=Standing.STOPPED)
    for key in (ALICE, BOB):
        await phones.put_wakes(key, PHONE, [stopped], after=None)
    assert sorted(await phones.not_waking()) == [(ALICE, PHONE), (BOB, PHONE)]
    await phones.put_wakes(ALICE, PHONE, [wake(clock.at, "b", standing=Standing.WAKES)], after=None)
    assert await phones.not_waking() == ((BOB, PHONE),)
    await phones.delete_device(BOB, PHONE)
    assert await phones.not_waking() == ()
    await phones.put_wakes(
        ALICE, PHONE, [wake(clock.at, "c", standing=Standing.STOPPED)], after=None
    )
    await phones.delete_account(ALICE)
    assert await phones.not_waking() == ()
