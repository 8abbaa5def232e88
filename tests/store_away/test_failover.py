"""The master is lost: sentinels promote its replica, a cluster has lost a third of its slots."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lab.redis_cluster import ClusterGroup
from tests.lab.redis_process import until
from tests.lab.sentinel import SentinelGroup

from .conftest import MakeScene

FAILOVER_S = 60.0
"""Sentinels that are starved of time promote nobody for half a minute."""


@pytest.fixture
async def sentinels(workdir: Path) -> AsyncIterator[SentinelGroup]:
    """Whole, and this test's alone."""
    # Not "always": a disk that is busy would hold up every write.
    group = SentinelGroup(workdir / "sentinels", "--appendfsync", "everysec")
    await group.start()
    yield group
    await group.aclose()


@pytest.fixture
async def masters(workdir: Path) -> AsyncIterator[ClusterGroup]:
    """Three, and this test's alone."""
    group = ClusterGroup(workdir / "cluster", "--appendfsync", "everysec")
    await group.start()
    yield group
    await group.aclose()


async def test_master_dies(make_scene: MakeScene, sentinels: SentinelGroup) -> None:
    """The master is killed: until its replica is promoted calls go on and changes are refused;
    then writes are taken there by themselves, with all that was acknowledged before; the former
    master comes back as a replica and is left alone.
    """
    scene = await make_scene(sentinels.url)
    for number in range(20):
        await scene.takes(f"before-{number}")
    former = await sentinels.master()
    former.kill()
    await scene.degraded("redis.url")
    await scene.calls_go_on()
    await scene.refuses("meanwhile")
    promoted = await sentinels.failed_over(former, within_s=FAILOVER_S)
    await scene.ready()
    await scene.service.process.wait_for("Redis master has moved", within_s=1)
    await scene.takes("afterwards")
    await scene.calls_go_on()
    await sentinels.healed()
    await scene.takes("at-last")
    assert await promoted.ask("EXISTS", "pp:{demo/at-last}:account") == 1
    await scene.kept()
    assert len(await scene.accounts()) == 20 + 2 + 2


async def test_master_hangs_and_wakes_as_a_replica(
    make_scene: MakeScene, sentinels: SentinelGroup
) -> None:
    """The master stands still until another was promoted, then wakes and still thinks that it is
    the master: nothing is written there, and what it has comes from the new one.
    """
    scene = await make_scene(sentinels.url)
    former = await sentinels.master()
    with former.frozen():
        await scene.degraded("did not answer")
        await scene.calls_go_on()
        promoted = await sentinels.failed_over(former, within_s=FAILOVER_S)
        await scene.ready()
        await scene.takes("new")
    await scene.takes("newer")
    await sentinels.healed()
    await scene.ready()
    for name in ("new", "newer"):
        assert await promoted.ask("EXISTS", f"pp:{{demo/{name}}}:account") == 1
        assert await former.ask("EXISTS", f"pp:{{demo/{name}}}:account") == 1
    await scene.calls_go_on()
    await scene.kept()


async def test_what_the_replica_lacked_is_written_again(
    make_scene: MakeScene, sentinels: SentinelGroup
) -> None:
    """Replication is asynchronous: the replica had not received the last changes when the master
    died. The node that made them writes them again; where no node lives on they are lost.
    """
    scene = await make_scene(sentinels.url)
    former, replica = await sentinels.master(), await sentinels.replica()
    await scene.ready()
    os.kill(replica.process.pid, signal.SIGSTOP)
    try:
        await former.ask("CLIENT", "KILL", "TYPE", "replica")
        await scene.takes("not-replicated")
        former.kill()
    finally:
        os.kill(replica.process.pid, signal.SIGCONT)
    promoted = await sentinels.failed_over(former, within_s=FAILOVER_S)
    await scene.ready()
    key = "pp:{demo/not-replicated}:account"

    async def there() -> bool:
        return bool(await promoted.ask("EXISTS", key))

    await until(there, what="account that the replica lacked", within_s=10)
    assert "written again" in scene.service.process.output()
    await scene.kept()
    assert "not-replicated" in await scene.accounts()


async def test_a_third_of_a_cluster_is_away(make_scene: MakeScene, masters: ClusterGroup) -> None:
    """One of three masters without replicas dies: calls go on, changes are refused, readiness names
    the node; it comes back with its file, and all is well.
    """
    scene = await make_scene(masters.url)
    lost = masters.redises[1]
    lost.kill()
    await scene.degraded("redis.url")
    await scene.calls_go_on()
    for number in range(6):
        await scene.refused_or_taken(f"name-{number}")
    await lost.start()
    await scene.ready()
    for number in range(6):
        await scene.takes(f"name-{number}")
    await scene.calls_go_on()
    await scene.kept()


async def test_a_third_of_a_cluster_comes_back_empty(
    make_scene: MakeScene, masters: ClusterGroup
) -> None:
    """The disk of one of three masters was lost: accounts, indexes and secrets that were there are
    given back, those of the others stay, and the next start finds all of them.
    """
    scene = await make_scene(masters.url)
    for number in range(12):
        await scene.takes(f"name-{number}")
    for lost in masters.redises:
        await lost.ask("FLUSHALL")
        mark = scene.service.process.output_size()
        await scene.service.process.wait_for(
            "the store has back what this node knew", within_s=6, since=mark
        )
        await scene.ready()
    await scene.calls_go_on()
    await scene.kept()
    assert len(await scene.accounts()) == 14
