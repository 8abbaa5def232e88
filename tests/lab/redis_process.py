"""Debian's Redis as a process of its own, killed, frozen and started again by tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .ports import free_port
from .process import Process, ProcessError
from .redis_server import redis_server

START_S = 15.0
POLL_S = 0.02


class RedisProcess:
    """One server on a loopback port; what it appended to its file is there after a restart."""

    def __init__(
        self, directory: Path, *options: str, port: int | None = None, name: str = "Redis"
    ) -> None:
        """``options`` as on its command line; those of ours may be named again."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = port or free_port()
        self.process = Process(
            [
                redis_server(directory),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
                *options,
            ],
            name=name,
            log=directory / "redis.log",
        )

    @property
    def url(self) -> str:
        """For ``redis.url``."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Until it has read its file and answers. Raises ProcessError."""
        self.process.start()
        await until(self._answers, what=f"answer of {self.process.name}", process=self.process)

    async def stop(self) -> None:
        """As its operator would: everything is on disk."""
        await self.process.stop()

    def kill(self) -> None:
        """At once."""
        self.process.kill()

    async def forget(self) -> None:
        """Start again with nothing (the disk was lost); it must have been ended."""
        for path in (self.directory / "appendonlydir").glob("*"):
            path.unlink()
        await self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    async def ask(self, *command: Any) -> Any:
        """One command's reply, on a connection of its own."""
        async with self.client() as client:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    def client(self, **options: Any) -> Redis:
        """Of redis-py's."""
        return Redis(host="127.0.0.1", port=self.port, protocol=2, **options)

    async def _answers(self) -> bool:
        try:
            return bool(await self.ask("PING"))
        except (RedisError, OSError):
            return False


async def until(
    condition: Callable[[], Awaitable[bool]],
    *,
    what: str,
    within_s: float = START_S,
    process: Process | None = None,
) -> None:
    """Ask until it holds. Raises ProcessError when it does not in time."""
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline or (process is not None and not process.running):
            said = process.output()[-2000:] if process is not None else ""
            raise ProcessError(f"no {what} within {within_s:g} s; {said}")
        await asyncio.sleep(POLL_S)
