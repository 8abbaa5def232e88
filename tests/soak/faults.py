"""What goes wrong beside the calls: provider, store and PBX are away for moments."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.redis_server import redis_server

BEFORE_S, AFTER_S = 0.5, 3.0
"""A fault counts for calls that began so long after it, too: its traces last that long."""
FREEZE_S = 2.0
_START_S = 10.0


class RedisProcess:
    """Debian's Redis, its data on disk over a restart."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self.process = Process(
            [redis_server(directory), "--port", str(port), "--bind", "127.0.0.1",
             "--dir", str(directory), "--appendonly", "yes", "--appendfsync", "everysec",
             "--save", ""],
            name="Redis",
            log=directory / "redis.log",
        )  # fmt: skip

    async def start(self) -> None:
        """Until it answers."""
        self.process.start()
        deadline = time.monotonic() + _START_S
        client = Redis.from_url(self.url)
        try:
            while True:
                try:
                    await client.ping()
                    return
                except (RedisError, OSError):
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.05)
        finally:
            await client.aclose()

    async def freeze(self) -> None:
        """Alive, and silent for a while."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(FREEZE_S)
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    async def restart(self) -> None:
        """Ended as by its operator, and back."""
        await self.process.stop()
        await asyncio.sleep(0.5)
        await self.start()


@dataclass(slots=True)
class Trouble:
    """A fault that happened."""

    name: str
    began: float
    ended: float = float("inf")


class Faults:
    """Causes one fault after the other, drawn from the seed."""

    def __init__(
        self, rng: random.Random, causes: dict[str, Callable[[], Awaitable[None]]]
    ) -> None:
        """``causes``: by a name whose first word is what is away; each lasts until it returns."""
        self._rng = rng
        self._causes = causes
        self.happened: list[Trouble] = []

    async def run(self, *, every_s: float) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * every_s)
            name = self._rng.choice(sorted(self._causes))
            trouble = Trouble(name.partition(" ")[0], time.monotonic())
            self.happened.append(trouble)
            try:
                await self._causes[name]()
            finally:
                trouble.ended = time.monotonic()

    def during(self, began: float, ended: float) -> frozenset[str]:
        """What was away in that time, or just before."""
        return frozenset(
            trouble.name
            for trouble in self.happened
            if trouble.began - BEFORE_S <= ended and began <= trouble.ended + AFTER_S
        )
