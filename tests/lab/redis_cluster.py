"""A Redis Cluster of three masters without replicas."""

from __future__ import annotations

import asyncio
from pathlib import Path

from redis.exceptions import RedisError

from .ports import free_port
from .redis_process import RedisProcess, until

MASTERS = 3
SLOTS = 16_384


class ClusterGroup:
    """Three processes; slots are split evenly."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.redises = tuple(
            RedisProcess(
                directory / f"redis{number}",
                *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
                *("--cluster-node-timeout", "1000"),
                *options,
                name=f"Redis {number}",
            )
            for number in range(MASTERS)
        )

    @property
    def url(self) -> str:
        """For ``redis.url``: one that is a part of it is enough, two are named."""
        hosts = ",".join(f"127.0.0.1:{redis.port}" for redis in self.redises[:2])
        return f"redis+cluster://{hosts}"

    async def start(self) -> None:
        """Until each of them says that the cluster is well."""
        await asyncio.gather(*(redis.start() for redis in self.redises))
        first, *others = self.redises
        share = SLOTS // MASTERS + 1
        for number, redis in enumerate(self.redises):
            last = min((number + 1) * share, SLOTS) - 1
            await redis.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
            await redis.ask("CLUSTER ADDSLOTSRANGE", number * share, last)
        for redis in others:
            await first.ask("CLUSTER MEET", "127.0.0.1", redis.port, _bus_port(redis))
        await until(self.well, what="cluster that is well")

    async def well(self) -> bool:
        """Whether all of them see all slots served."""
        try:
            states = [await redis.ask("CLUSTER INFO") for redis in self.redises]
        except (RedisError, OSError):
            return False
        return all(
            state["cluster_state"] == "ok" and state["cluster_known_nodes"] == str(MASTERS)
            for state in states
        )

    async def flush(self) -> None:
        """Empty all of them, scripts too."""
        for redis in self.redises:
            await redis.ask("FLUSHALL")
            await redis.ask("SCRIPT FLUSH")

    async def move_slot(self, slot: int, *, finish: bool = True) -> None:
        """Move a slot with its keys to the next master; unfinished: half way, its keys moved."""
        here, there = await self._way(slot)
        await there.ask("CLUSTER SETSLOT", slot, "IMPORTING", await self._id(here))
        await here.ask("CLUSTER SETSLOT", slot, "MIGRATING", await self._id(there))
        for key in await here.ask("CLUSTER GETKEYSINSLOT", slot, 1000):
            await here.ask("MIGRATE", "127.0.0.1", there.port, key, 0, 5000)
        if finish:
            await self._give(slot, there)

    async def end_move(self, slot: int) -> None:
        """The rest of an unfinished one."""
        _, there = await self._way(slot)
        await self._give(slot, there)

    async def _way(self, slot: int) -> tuple[RedisProcess, RedisProcess]:
        """Who has it, and the next one."""
        for first, last, (_, port, *_), *_ in await self.redises[0].ask("CLUSTER SLOTS"):
            if first <= slot <= last:
                number = [redis.port for redis in self.redises].index(port)
                return self.redises[number], self.redises[(number + 1) % MASTERS]
        raise ValueError(f"nobody has slot {slot}")

    async def _give(self, slot: int, there: RedisProcess) -> None:
        name = await self._id(there)
        for redis in (there, *self.redises):
            await redis.ask("CLUSTER SETSLOT", slot, "NODE", name)

    async def _id(self, redis: RedisProcess) -> str:
        return str((await redis.ask("CLUSTER MYID")).decode())

    async def aclose(self) -> None:
        """End all of it."""
        for redis in self.redises:
            redis.kill()


def _bus_port(redis: RedisProcess) -> int:
    options = redis.process.argv
    return int(options[options.index("--cluster-port") + 1])
