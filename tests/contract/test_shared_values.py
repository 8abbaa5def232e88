"""Values that all nodes have in common for a time: the same on memory, Valkey and Redis."""

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from push_proxy.ports import Store
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from push_proxy.store.secrets import KeyRing

from .conftest import RING, HandClock


async def test_first_value_is_kept(store: Store) -> None:
    """The first value under a name is everybody's, bytes and all; another name is another value."""
    assert await store.share("jwt", b"first\x00\xff", ttl_s=60) == b"first\x00\xff"
    assert await store.share("jwt", b"second", ttl_s=60) == b"first\x00\xff"
    assert await store.share("other", b"second", ttl_s=60) == b"second"


async def test_the_value_that_is_named_gives_way(store: Store) -> None:
    """With `replacing`, that very value is replaced; one that was replaced before is not."""
    await store.share("jwt", b"old", ttl_s=60)
    assert await store.share("jwt", b"new", ttl_s=60, replacing=b"old") == b"new"
    assert await store.share("jwt", b"newer", ttl_s=60, replacing=b"old") == b"new"
    assert await store.share("unset", b"value", ttl_s=60, replacing=b"old") == b"value"


async def test_all_who_replace_at_once_get_the_same(store: Store) -> None:
    """Eight nodes that renew at the same moment agree on one value, and it is one of theirs."""
    await store.share("jwt", b"old", ttl_s=60)
    renewed = await asyncio.gather(
        *(store.share("jwt", b"new %d" % n, ttl_s=60, replacing=b"old") for n in range(8))
    )
    assert len(set(renewed)) == 1
    assert renewed[0].startswith(b"new ")


async def test_a_value_ends(store: Store, clock: HandClock) -> None:
    """After its time a value is gone, and the next one is kept."""
    await store.share("jwt", b"old", ttl_s=0.2)
    clock.at += 1
    async with asyncio.timeout(5):  # the server counts by its own clock
        while await store.share("jwt", b"new", ttl_s=60) != b"new":  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_shared_values_are_sealed(folder: Path, valkey: EmbeddedValkey) -> None:
    """At rest nothing shows the value; a node whose key ring cannot open it replaces it."""
    store = RedisStore(valkey.url, ring=RING, clock=HandClock())
    other = RedisStore(valkey.url, ring=KeyRing({"new": b"n" * 32}), clock=HandClock())
    try:
        await store.open()
        await store.share("jwt", b"a-provider-token", ttl_s=60)
        async with Redis.from_url(valkey.url) as raw:
            assert b"a-provider-token" not in await raw.get("pp:shared:jwt")
            assert 0 < await raw.pttl("pp:shared:jwt") <= 60_000
        assert await other.share("jwt", b"readable", ttl_s=60) == b"readable"
    finally:
        await store.aclose()
        await other.aclose()
