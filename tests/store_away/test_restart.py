"""Redis ends and comes back while the service runs: whole, or empty."""

from __future__ import annotations

from tests.lab.redis_process import RedisProcess

from .conftest import MakeScene


async def test_restart_with_its_file(make_scene: MakeScene, redis: RedisProcess) -> None:
    """Killed and started again with what it had appended to its file: scripts and connections are
    made anew, and nothing is missing.
    """
    scene = await make_scene(redis.url)
    redis.kill()
    await redis.start()
    await scene.ready()
    await scene.takes("new")
    await scene.calls_go_on()
    assert "has lost what it held" not in scene.service.process.output()
    await scene.kept()


async def test_back_with_nothing(make_scene: MakeScene, redis: RedisProcess) -> None:
    """Killed, its disk lost, started empty: told as a loss, then everything that memory knows is
    there again, so that a restart of the service finds accounts, devices, bindings, API keys and
    secrets; calls go on all the time.
    """
    scene = await make_scene(redis.url)
    before = await redis.ask("GET", "pp:secret:route-token")
    redis.kill()
    await redis.forget()
    await scene.service.process.wait_for("has lost what it held", within_s=5)
    await scene.service.process.wait_for("the store has back what this node knew", within_s=5)
    await scene.ready()
    assert await redis.ask("GET", "pp:secret:route-token") == before
    await scene.calls_go_on()
    await scene.kept()
    await scene.restarted()


async def test_emptied_by_hand(make_scene: MakeScene, redis: RedisProcess) -> None:
    """FLUSHALL under a running service is noticed within seconds, without any restart, and
    everything that memory knows is given back.
    """
    scene = await make_scene(redis.url)
    await redis.ask("FLUSHALL")
    await scene.service.process.wait_for("the store has back what this node knew", within_s=5)
    await scene.ready()
    await scene.takes("new")
    await scene.kept()
    await scene.calls_go_on()
