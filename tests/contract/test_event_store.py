"""What every store promises of outboxes and dead letters: memory, Valkey and Redis."""

from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from push_proxy.core.ids import AccountKey, DeviceId, Instant, TenantId
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.core.queued_event import ClaimedEvents, DeadLetter, QueuedEvent
from push_proxy.errors import InvalidInput
from push_proxy.ports import Store
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from push_proxy.store.secrets import KeyRing

from .conftest import RING, HandClock
from .samples import ACME, ALICE, BOB, account
from .test_secrets_at_rest import everything_in

HOOK = "0123456789abcdef"
CALLER = "+4930999888777"


def event(name: str, at: float, key: AccountKey = ALICE) -> QueuedEvent:
    return QueuedEvent(
        id=name,
        notice=Notice(
            type=NoticeType.CALL_MISSED,
            at=Instant(at),
            account=key,
            device=DeviceId("phone"),
            data={"caller": CALLER, "verdict": "no_answer"},
        ),
        queued_at=Instant(at),
        attempts=2,
        last_error="http_503",
    )


def letter(name: str, at: float, key: AccountKey = ALICE) -> DeadLetter:
    return DeadLetter(
        event=event(name, at - 5, key), webhook=HOOK, host="hooks.example", died_at=Instant(at)
    )


async def put(store: Store, *events: QueuedEvent, hook: str = HOOK, limit: int = 100) -> int:
    return await store.put_events(hook, events, limit=limit, keep_s=3600)


async def claim(store: Store, now: float, *, hook: str = HOOK, limit: int = 10) -> ClaimedEvents:
    return await store.claim_events(hook, now=Instant(now), lease_s=30, limit=limit)


def names(claimed: ClaimedEvents) -> list[str]:
    return [each.id for each in claimed.events]


async def test_events_come_back_whole_and_in_order(store: Store, clock: HandClock) -> None:
    """What was put is claimed as it was, the oldest first."""
    one, two = event("b", clock.at), event("a", clock.at + 1)
    assert await put(store, one, two) == 0
    claimed = await claim(store, clock.at + 2)
    assert claimed.events == (one, two)
    assert claimed.waiting == 2


async def test_a_claimed_event_is_nobody_elses_until_its_lease_ends(
    store: Store, clock: HandClock
) -> None:
    """Two nodes never get the same event, unless one keeps it for too long."""
    await put(store, event("a", clock.at), event("b", clock.at))
    first, second = await claim(store, clock.at, limit=1), await claim(store, clock.at)
    assert sorted(names(first) + names(second)) == ["a", "b"]
    third = await claim(store, clock.at + 29)
    assert (third.events, third.next_at) == ((), clock.at + 30)
    assert names(await claim(store, clock.at + 30)) == ["a", "b"]


async def test_outboxes_are_apart(store: Store, clock: HandClock) -> None:
    """One webhook's events are not another's."""
    await put(store, event("a", clock.at))
    await put(store, event("a", clock.at), hook="other")
    await store.remove_event(HOOK, "a")
    assert names(await claim(store, clock.at)) == []
    assert names(await claim(store, clock.at, hook="other")) == ["a"]
    assert (await claim(store, clock.at, hook="never seen")).waiting == 0


async def test_a_postponed_event_comes_when_it_is_due(store: Store, clock: HandClock) -> None:
    """With what was learned of it; one that was removed does not come back."""
    await put(store, event("a", clock.at), event("b", clock.at))
    await claim(store, clock.at)
    tried = replace(event("a", clock.at), attempts=3, last_error="timeout")
    await store.postpone_event(HOOK, tried, due=Instant(clock.at + 5))
    await store.remove_event(HOOK, "b")
    await store.postpone_event(HOOK, event("b", clock.at), due=Instant(clock.at + 5))
    early = await claim(store, clock.at + 4)
    assert (early.events, early.waiting, early.next_at) == ((), 1, clock.at + 5)
    assert (await claim(store, clock.at + 5)).events == (tried,)


async def test_a_full_outbox_drops_the_oldest(store: Store, clock: HandClock) -> None:
    """By when they were told, also when they were postponed; how many is said."""
    await put(store, event("a", clock.at), event("b", clock.at + 1))
    await store.postpone_event(HOOK, event("a", clock.at), due=Instant(clock.at + 500))
    assert await put(store, event("c", clock.at + 2), event("d", clock.at + 3), limit=3) == 1
    assert names(await claim(store, clock.at + 1000)) == ["b", "c", "d"]


async def test_the_same_event_twice_is_one(store: Store, clock: HandClock) -> None:
    """A write that is repeated because its answer was lost changes nothing."""
    await put(store, event("a", clock.at))
    await put(store, event("a", clock.at))
    assert (await claim(store, clock.at)).waiting == 1


async def test_dead_letters_come_by_pages_newest_first(store: Store, clock: HandClock) -> None:
    """A tenant's own, whole, each once."""
    await store.put_account(account(), expected_version=0)
    for number in range(5):
        kept = letter(f"e{number}", clock.at + number)
        assert await store.put_dead_letter(kept, limit=100, keep_s=3600) == 0
    other = letter("x", clock.at, AccountKey("globex/1"))
    await store.put_dead_letter(other, limit=100, keep_s=3600)
    first = await store.dead_letters(ACME, limit=2, cursor=None)
    second = await store.dead_letters(ACME, limit=2, cursor=first.next_cursor)
    third = await store.dead_letters(ACME, limit=2, cursor=second.next_cursor)
    assert [one.event.id for one in first.letters] == ["e4", "e3"]
    assert [one.event.id for one in second.letters] == ["e2", "e1"]
    assert [one.event.id for one in third.letters] == ["e0"]
    assert third.next_cursor is None
    assert first.letters[0] == letter("e4", clock.at + 4)
    assert (await store.count_dead_letters())[ACME] == 5
    with pytest.raises(InvalidInput, match="cursor"):
        await store.dead_letters(ACME, limit=2, cursor="mine")


async def test_dead_letters_are_read_and_forgotten_by_id(store: Store, clock: HandClock) -> None:
    """Those that are there; another tenant's never."""
    for number in range(3):
        await store.put_dead_letter(letter(f"e{number}", clock.at), limit=100, keep_s=3600)
    wanted = [letter("e1", clock.at).id, "nothing", letter("e2", clock.at).id]
    assert [one.event.id for one in await store.get_dead_letters(ACME, wanted)] == ["e1", "e2"]
    assert await store.get_dead_letters(TenantId("globex"), wanted) == ()
    assert await store.delete_dead_letters(TenantId("globex"), wanted) == 0
    assert await store.delete_dead_letters(ACME, wanted) == 2
    assert await store.delete_dead_letters(ACME, []) == 0
    assert await store.delete_dead_letters(ACME, None) == 1
    assert (await store.dead_letters(ACME, limit=5, cursor=None)).letters == ()


async def test_dead_letters_are_capped_by_number_and_age(store: Store, clock: HandClock) -> None:
    """The oldest go, and how many is said."""
    for number in range(3):
        await store.put_dead_letter(letter(f"e{number}", clock.at + number), limit=3, keep_s=100)
    assert await store.put_dead_letter(letter("e3", clock.at + 3), limit=3, keep_s=100) == 1
    assert await store.put_dead_letter(letter("e4", clock.at + 102.5), limit=3, keep_s=100) == 2
    page = await store.dead_letters(ACME, limit=9, cursor=None)
    assert [one.event.id for one in page.letters] == ["e4", "e3"]


async def test_dead_letters_are_erased_with_their_account(store: Store, clock: HandClock) -> None:
    """They name callers; another account's stay."""
    await store.put_account(account(), expected_version=0)
    await store.put_dead_letter(letter("e1", clock.at), limit=9, keep_s=60)
    await store.put_dead_letter(letter("e2", clock.at, BOB), limit=9, keep_s=60)
    await store.delete_account(ALICE)
    page = await store.dead_letters(ACME, limit=9, cursor=None)
    assert [one.event.id for one in page.letters] == ["e2"]


async def test_events_are_sealed(folder: Path, valkey: EmbeddedValkey) -> None:
    """Who called is in no file of the server; what cannot be opened keeps no other waiting."""
    clock = HandClock()
    store = RedisStore(valkey.url, ring=RING, clock=clock)
    await store.open()
    await put(store, event("a", clock.at))
    await store.put_dead_letter(letter("b", clock.at), limit=5, keep_s=60)
    stranger = RedisStore(valkey.url, ring=KeyRing({"test": b"x" * 32}), clock=clock)
    stranger._client, stranger._target_key = store._client, b"k"
    await put(stranger, event("z", clock.at + 1))
    assert names(await claim(store, clock.at + 2)) == ["a"]
    async with Redis.from_url(valkey.url) as other:
        await other.config_set("rdbcompression", "no")
        await other.save()
    await store.aclose()
    await valkey.stop()
    content = everything_in(folder)
    assert b"hooks.example" in content
    assert CALLER.encode() not in content


async def test_dead_letters_are_resealed(valkey: EmbeddedValkey) -> None:
    """After a new key has taken over, the old one is needed no more."""
    clock = HandClock()
    store = RedisStore(valkey.url, ring=KeyRing({"a": b"a" * 32}), clock=clock)
    await store.open()
    await store.put_account(account(), expected_version=0)
    await store.put_dead_letter(letter("b", clock.at), limit=5, keep_s=60)
    await store.aclose()
    both = RedisStore(valkey.url, ring=KeyRing({"b": b"b" * 32, "a": b"a" * 32}), clock=clock)
    await both.open()
    await both.reseal()
    await both.aclose()
    after = RedisStore(valkey.url, ring=KeyRing({"b": b"b" * 32}), clock=clock)
    await after.open()
    assert len((await after.dead_letters(ACME, limit=5, cursor=None)).letters) == 1
    await after.aclose()
