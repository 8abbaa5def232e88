"""Several Redis servers: moving slots, missing scripts, reads that block, wrong URLs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from push_proxy.errors import ConfigurationError, StoreUnavailable
from push_proxy.recovery_ports import StoreEmptied
from push_proxy.store import scripts
from push_proxy.store.redis import RedisStore
from push_proxy.store.redis_client import RedisClient, evalsha
from push_proxy.store.redis_cluster_route import slot_of
from push_proxy.store.redis_server import StoreRefused
from tests.lab.redis_cluster import ClusterGroup
from tests.lab.redis_process import RedisProcess, until
from tests.lab.sentinel import SentinelGroup
from tests.lab.tcp_relay import TcpRelay

from .conftest import RING, HandClock, debian_redis
from .samples import ALICE, account, binding, call, device, held

KEYS = [f"key-{number}" for number in range(60)]


@pytest.fixture
async def client(cluster_group: ClusterGroup) -> AsyncIterator[RedisClient]:
    """On an empty cluster."""
    await cluster_group.flush()
    client = RedisClient(cluster_group.url)
    await client.connect()
    yield client
    await client.aclose()


@pytest.fixture
async def clustered(cluster_group: ClusterGroup) -> AsyncIterator[RedisStore]:
    await cluster_group.flush()
    store = RedisStore(cluster_group.url, ring=RING, clock=HandClock())
    await store.open()
    yield store
    await store.aclose()


async def test_replies_come_in_the_order_of_commands(client: RedisClient) -> None:
    """Commands for all masters in one call, by both ways: each reply stands where its command
    stood, and what is done in order is done in order.
    """
    writes = [("SET", key, number) for number, key in enumerate(KEYS)]
    assert await client.write_all(writes) == [b"OK"] * len(KEYS)
    wanted = [str(number).encode() for number in range(len(KEYS))]
    assert await client.pipeline([("GET", key) for key in KEYS]) == wanted
    assert await client.write_all([("GET", key) for key in KEYS], in_order=True) == wanted
    appended = [("RPUSH", "list", key) for key in KEYS]
    mixed = [each for pair in zip(appended, writes, strict=True) for each in pair]
    await client.pipeline(mixed, in_order=True)
    assert await client.call("LRANGE", "list", 0, -1) == [key.encode() for key in KEYS]


async def test_slot_that_has_moved(client: RedisClient, cluster_group: ClusterGroup) -> None:
    """A slot with its keys has another master now (MOVED): every way finds it at once."""
    await client.write("SET", "moving", "1")
    await cluster_group.move_slot(slot_of(("GET", "moving")))
    assert await client.write_all([("GET", "moving"), ("SET", "staying", "2")]) == [b"1", b"OK"]
    assert await client.call("GET", "moving") == b"1"


async def test_slot_that_is_moving(client: RedisClient, cluster_group: ClusterGroup) -> None:
    """Half way (ASK): keys that went are asked for at their new place, also by scripts."""
    place = "pp:{wandering/one}:held"
    run = (scripts.HOLD_INVITE, [place], "call", b"data", 4_000_000_000_000)
    await client.run(*run)
    slot = slot_of(("GET", place))
    await cluster_group.move_slot(slot, finish=False)
    assert await client.call("HGET", place, "call") == b"data"
    await client.run(*run)
    assert await client.pipeline([("HLEN", place), ("PING-NOT", place)][:1]) == [1]
    await cluster_group.end_move(slot)
    assert await client.call("HLEN", place) == 1


async def test_one_master_forgot_the_scripts(
    client: RedisClient, cluster_group: ClusterGroup
) -> None:
    """Restarted or promoted masters know no script: those that are missing are sent with their
    text, those that were done are not done again.
    """
    await cluster_group.redises[1].ask("SCRIPT FLUSH")
    commands = [evalsha(scripts.CLAIM, [key], f"owner-{key}", 1, "", 30) for key in KEYS]
    assert await client.pipeline(commands) == [b"new"] * len(KEYS)
    assert await client.write_all(commands) == [b""] * len(KEYS)


async def test_keys_of_two_slots(client: RedisClient) -> None:
    """A script over two hash tags is refused before it is sent, on a mistake of ours."""
    with pytest.raises(ValueError, match="one hash tag"):
        await client.run(scripts.PUT_BINDING, ["pp:{a}:account", "pp:{b}:bindings"], "d", b"", 1)
    with pytest.raises(ValueError, match="has no key"):
        await client.call("DBSIZE")


async def test_all_of_an_account_lies_on_one_master(
    clustered: RedisStore, cluster_group: ClusterGroup
) -> None:
    """Whatever is kept of an account is in one slot: found on one of three masters alone."""
    now = HandClock().at
    await clustered.put_account(account(), expected_version=0)
    await clustered.put_device(device(), expected_version=0)
    await clustered.put_binding(binding(now))
    await clustered.put_call(call(now))
    await clustered.hold_invite(held(now))
    found = [await redis.ask("KEYS", f"pp:{{{ALICE}}}:*") for redis in cluster_group.redises]
    assert sorted(len(keys) for keys in found)[:2] == [0, 0]
    assert max(len(keys) for keys in found) >= 6


@pytest.fixture(params=["redis", "sentinel", "cluster"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """One server, or several."""
    if request.param == "redis":
        with debian_redis(folder) as alone:
            yield alone
        return
    group: SentinelGroup | ClusterGroup = request.getfixturevalue(f"{request.param}_group")
    yield group.url


async def test_reads_that_block(url: str) -> None:
    """Forty readers wait for streams and lists at once, each for longer than a command may take:
    other commands go through meanwhile, and each reader gets what was written for it.
    """
    client = RedisClient(url, timeout_s=1.0)
    await client.connect()
    lists = [f"inbox-{number}" for number in range(39)]
    try:
        async with asyncio.TaskGroup() as group:
            stream = group.create_task(
                client.wait("XREAD", "BLOCK", 5000, "STREAMS", "feed-of-test", "0", wait_s=5.0)
            )
            waiting = [group.create_task(client.wait("BLPOP", key, 5, wait_s=5.0)) for key in lists]
            await asyncio.sleep(1.2)  # longer than a command's deadline
            await client.write("XADD", "feed-of-test", "*", "n", "1")
            await client.write_all([("RPUSH", key, key) for key in lists])
        ((name, (entry,)),) = stream.result()
        assert (name, entry[1]) == (b"feed-of-test", {b"n": b"1"})
        assert [task.result()[1] for task in waiting] == [key.encode() for key in lists]
        assert await client.wait("BLPOP", "inbox-0", 0.1, wait_s=0.1) is None
        await client.call("DEL", "feed-of-test")
    finally:
        await client.aclose()


async def test_one_master_of_a_cluster_hangs(
    clustered: RedisStore, cluster_group: ClusterGroup
) -> None:
    """What lies on the others is read and written as ever; a ping names the one that hangs."""
    client = clustered._client
    silent = cluster_group.redises[2]
    with silent.frozen():
        with pytest.raises(StoreUnavailable, match=str(silent.port)):
            await clustered.ping()
        done = await asyncio.gather(
            *(client.write("SET", key, "x") for key in KEYS), return_exceptions=True
        )
        well = KEYS[done.index(b"OK")]
        hung = KEYS[next(n for n, each in enumerate(done) if each != b"OK")]
        in_order = [("SET", well, "before"), ("SET", hung, "y"), ("SET", well, "after")]
        with pytest.raises(StoreUnavailable):
            await client.write_all(in_order, in_order=True)
        assert await client.call("GET", well) == b"before"
        assert 10 < done.count(b"OK") < len(KEYS)
        assert all(each == b"OK" or isinstance(each, StoreUnavailable) for each in done)
    await until(cluster_group.well, what="cluster that is well")
    await clustered.ping()


async def test_a_part_was_emptied(clustered: RedisStore, cluster_group: ClusterGroup) -> None:
    """One of three masters has lost what it had: told at the next ping, and nothing read counts."""
    await clustered.ping()
    await cluster_group.redises[1].ask("FLUSHALL")
    with pytest.raises(StoreEmptied, match="has lost what it held"):
        await clustered.ping()
    with pytest.raises(StoreEmptied):
        [state async for state in clustered.everything()]
    await clustered.refound()
    await clustered.ping()


async def test_wrong_kind_of_server(
    cluster_group: ClusterGroup, sentinel_group: SentinelGroup
) -> None:
    """A URL that names another kind of server than there is says which one to write."""
    node = f"127.0.0.1:{cluster_group.redises[0].port}"
    sentinel = f"127.0.0.1:{sentinel_group.ports[0]}"
    master = f"127.0.0.1:{(await sentinel_group.master()).port}"
    for url, why in (
        (f"redis://{node}", r"redis\+cluster://"),
        (f"redis://{sentinel}", r"redis\+sentinel://"),
        (f"redis+cluster://{master}", "not in cluster mode"),
        (f"redis+sentinel://{master}/phones", "is no sentinel"),
        (f"redis+sentinel://{sentinel}/others", "knows no master 'others'"),
    ):
        client = RedisClient(url)
        with pytest.raises(ConfigurationError, match=why):
            await client.connect()
        await client.aclose()


async def test_an_address_that_leads_elsewhere_after_a_failover(folder: Path) -> None:
    """One address stands for the master (a service's name, a load balancer): the former one lives
    on as a replica, to which our connections still lead; they are made anew by themselves.
    """
    former, promoted = (RedisProcess(folder / name) for name in ("former", "promoted"))
    try:
        await asyncio.gather(former.start(), promoted.start())
        async with TcpRelay(("127.0.0.1", former.port), host="127.0.0.77") as relay:
            client = RedisClient(f"redis://127.0.0.77:{former.port}")
            await client.connect()
            await client.write("SET", "a", "1")
            relay.target = ("127.0.0.1", promoted.port)
            await client.write("SET", "b", "2")
            assert await former.ask("GET", "b") == b"2", "connections are not cut by that"
            await former.ask("REPLICAOF", "127.0.0.1", "1")

            async def taken() -> bool:
                with contextlib.suppress(StoreUnavailable):
                    await client.write("SET", "c", "3")
                    return True
                return False

            await until(taken, what="write that is taken", within_s=5)
            assert await promoted.ask("GET", "c") == b"3"
            await client.aclose()
    finally:
        former.kill()
        promoted.kill()


async def test_passwords_of_redis_and_sentinels(sentinel_group: SentinelGroup) -> None:
    """Each has its own; a wrong one is told as such and not quoted."""
    master = await sentinel_group.master()
    await master.ask("CONFIG SET", "requirepass", "redis-word")
    try:
        hosts = sentinel_group.url.partition("://")[2]
        client = RedisClient(f"redis+sentinel://:redis-word@{hosts}")
        await client.connect()
        await client.write("SET", "a", "1")
        await client.aclose()
        client = RedisClient(f"redis+sentinel://:wrong-word@{hosts}")
        with pytest.raises((ConfigurationError, StoreRefused), match="refuses us") as caught:
            await client.connect()
        assert "wrong-word" not in str(caught.value)
        await client.aclose()
    finally:
        async with master.client(password="redis-word") as raw:
            await raw.config_set("requirepass", "")
