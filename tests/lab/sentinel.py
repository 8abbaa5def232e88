"""A Redis master, its replica, and three sentinels that promote it: quorum two, as operators do."""

from __future__ import annotations

import asyncio
from pathlib import Path

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from .ports import free_port
from .process import Process
from .redis_process import RedisProcess, until
from .redis_server import redis_server

SERVICE = "phones"
DOWN_AFTER_MS = 800
SENTINELS = 3


class SentinelGroup:
    """Five processes. A failover takes some two to four seconds from the master's death."""

    def __init__(self, directory: Path, *options: str) -> None:
        """``options`` of both servers."""
        self._directory = directory
        first = RedisProcess(directory / "redis0", *options, name="Redis 0")
        follows = ("--replicaof", "127.0.0.1", str(first.port))
        second = RedisProcess(directory / "redis1", *follows, *options, name="Redis 1")
        self.redises = (first, second)
        self.ports = tuple(free_port() for _ in range(SENTINELS))
        self.sentinels: list[Process] = []

    @property
    def url(self) -> str:
        """For ``redis.url``."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    async def start(self) -> None:
        """Until the sentinels know each other and the replica follows."""
        await asyncio.gather(*(redis.start() for redis in self.redises))
        # One after the other, for they know of no other before.
        self.sentinels = [self._sentinel(port) for port in self.ports]
        for sentinel in self.sentinels:
            sentinel.start()
        await until(self.complete, what="agreement of the sentinels")

    async def master(self) -> RedisProcess:
        """The one that the sentinels name (the most of them)."""
        named = [await self._named(port) for port in self.ports]
        return max(self.redises, key=lambda redis: named.count(redis.port))

    async def replica(self) -> RedisProcess:
        """The other one."""
        master = await self.master()
        return next(redis for redis in self.redises if redis is not master)

    async def complete(self) -> bool:
        """Whether all know all, and the replica has what the master has."""
        try:
            for port in self.ports:
                state = await self._state(port)
                if state.get("num-other-sentinels") != str(SENTINELS - 1):
                    return False
                if state.get("num-slaves") != "1" or state.get("flags") != "master":
                    return False
            replica = await (await self.replica()).ask("INFO", "replication")
        except (RedisError, OSError):
            return False
        return bool(replica["role"] == "slave" and replica.get("master_link_status") == "up")

    async def flush(self) -> None:
        """Empty the master, scripts too; the replica follows."""
        master = await self.master()
        await master.ask("FLUSHALL")
        await master.ask("SCRIPT FLUSH")

    async def healed(self) -> None:
        """Everybody that was ended or frozen is back, and the group is whole."""
        for redis in self.redises:
            if not redis.process.running:
                await redis.start()
        await until(self.complete, what="agreement of the sentinels", within_s=30)

    async def failed_over(self, former: RedisProcess, *, within_s: float = 20) -> RedisProcess:
        """The new master, as soon as all sentinels name it and it takes writes."""

        async def moved() -> bool:
            named = {await self._named(port) for port in self.ports}
            return len(named) == 1 and former.port not in named

        await until(moved, what="failover", within_s=within_s)
        return await self.master()

    async def aclose(self) -> None:
        """End all of it."""
        for process in (*self.sentinels, *(redis.process for redis in self.redises)):
            process.kill()

    def _sentinel(self, port: int) -> Process:
        folder = self._directory / f"sentinel{port}"
        folder.mkdir()
        # A sentinel writes what it learns into its own configuration.
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.redises[0].port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        return Process(
            [redis_server(folder), str(config), "--sentinel"],
            name=f"sentinel {port}",
            log=folder / "sentinel.log",
        )

    async def _named(self, port: int) -> int | None:
        try:
            address = await _asked(port, "SENTINEL GET-MASTER-ADDR-BY-NAME")
        except (RedisError, OSError):
            return None
        return None if address is None else int(address[1])

    async def _state(self, port: int) -> dict[str, str]:
        flat = await _asked(port, "SENTINEL MASTER")
        words = [word.decode() for word in flat or ()]
        return dict(zip(words[::2], words[1::2], strict=True))


async def _asked(port: int, question: str) -> list[bytes] | None:
    connection = Connection(host="127.0.0.1", port=port, protocol=2)
    try:
        await connection.send_command(*question.split(), SERVICE)
        answer: list[bytes] | None = await connection.read_response()
        return answer
    finally:
        await connection.disconnect()
