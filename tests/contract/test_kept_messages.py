"""What every store promises of accepted MESSAGEs: memory, Valkey and Redis."""

from dataclasses import replace

from redis.asyncio import Redis

from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.kept_message import Keeping, KeptMessage, MessageText
from push_proxy.ports import Store
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from push_proxy.store.search import HistoryLimits
from push_proxy.store.secrets import KeyRing

from .conftest import HISTORY, RING, HandClock
from .samples import ALICE, BOB, account

KEEP_S = 3600.0


def message(
    clock: HandClock, name: str, *, body: bytes = b"hi", key: AccountKey = ALICE
) -> KeptMessage:
    """One that comes now."""
    text = MessageText(
        sender='"Ann" <sip:200@acme.example.com>',
        headers=(("Content-Type", "text/plain"), ("X-Odd", "a: b, c"), ("X-Odd", "ü")),
        body=body,
    )
    return KeptMessage(
        id=name,
        account=key,
        received_at=Instant(clock.at),
        until=Instant(clock.at + KEEP_S),
        text=text,
    )


async def kept(store: Store, key: AccountKey = ALICE) -> list[str]:
    """Their ids, in order."""
    return [each.id for each in await store.kept_messages(key)]


async def keep(store: Store, clock: HandClock, *names: str) -> None:
    """The account, and one message a second."""
    await store.put_account(account(), expected_version=None)
    for name in names:
        clock.at += 1
        assert await store.keep_message(message(clock, name)) is Keeping.KEPT


async def test_a_message_comes_back_whole(store: Store, clock: HandClock) -> None:
    """In every field and byte; another account has none of it."""
    await keep(store, clock)
    sent = message(clock, "a", body=bytes(range(256)) * 2)
    assert await store.keep_message(sent) is Keeping.KEPT
    assert await store.kept_messages(ALICE) == (sent,)
    assert await kept(store, BOB) == []


async def test_in_the_order_of_arrival(store: Store, clock: HandClock) -> None:
    """Whatever their names are; dropping one leaves the others where they are."""
    await keep(store, clock, "c", "a", "b")
    assert await kept(store) == ["c", "a", "b"]
    assert await store.drop_message(ALICE, "a")
    assert await kept(store) == ["c", "b"]
    assert not await store.drop_message(ALICE, "a")
    assert not await store.drop_message(BOB, "c")


async def test_one_that_is_there_is_not_kept_again(store: Store, clock: HandClock) -> None:
    """The PBX repeats itself: the first one counts, in its place, also when there is no room."""
    names = [f"m{number}" for number in range(HISTORY.messages_per_account)]
    await keep(store, clock, *names)
    again = replace(message(clock, "m0"), received_at=Instant(clock.at + 9))
    assert await store.keep_message(again) is Keeping.THERE
    assert await kept(store) == names


async def test_too_many_or_too_long(store: Store, clock: HandClock) -> None:
    """A new one is refused, what is there stays; dropping one makes room."""
    most, room = HISTORY.messages_per_account, HISTORY.message_bytes_per_account
    names = [f"m{number}" for number in range(most)]
    await keep(store, clock, *names)
    assert await store.keep_message(message(clock, "new")) is Keeping.FULL
    assert await kept(store) == names
    for name in names[1:]:
        await store.drop_message(ALICE, name)
    long = message(clock, "long", body=b"x" * (room - 2))
    assert await store.keep_message(
        replace(long, text=replace(long.text, body=b"x" * (room - 1)))
    ) is (Keeping.FULL)
    assert await store.keep_message(long) is Keeping.KEPT
    assert await store.keep_message(message(clock, "byte", body=b"x")) is Keeping.FULL


async def test_what_has_expired_makes_room(store: Store, clock: HandClock) -> None:
    """When the next one comes: until then whoever reads them sees that they were."""
    names = [f"m{number}" for number in range(HISTORY.messages_per_account)]
    await keep(store, clock, *names)
    clock.at += KEEP_S - 1.5
    assert await kept(store) == names
    await keep(store, clock, "new")
    assert await kept(store) == [names[-1], "new"]


async def test_messages_go_with_their_account(store: Store, clock: HandClock) -> None:
    """Erased with it; one that comes after it is not kept."""
    await keep(store, clock, "a", "b")
    await store.delete_account(ALICE)
    assert await store.keep_message(message(clock, "c")) is Keeping.GONE
    await keep(store, clock)
    assert await kept(store) == []


def test_how_much_is_kept() -> None:
    """A hundred of an account, 256 KiB in all."""
    limits = HistoryLimits()
    assert (limits.messages_per_account, limits.message_bytes_per_account) == (100, 262_144)


async def test_sealed_and_resealed(valkey: EmbeddedValkey) -> None:
    """Neither sender nor words are readable in the server; a new key takes over by `reseal`."""
    clock = HandClock()
    store = RedisStore(valkey.url, ring=RING, clock=clock)
    await store.open()
    await keep(store, clock)
    secret = message(clock, "a", body=b"very private words")
    await store.keep_message(secret)
    await store.aclose()
    both = RedisStore(valkey.url, ring=KeyRing({"new": b"n" * 32, "test": b"k" * 32}), clock=clock)
    await both.open()
    await both.reseal()
    assert await both.kept_messages(ALICE) == (secret,)
    await both.aclose()
    async with Redis.from_url(valkey.url) as other:
        stored = await other.hgetall("pp:{acme/alice}:messages-data")  # type: ignore[misc]
    (value,) = stored.values()
    assert b"1.new." in value
    for word in (b"private", b"Ann", b"200@", b"X-Odd"):
        assert word not in value
