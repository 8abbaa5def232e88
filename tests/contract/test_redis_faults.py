"""Redis away, silent, restarted, foreign: told quickly and clearly, and survived."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis.asyncio import Redis

from push_proxy.core.ids import CallId
from push_proxy.errors import ConfigurationError, StoreUnavailable
from push_proxy.store import scripts
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from push_proxy.store.secrets import KeyRing
from tests.lab.ports import free_port

from .conftest import RING, HandClock, debian_redis
from .samples import ALICE, BOB, account, call, device, held, registration


def on(url: str, **options: object) -> RedisStore:
    return RedisStore(url, clock=HandClock(), **{"ring": RING, **options})  # type: ignore[arg-type]


@pytest.fixture
async def opened(valkey: EmbeddedValkey) -> AsyncIterator[RedisStore]:
    store = on(valkey.url, timeout_s=0.3)
    await store.open()
    yield store
    await store.aclose()


@contextlib.contextmanager
def blocked(server: EmbeddedValkey) -> Iterator[None]:
    """The server's process stands still: it takes connections and answers nothing."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def refused(call_: Awaitable[object]) -> tuple[str, float]:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        await call_
    return str(caught.value), time.monotonic() - started


async def test_nobody_listens(folder: Path) -> None:
    """No server: an error at once that names the place, without seconds of retries."""
    for url in (f"redis://127.0.0.1:{free_port()}/0", f"unix://{folder}/none.sock"):
        store = on(url)
        text, took_s = await refused(store.open())
        assert url in text
        assert "is it running?" in text
        assert took_s < 2.0
        await store.aclose()


async def test_silent_server(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """A blocked server costs one deadline, then nothing: the next calls fail at once."""
    with blocked(valkey):
        text, took_s = await refused(opened.hold_invite(held(0.0)))
        assert "did not answer within 0.3 s" in text
        assert 0.25 < took_s < 1.5
        waits = [(await refused(opened.hold_invite(held(0.0))))[1] for _ in range(20)]
        assert sorted(waits)[10] < 0.15, "waited half a deadline each"
        _, took_s = await refused(opened.ping())
        assert took_s < 1.5
    end = time.monotonic() + 5
    while True:
        with contextlib.suppress(StoreUnavailable):
            await opened.ping()
            break
        assert time.monotonic() < end
    await opened.put_account(account(), expected_version=0)


async def test_many_calls_on_a_silent_server(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """Hundreds of calls at once on a blocked server all fail within its one deadline."""
    with blocked(valkey):
        started = time.monotonic()
        tries = await asyncio.gather(
            *(opened.hold_invite(held(0.0, f"c{n}")) for n in range(300)), return_exceptions=True
        )
        assert time.monotonic() - started < 3
        assert all(isinstance(each, StoreUnavailable) for each in tries)


async def test_a_pause_of_our_own_is_not_the_servers_silence(opened: RedisStore) -> None:
    """The process stood still for longer than a command may take (a busy machine): that command may
    fail, and the next one is asked at once and answered.
    """
    asked = asyncio.get_running_loop().create_task(opened.get_account(ALICE))
    await asyncio.sleep(0)
    time.sleep(0.8)  # noqa: ASYNC251 - the pause
    await asyncio.wait((asked,))
    asked.exception()
    assert await opened.get_account(ALICE) is None


async def test_cancelled_call_spoils_nothing(opened: RedisStore) -> None:
    """A call given up half way does not leave its answer to the next one."""
    await opened.put_account(account(), expected_version=0)
    for number in range(100):
        task = asyncio.get_running_loop().create_task(opened.get_account(ALICE))
        await asyncio.sleep(0.00005 * (number % 10))
        task.cancel()
        await asyncio.wait((task,))
        assert await opened.get_call(CallId("none")) is None
    assert await opened.get_account(ALICE) == account()


async def test_server_that_takes_no_writes(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """A server that answers but refuses writes (its memory is full, replicas are missing, it has
    become a replica itself) does not count as answering, and asking it writes nothing.
    """
    async with Redis.from_url(valkey.url) as other:
        before = await other.dbsize()
        for setting, code in (("maxmemory", "maxmemory"), ("min-replicas-to-write", "replicas")):
            await other.config_set(setting, 1)
            text, _ = await refused(opened.ping())
            assert "cannot serve now" in text
            assert code in text
            await other.config_set(setting, 0)
            await opened.ping()
        await other.replicaof("127.0.0.1", "1")
        text, _ = await refused(opened.ping())
        assert "cannot serve now" in text
        assert "read only replica" in text
        await other.replicaof("no", "one")
        await opened.ping()
        assert await other.dbsize() == before


async def test_restarted_server(folder: Path) -> None:
    """After a restart of the server everything goes on: connections and scripts are renewed."""
    server = EmbeddedValkey(folder)
    await server.start()
    store = on(server.url)
    await store.open()
    await store.put_account(account(), expected_version=0)
    await asyncio.gather(*(store.get_account(ALICE) for _ in range(10)))
    await server.stop()
    text, _ = await refused(store.get_account(ALICE))
    assert "cannot be reached" in text
    await server.start()
    now = HandClock().at
    await store.put_call(call(now))
    await store.hold_invite(held(now))
    assert await store.get_call(CallId("call-1")) == call(now)
    await store.aclose()
    await server.stop()


async def test_scripts_flushed(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """A server that forgot our scripts (failover, SCRIPT FLUSH) gets them again."""
    await opened.put_account(account(), expected_version=0)
    async with Redis.from_url(valkey.url) as other:
        await other.script_flush()
        await opened.put_call(call(HandClock().at))
        await other.script_flush()
        await opened.hold_invite(held(HandClock().at))
    assert await opened.get_call(CallId("call-1")) is not None


async def test_full_server(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """A server without memory refuses writes: told as unavailable, nothing evicted."""
    await opened.put_account(account(), expected_version=0)
    async with Redis.from_url(valkey.url) as other:
        await other.config_set("maxmemory", "1")
        text, _ = await refused(opened.put_account(account("bob"), expected_version=0))
        assert "cannot serve now" in text
        await other.config_set("maxmemory", "0")
    assert await opened.get_account(ALICE) == account()


async def test_wrong_password(folder: Path) -> None:
    """A password that the server refuses is a configuration error, and is not quoted."""
    with debian_redis(folder) as url:
        async with Redis.from_url(url) as other:
            await other.config_set("requirepass", "right")
        path = url.removeprefix("unix://")
        for wrong in (f"unix://{path}?password=wrong-password", url):
            store = on(wrong)
            with pytest.raises(ConfigurationError, match="refuses us") as caught:
                await store.open()
            assert "wrong-password" not in str(caught.value)
            await store.aclose()
        store = on(f"unix://{path}?password=right")
        await store.open()
        await store.aclose()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "nonsense", "redis://h:notaport/0"])
def test_bad_url(url: str) -> None:
    """A URL that is none is refused by its setting's name."""
    with pytest.raises(ConfigurationError, match=r"redis\.url"):
        on(url)


async def test_wrong_key_ring(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """Another key under the same id, or none under it, is told at the start, not at a call."""
    for keys, text in (
        ({"test": b"x" * 32}, "another key"),
        ({"new": b"x" * 32}, "not in the key ring"),
    ):
        store = on(valkey.url, ring=KeyRing(keys))
        with pytest.raises(ConfigurationError, match=text):
            await store.open()
        await store.aclose()
    assert await opened.secret("push-targets", size=32)


async def test_rotation(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """A new key in front of the old one opens everything; after resealing the old one may go."""
    await opened.put_account(account(), expected_version=0)
    old, new = b"k" * 32, b"n" * 32
    both = on(valkey.url, ring=KeyRing({"new": new, "test": old}))
    await both.open()
    assert await both.get_account(ALICE) == account()
    assert await both.reseal() == 1
    await both.aclose()
    after = on(valkey.url, ring=KeyRing({"new": new}))
    await after.open()
    assert await after.get_account(ALICE) == account()
    await after.aclose()


async def test_unreadable_account_is_left_out(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """One damaged value is logged by its place and left out; all others load."""
    await opened.put_account(account(), expected_version=0)
    await opened.put_account(account("bob"), expected_version=0)
    async with Redis.from_url(valkey.url) as other:
        await other.hset("pp:{acme/alice}:account", "data", b"{broken")  # type: ignore[misc]
    with structlog.testing.capture_logs() as logs:
        assert [a.account async for a in opened.all_accounts()] == ["bob"]
    assert logs[0]["account"] == "acme/alice"


async def test_unreadable_registration_is_made_anew(
    valkey: EmbeddedValkey, opened: RedisStore
) -> None:
    """One damaged record, or one of a newer version, keeps no other account from being taken over;
    its fence counts all the same.
    """
    kept = replace(registration(HandClock().at), account=BOB, fence=7)
    await opened.put_registration(kept)
    async with Redis.from_url(valkey.url) as other:
        await other.set("pp:{acme/alice}:registration", b'7 {"_v":99}')
    with structlog.testing.capture_logs() as logs:
        assert await opened.claim_registrations({ALICE: 8, BOB: 8}) == {ALICE: None, BOB: kept}
    assert logs[0]["account"] == "acme/alice"
    assert await opened.get_registrations([ALICE, BOB]) == (None, kept)
    assert not await opened.put_registration(replace(kept, account=ALICE))


async def test_unknown_fields_are_ignored(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """A value with a field of a newer version is read; a newer form is refused by name."""
    await opened.put_account(account(), expected_version=0)
    key = "pp:{acme/alice}:account"
    async with Redis.from_url(valkey.url) as other:
        data = await other.hget(key, "data")  # type: ignore[misc]
        await other.hset(key, "data", data.replace(b'{"tenant"', b'{"new":1,"tenant"', 1))  # type: ignore[misc]
        assert await opened.get_account(ALICE) == account()
        await other.hset(key, "data", data.replace(b'"_v":1', b'"_v":2'))  # type: ignore[misc]
    with pytest.raises(Exception, match="newer version"):
        await opened.get_account(ALICE)


async def test_evicting_server_is_told(valkey: EmbeddedValkey) -> None:
    """A server that may evict accounts is warned of at the start."""
    async with Redis.from_url(valkey.url) as other:
        await other.config_set("maxmemory-policy", "allkeys-lru")
    store = on(valkey.url)
    with structlog.testing.capture_logs() as logs:
        await store.open()
    assert any("noeviction" in line["event"] for line in logs)
    await store.aclose()


async def test_every_key_is_in_the_table(valkey: EmbeddedValkey, opened: RedisStore) -> None:
    """Keys of an account share its hash slot; those that come and go have a lifetime."""
    now = HandClock().at
    await opened.put_account(account(), expected_version=0)
    await opened.put_call(call(now))
    await opened.hold_invite(held(now))
    async with Redis.from_url(valkey.url) as other:
        for key in ("held", "calls", "records"):
            assert await other.ttl(f"pp:{{acme/alice}}:{key}") > 0
        assert await other.ttl("pp:{acme/alice}:account") == -1
        assert await other.ttl("pp:call:call-1") > 0
        async for key in other.scan_iter("*acme/alice*"):
            assert key.startswith(b"pp:{acme/alice}:")


@pytest.mark.parametrize("lost", ["write", "cleaning", "all but the index"])
async def test_former_token_of_a_write_in_doubt(
    opened: RedisStore, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """The answer to a token's change was lost, or what follows it, or the change itself: after the
    next one the index leads to the newest token alone.
    """
    await opened.put_account(account(), expected_version=None)
    await opened.put_device(device(token="one"), expected_version=None)
    client = opened._client
    run, pipeline = client.run, client.pipeline

    async def done_without_a_word(script: scripts.Script, *args: Any) -> Any:
        await run(script, *args)
        raise StoreUnavailable("no answer")

    async def not_done(*_: Any) -> Any:
        raise StoreUnavailable("no answer")

    async def no_cleaning(commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if commands and commands[0][0] == "SREM":
            raise StoreUnavailable("no answer")
        return await pipeline(commands)

    with monkeypatch.context() as patch:
        if lost == "write":
            patch.setattr(client, "run", done_without_a_word)
        elif lost == "cleaning":
            patch.setattr(client, "pipeline", no_cleaning)
        else:
            patch.setattr(client, "run", not_done)
        with pytest.raises(StoreUnavailable):
            await opened.put_device(device(token="two"), expected_version=None)
    await opened.put_device(device(token="three"), expected_version=None)
    assert len(await client.call("KEYS", "pp:target:*")) == 1
    await opened.delete_device(ALICE, device().device)
    assert await client.call("KEYS", "pp:target:*") == []
