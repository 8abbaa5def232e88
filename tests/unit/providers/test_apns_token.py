"""Provider tokens: one per key and 20 minutes, for all nodes, renewed before it ends."""

from __future__ import annotations

import asyncio

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from push_proxy.errors import StoreUnavailable
from push_proxy.providers.apns_token import ApnsKey, ProviderToken
from push_proxy.runtime.clock import ManualClock
from push_proxy.store.memory import MemoryStore
from tests.lab.process import poll_until

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = ApnsKey.of(PRIVATE, team_id="TEAM", key_id="KEY")
MINUTE = 60.0


class AwayStore:
    """A store that is down; or one that hangs."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs = hangs

    async def share(self, *_: object, **__: object) -> bytes:
        if self.hangs:
            await asyncio.Event().wait()
        raise StoreUnavailable("away")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)


def node(clock: ManualClock, shared: object = None, *, key: ApnsKey = KEY) -> ProviderToken:
    """A node's token; nothing runs in the background unless it is started."""
    made = ProviderToken(key, wall=clock.now, tick_s=0.01)
    made._shared = shared  # type: ignore[assignment]
    return made


async def test_what_a_token_says(clock: ManualClock) -> None:
    """ES256 with key id, team and time of issue; the same as long as nothing renews it."""
    one = node(clock)
    token = await one.ready()
    assert jwt.get_unverified_header(token) | {"typ": "JWT"} == {
        "alg": "ES256", "kid": "KEY", "typ": "JWT",
    }  # fmt: skip
    public = PRIVATE.public_key()
    claims = jwt.decode(token, public, algorithms=["ES256"], options={"verify_iat": False})
    assert claims == {"iss": "TEAM", "iat": 1_700_000_000}
    assert await one.ready() == token
    assert await one.renew_if_due() is False


async def test_renewed_between_20_and_50_minutes(clock: ManualClock) -> None:
    """At 34 minutes it stays, at 36 it is renewed; connections may go on with the old one."""
    one = node(clock, MemoryStore(clock))
    first = await one.ready()
    clock.advance(34 * MINUTE)
    assert await one.renew_if_due() is False
    clock.advance(2 * MINUTE)
    assert await one.renew_if_due() is True
    assert one.current != first
    assert one.usable(first)
    clock.advance(23 * MINUTE)
    assert not one.usable(first), "APNs refuses it after an hour"


async def test_renewed_in_the_background(clock: ManualClock) -> None:
    """Started, it renews by itself: nobody who pushes waits for it."""
    one = ProviderToken(KEY, wall=clock.now, tick_s=0.005)
    one.start(MemoryStore(clock))
    first = await one.ready()
    clock.advance(40 * MINUTE)
    async with asyncio.timeout(5):
        while one.current == first:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await one.aclose()


async def test_all_nodes_have_one(clock: ManualClock) -> None:
    """Nodes with one store start with the same token, and renew to the same."""
    store = MemoryStore(clock)
    nodes = [node(clock, store) for _ in range(5)]
    assert len(set(await asyncio.gather(*(each.ready() for each in nodes)))) == 1
    clock.advance(36 * MINUTE)
    assert all(await asyncio.gather(*(each.renew_if_due() for each in nodes)))
    assert len({each.current for each in nodes}) == 1
    late = node(clock, store)
    assert await late.ready() == nodes[0].current


async def test_a_restart_makes_no_new_token(clock: ManualClock) -> None:
    """A node that starts again goes on with the token that is kept, until that has its age."""
    store = MemoryStore(clock)
    first = await node(clock, store).ready()
    clock.advance(34 * MINUTE)
    assert await node(clock, store).ready() == first
    clock.advance(2 * MINUTE)
    assert await node(clock, store).ready() != first


async def test_keys_have_tokens_of_their_own(clock: ManualClock) -> None:
    """Another key, team or key id shares nothing."""
    store = MemoryStore(clock)
    other = ec.generate_private_key(ec.SECP256R1())
    keys = [
        KEY,
        ApnsKey.of(other, team_id="TEAM", key_id="KEY"),
        ApnsKey.of(PRIVATE, team_id="TEAM2", key_id="KEY"),
        ApnsKey.of(PRIVATE, team_id="TEAM", key_id="KEY2"),
    ]
    tokens = [await node(clock, store, key=key).ready() for key in keys]
    assert len(set(tokens)) == 4


@pytest.mark.parametrize("hangs", [False, True])
async def test_without_the_store(clock: ManualClock, *, hangs: bool) -> None:
    """A store that is away or hangs costs a second at most: the node uses a token of its own."""
    one = node(clock, AwayStore(hangs=hangs))
    async with asyncio.timeout(3):
        assert await one.ready()


async def test_a_store_that_surprises(clock: ManualClock) -> None:
    """A fault nobody foresaw ends neither the first token nor those that follow it."""

    class Odd:
        async def share(self, *_: object, **__: object) -> bytes:
            raise KeyError("what is this")

    one = node(clock)
    one.start(Odd())
    try:
        first = await one.ready()
        clock.advance(40 * MINUTE)
        assert await poll_until(lambda: one.current != first, within_s=5)
    finally:
        await one.aclose()


@pytest.mark.parametrize("kept", [b"", b"rubbish", b"0 a.b.c", b"x y", b"\xff \xff"])
async def test_rubbish_in_the_store(clock: ManualClock, kept: bytes) -> None:
    """What is no token of this key gives way."""
    store = MemoryStore(clock)
    await store.share(f"apns-token:{KEY.fingerprint}", kept, ttl_s=3000)
    token = await node(clock, store).ready()
    assert await node(clock, store).ready() == token


async def test_too_many_tokens(clock: ManualClock) -> None:
    """A renewed token that APNs refuses gives way to the old one for all, for 20 minutes."""
    store = MemoryStore(clock)
    one, other = node(clock, store), node(clock, store)
    old = await one.ready()
    assert await other.ready() == old
    clock.advance(36 * MINUTE)
    await one.renew_if_due()
    new = one.current
    assert new is not None
    one.too_many(new)
    assert one.current == old
    assert not one.usable(new)
    await asyncio.sleep(0.01)
    assert await other.renew_if_due() is False
    assert await node(clock, store).ready() == old
    clock.advance(19 * MINUTE)
    assert one.usable(old), "it has not ended before the next may be made"
    assert await other.renew_if_due() is False
    assert await one.renew_if_due() is False
    clock.advance(1 * MINUTE)
    assert await one.renew_if_due() is True
    assert one.current not in {old, new}
    await one.aclose()


async def test_too_many_without_another(clock: ManualClock) -> None:
    """The only token there is goes on, on another connection; nothing new is made."""
    one = node(clock)
    only = await one.ready()
    one.too_many(only)
    assert one.current == only
    assert one.usable(only)
    assert await one.renew_if_due() is False


async def test_expired(clock: ManualClock) -> None:
    """A token that APNs calls expired is renewed once it is 20 minutes old, and not before."""
    one = node(clock, MemoryStore(clock))
    first = await one.ready()
    clock.advance(19 * MINUTE)
    assert await one.expired(first) is False
    assert one.current == first
    clock.advance(2 * MINUTE)
    assert await one.expired(first) is True
    assert one.current != first
    assert not one.usable(first)
    assert await one.expired(first) is True, "others that were told so find the new one"


async def test_expired_is_not_taken_back_from_the_store(clock: ManualClock) -> None:
    """What APNs refused is replaced in the store, for the other nodes too."""
    store = MemoryStore(clock)
    one, other = node(clock, store), node(clock, store)
    first = await one.ready()
    assert await other.ready() == first
    clock.advance(21 * MINUTE)
    assert await one.expired(first)
    assert await other.expired(first)
    assert one.current == other.current


async def test_a_clock_that_was_wrong(clock: ManualClock) -> None:
    """A token from a future that was set right is replaced, though it is not old."""
    one = node(clock)
    wrong = await one.ready()
    clock_back = ManualClock(clock.now() - 3600)
    one._wall = clock_back.now
    assert await one.renew_if_due() is True
    assert one.current != wrong


async def test_no_token_in_repr(clock: ManualClock) -> None:
    """Neither key nor token are in what a log may show of these objects."""
    one = node(clock)
    token = await one.ready()
    shown = f"{one!r} {one.__dict__!r} {KEY!r}"
    assert token not in shown
    assert KEY.fingerprint not in shown
