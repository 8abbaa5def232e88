"""What every store promises of missed calls: memory, Valkey and Redis."""

from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountKey, CallId
from push_proxy.errors import InvalidInput
from push_proxy.ports import Store
from push_proxy.store.search import HistoryLimits

from .conftest import HISTORY, HandClock
from .samples import ALICE, BOB, PHONE, account, missed

DAY_S = 86_400.0


async def with_missed(store: Store, clock: HandClock, *names: str) -> None:
    """Accounts, and calls of the first one missed a second apart."""
    for name in ("alice", "bob"):
        await store.put_account(account(name), expected_version=None)
    for name in names:
        clock.at += 1
        await store.put_missed_call(missed(clock.at, name))


async def kept(store: Store, key: AccountKey = ALICE, *, limit: int = 2) -> list[str]:
    """All pages."""
    names: list[str] = []
    cursor = None
    while True:
        page = await store.missed_calls(key, limit=limit, cursor=cursor)
        names += [each.call for each in page.calls]
        if (cursor := page.next_cursor) is None:
            assert await store.count_missed_calls(key) == len(names)
            return names


async def test_missed_calls_come_back_whole(store: Store, clock: HandClock) -> None:
    """As written, in every field; written again it is replaced."""
    await with_missed(store, clock, "a")
    page = await store.missed_calls(ALICE, limit=10, cursor=None)
    assert (page.calls, page.next_cursor) == ((missed(clock.at, "a"),), None)
    told = missed(clock.at, "a").without(PHONE)
    assert told.owed == ("tablet",)
    await store.put_missed_call(told)
    assert (await store.missed_calls(ALICE, limit=10, cursor=None)).calls == (told,)
    assert await kept(store, BOB) == []


async def test_newest_first_in_pages(store: Store, clock: HandClock) -> None:
    """One that came meanwhile shifts nothing; a foreign cursor is refused."""
    await with_missed(store, clock, "a", "b", "c")
    assert await kept(store) == ["c", "b", "a"]
    first = await store.missed_calls(ALICE, limit=2, cursor=None)
    await with_missed(store, clock, "d")
    second = await store.missed_calls(ALICE, limit=2, cursor=first.next_cursor)
    assert ([each.call for each in second.calls], second.next_cursor) == (["a"], None)
    with pytest.raises(InvalidInput):
        await store.missed_calls(ALICE, limit=2, cursor="x")


async def test_those_seen_go(store: Store, clock: HandClock) -> None:
    """Those named, of this account alone; once more is no fault and finds nothing."""
    await with_missed(store, clock, "a", "b", "c")
    await store.put_missed_call(missed(clock.at, "a", BOB))
    assert await store.see_missed_calls(ALICE, [CallId("a"), CallId("c")]) == ("a", "c")
    assert await kept(store) == ["b"]
    assert await kept(store, BOB) == ["a"]
    assert await store.see_missed_calls(ALICE, [CallId("a"), CallId("c")]) == ()
    assert await store.see_missed_calls(ALICE, []) == ()


async def test_all_up_to_one_are_seen(store: Store, clock: HandClock) -> None:
    """That one and the older ones: not what was missed after it, however often it is said."""
    await with_missed(store, clock, "a", "b", "c")
    seen = await store.see_missed_calls(ALICE, [], up_to=CallId("b"))
    assert sorted(seen) == ["a", "b"]
    assert await kept(store) == ["c"]
    await with_missed(store, clock, "d")
    assert await store.see_missed_calls(ALICE, [], up_to=CallId("b")) == ()
    assert await kept(store) == ["d", "c"]
    assert await store.see_missed_calls(ALICE, [], up_to=CallId("nobody-knows")) == ()
    assert await kept(store) == ["d", "c"]


async def test_all_up_to_one_that_was_seen_already(store: Store, clock: HandClock) -> None:
    """By name, on another device: it still says where to end."""
    await with_missed(store, clock, "a", "b", "c")
    await store.see_missed_calls(ALICE, [CallId("b")])
    assert await store.see_missed_calls(ALICE, [], up_to=CallId("b")) == ("a",)
    assert await kept(store) == ["c"]


async def test_one_seen_does_not_come_back(store: Store, clock: HandClock) -> None:
    """Not by a write that was late, nor when it was seen before it was written at all."""
    await with_missed(store, clock, "a")
    await store.see_missed_calls(ALICE, [CallId("a"), CallId("late")])
    for name in ("a", "late"):
        await store.put_missed_call(missed(clock.at, name))
    assert await kept(store) == []


async def test_missed_calls_are_capped(store: Store, clock: HandClock) -> None:
    """The oldest go: beyond the number kept, and beyond the time."""
    most = HISTORY.missed_per_account
    await with_missed(store, clock, *(f"c{number}" for number in range(most + 2)))
    newest = [f"c{number}" for number in range(most + 1, 1, -1)]
    assert await kept(store) == newest
    clock.at += HISTORY.missed_keep_s - most + 2.5
    assert await kept(store) == newest[:-2]
    await with_missed(store, clock, "new")
    assert await kept(store) == ["new", *newest[:-3]]


async def test_what_was_seen_is_remembered_within_limits(store: Store, clock: HandClock) -> None:
    """Whoever says that he has seen thousands does not fill the store with them."""
    await with_missed(store, clock)
    most = HISTORY.missed_per_account
    await store.see_missed_calls(ALICE, [CallId(f"x{number:03}") for number in range(most * 3)])
    for number in range(most * 3):
        await store.put_missed_call(replace(missed(clock.at), call=CallId(f"x{number:03}")))
    assert await store.count_missed_calls(ALICE) == most


async def test_missed_calls_go_with_their_account(store: Store, clock: HandClock) -> None:
    """Erased with it, also what was seen; a write that comes after it keeps nothing."""
    await with_missed(store, clock, "a", "b")
    await store.see_missed_calls(ALICE, [CallId("a")])
    await store.delete_account(ALICE)
    await store.put_missed_call(missed(clock.at, "b"))
    assert await store.see_missed_calls(ALICE, [CallId("b")]) == ()
    await with_missed(store, clock)
    assert await kept(store) == []
    await store.put_missed_call(missed(clock.at, "a"))
    assert await kept(store) == ["a"]


def test_how_much_is_kept() -> None:
    """A hundred of an account, for ninety days."""
    limits = HistoryLimits()
    assert (limits.missed_per_account, limits.missed_keep_s) == (100, 90 * DAY_S)
