"""Redis is refused, silent, full or read-only for a while: the same for calls and operators."""

from __future__ import annotations

import asyncio
import os

from tests.lab.redis_process import RedisProcess

from .conftest import MakeScene

OUTAGE_S = float(os.environ.get("STORE_OUTAGE_S", "3"))
"""30 by hand."""

ROUND_S = 0.5


async def test_an_outage_is_survived(make_scene: MakeScene, redis: RedisProcess) -> None:
    """The port is closed for a while: known phones are called all the time, sleeping ones woken,
    changes by HTTP refused; afterwards all is taken, and what phones did meanwhile is kept.
    """
    scene = await make_scene(redis.url)
    redis.kill()
    await scene.degraded("cannot be reached")
    end = asyncio.get_running_loop().time() + OUTAGE_S
    calls = 0
    while calls < 2 or asyncio.get_running_loop().time() < end:
        await scene.calls_go_on()
        await scene.refuses("new")
        assert (await scene.phone.register()).status == 200
        calls += 1
        await asyncio.sleep(ROUND_S)
    await redis.start()
    await scene.ready()
    await scene.takes("new")
    await scene.service.eventually(
        lambda: scene.service.expect("GET", f"/v1/calls?account={scene.asleep.account}"),
        lambda page: len(page["calls"]) == calls,
        within=10,
        what="calls that were made meanwhile",
    )
    assert "store ready -> unavailable" in scene.service.process.output()
    assert "store unavailable -> ready" in scene.service.process.output()
    await scene.kept()
    await scene.restarted()


async def test_silence_is_survived(make_scene: MakeScene, redis: RedisProcess) -> None:
    """A Redis that takes connections and answers nothing, as behind a lost network path: the same,
    and nothing waits longer than a second or two for it.
    """
    scene = await make_scene(redis.url)
    with redis.frozen():
        await scene.degraded("did not answer")
        await scene.calls_go_on()
        async with asyncio.timeout(3):
            await scene.refuses("new")
    await scene.ready()
    await scene.takes("new")
    await scene.calls_go_on()


async def test_full_memory(make_scene: MakeScene, redis: RedisProcess) -> None:
    """No memory is left (noeviction): nothing known is lost, calls go on, a change is refused with
    Redis' own words; with memory again all is well, and nothing that was taken is half there.
    """
    scene = await make_scene(redis.url)
    await redis.ask("CONFIG SET", "maxmemory-policy", "noeviction")
    await redis.ask("CONFIG SET", "maxmemory", "1")
    await scene.degraded("maxmemory")
    await scene.calls_go_on()
    await scene.refuses("new")
    assert (await scene.phone.register()).status == 200
    assert await scene.service.expect("GET", f"/v1/accounts/{scene.awake.account}")
    await redis.ask("CONFIG SET", "maxmemory", "0")
    await scene.ready()
    assert "new" not in await scene.accounts()
    await scene.takes("new")
    await scene.kept()
    await scene.calls_go_on()


async def test_read_only_replica(make_scene: MakeScene, redis: RedisProcess) -> None:
    """Redis has been made a replica of another (here: of nobody who answers): it reads and does not
    write; calls go on, changes are refused, and as a master again it takes them.
    """
    scene = await make_scene(redis.url)
    await redis.ask("CONFIG SET", "replica-serve-stale-data", "yes")
    await redis.ask("REPLICAOF", "127.0.0.1", "1")
    await scene.degraded("read only replica")
    await scene.calls_go_on()
    await scene.refuses("new")
    await redis.ask("REPLICAOF", "NO", "ONE")
    await scene.ready()
    await scene.takes("new")
    await scene.kept()
