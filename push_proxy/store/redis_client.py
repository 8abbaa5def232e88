"""The connection to Redis: one place where commands are sent and failures are named.

What `redis.url` names decides which server a command goes to (`redis_route`); deadlines and
silence are the server's (`redis_server`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from ..errors import ConfigurationError, StoreUnavailable
from . import scripts
from .redis_cluster_route import ClusterRoute
from .redis_lane import Command
from .redis_route import OneServer, Route
from .redis_sentinel import SentinelRoute
from .redis_server import Server, StoreRefused, Unreached
from .redis_topology import Kind, Topology, parse_topology
from .scripts import Script

__all__ = ["Command", "RedisClient", "StoreRefused", "evalsha"]

_log = structlog.get_logger(__name__)
_One = Callable[[Server, Command], Awaitable[Any]]
_Many = Callable[[Server, Sequence[Command]], Awaitable[list[Any]]]
_OLDEST_SERVER = (7, 0)
_PING_S = 0.5
_HOPS = 5
"""So often a command is sent on: a slot that is moving says ASK, then MOVED."""
_PARTS = 32
"""Keys so many that each master of a cluster has some."""
_ROUTES: dict[Kind, Callable[..., Route]] = {
    Kind.STANDALONE: OneServer,
    Kind.SENTINEL: SentinelRoute,
    Kind.CLUSTER: ClusterRoute,
}


class RedisClient:
    """Sends commands; raises `errors.StoreUnavailable` whenever they may not have been done.

    In a cluster a command goes to the master that has its first key; keys of one command or
    script share a hash tag. Blocking commands have a method of their own: `wait`.
    """

    def __init__(self, url: str, *, timeout_s: float = 1.0) -> None:
        """``url``: see `redis_topology`. ``timeout_s`` bounds every command.

        Raises `errors.ConfigurationError` when the URL is none.
        """
        self._topology: Topology = parse_topology(url)
        self.where = self._topology.shown
        self._timeout_s = timeout_s
        self._route = _ROUTES[self._topology.kind](self._topology, timeout_s=timeout_s)
        self._shapes = _shapes()
        self._opened = False

    @property
    def parts(self) -> int:
        """So many keys, numbered, lie on all masters: one, unless it is a cluster."""
        return _PARTS if self._topology.kind is Kind.CLUSTER else 1

    async def connect(self) -> None:
        """Find and check the servers, and load the scripts.

        Raises `errors.StoreUnavailable`, or `errors.ConfigurationError` when a server
        refuses us, is too old, or is something else than the URL says.
        """
        try:
            await self._open()
            for server, _ in self._route.masters():
                await self._greet(server)
        except StoreRefused as error:
            raise ConfigurationError(str(error)) from None

    async def _open(self) -> None:
        await self._route.open()
        self._opened = True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._route.aclose()

    async def ping(self) -> dict[str, str]:
        """Return when all masters answer within half a second and take writes.

        PING itself is answered by a read-only replica and by a server whose memory is full.
        Returns each master's run id by its name: another one means that it was restarted.
        """
        await self._route.check()
        masters = self._route.masters()
        lives = await asyncio.gather(*(self._ping(*master) for master in masters))
        return {server.where: life for (server, _), life in zip(masters, lives, strict=True)}

    async def call(self, *command: Any) -> Any:
        """One command's reply, in redis-py's shape."""
        return self._shaped(command, await self._one(command, Server.one))

    async def run(self, script: Script, keys: Sequence[str], *args: Any) -> Any:
        """One script's reply, in one round trip."""
        return await self.write(*evalsha(script, keys, *args))

    async def write(self, *command: Any) -> Any:
        """One command's reply as the server gave it; cheap, for the path of calls."""
        return await self._one(command, Server.lane_one)

    async def write_all(self, commands: Sequence[Command], *, in_order: bool = False) -> list[Any]:
        """As `pipeline`, with replies as the server gave them; cheap, for the path of calls."""
        return await self._all(commands, Server.lane_many, in_order=in_order)

    async def pipeline(self, commands: Sequence[Command], *, in_order: bool = False) -> list[Any]:
        """Several commands' replies, in one round trip; not atomic.

        Masters of a cluster get theirs at the same time, unless ``in_order``: then nothing is
        sent before all that stands before it was done.
        """
        replies = await self._all(commands, Server.many, in_order=in_order)
        return [self._shaped(*pair) for pair in zip(commands, replies, strict=True)]

    async def wait(self, *command: Any, wait_s: float) -> Any:
        """A blocking command's reply (XREAD … BLOCK, BLPOP), in redis-py's shape.

        It has a connection of its own, however many of them wait at once; cancelling it closes
        that. ``wait_s`` is how long the command itself blocks at most; the server must have
        answered `timeout_s` after that. Raises as `call`; it is sent twice only when the first
        server said that the key is not there.
        """

        async def send(server: Server, sent: Command) -> Any:
            return await server.blocking(sent, block_s=wait_s)

        return self._shaped(command, await self._one(command, send))

    async def _one(self, command: Command, send: _One) -> Any:
        if not self._opened:
            await self._open()
        server = self._route.server(command)
        try:
            return await send(server, command)
        except (ResponseError, StoreUnavailable) as error:
            return await self._otherwise(command, send, server, error)

    async def _all(self, commands: Sequence[Command], send: _Many, *, in_order: bool) -> list[Any]:
        if not commands:
            return []
        if not self._opened:
            await self._open()
        if self._topology.kind is not Kind.CLUSTER:
            return await self._group(self._route.server(commands[0]), commands, send)
        groups = self._grouped(commands, in_order=in_order)

        async def sent(server: Server, numbers: list[int]) -> list[Any]:
            return await self._group(server, [commands[n] for n in numbers], send)

        if in_order:
            found = [await sent(*group) for group in groups]
        else:
            found = await _together([sent(*group) for group in groups])
        replies: list[Any] = [None] * len(commands)
        for (_, numbers), answers in zip(groups, found, strict=True):
            for number, answer in zip(numbers, answers, strict=True):
                replies[number] = answer
        return replies

    def _grouped(
        self, commands: Sequence[Command], *, in_order: bool
    ) -> list[tuple[Server, list[int]]]:
        groups: list[tuple[Server, list[int]]] = []
        for number, command in enumerate(commands):
            server = self._route.server(command)
            looked = groups[-1:] if in_order else groups
            for known, numbers in looked:
                if known is server:
                    numbers.append(number)
                    break
            else:
                groups.append((server, [number]))
        return groups

    async def _group(self, server: Server, commands: Sequence[Command], send: _Many) -> list[Any]:
        try:
            replies = await send(server, commands)
        except Unreached as error:
            # Whoever took over has these keys, or nobody has.
            replies = [error] * len(commands)
        except StoreUnavailable as error:
            await self._route.instead(commands[0], server, error)
            raise
        for number, reply in enumerate(replies):
            if isinstance(reply, ResponseError | StoreUnavailable):
                replies[number] = await self._otherwise(commands[number], Server.one, server, reply)
        return replies

    async def _otherwise(
        self,
        command: Command,
        send: _One,
        server: Server,
        why: ResponseError | StoreUnavailable,
    ) -> Any:
        """Do at another server, or in another way, what was not done. Raises when there is none."""
        asking = False
        for _ in range(_HOPS):
            if isinstance(why, NoScriptError):
                # Restarted since connect(), or promoted.
                command = evaluated(command)
            elif (found := await self._route.instead(command, server, why)) is not None:
                server, asking = found
            else:
                break
            try:
                if asking:
                    return await _asking(server, command)
                return await send(server, command)
            except (ResponseError, StoreUnavailable) as error:
                why = error
        raise why if isinstance(why, StoreUnavailable) else server.judged(why) from None

    async def _greet(self, server: Server) -> None:
        server.listen_again()
        info = self._shaped(("INFO",), await server.one(("INFO", "server")))
        version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        if version < _OLDEST_SERVER:
            raise ConfigurationError(
                f"Redis at {server.where} is version {info['redis_version']}; 7.0 or newer, or "
                "Valkey, is needed"
            )
        mode = info.get("redis_mode") or info.get("server_mode")
        if mode != self._mode():
            raise ConfigurationError(
                f"Redis at {server.where} runs as {mode}: for a cluster write "
                "redis+cluster://host1:port,host2:port, for sentinels "
                "redis+sentinel://host1:port,host2:port/SERVICE"
            )
        for reply in await server.many([("SCRIPT LOAD", each.text) for each in scripts.ALL]):
            if isinstance(reply, ResponseError):
                raise server.judged(reply)
        await self._warn_of_eviction(server)

    def _mode(self) -> str:
        return "cluster" if self._topology.kind is Kind.CLUSTER else "standalone"

    async def _ping(self, server: Server, key: str) -> str:
        server.listen_again()
        limit_s = min(_PING_S, self._timeout_s)
        # A write in the server's eyes, but XX asks for a key that is never there.
        probe: list[Command] = [("SET", key, "", "XX"), ("INFO", "server")]
        try:
            written, info = await server.many(probe, limit_s)
        except StoreUnavailable as error:
            await self._route.instead(("SET", key), server, error)
            raise
        if isinstance(written, ResponseError):
            if isinstance(written, ReadOnlyError):
                await self._route.instead(("SET", key), server, written)
            raise server.judged(written)
        if isinstance(info, ResponseError):
            raise server.judged(info)
        return str(self._shaped(("INFO",), info)["run_id"])

    def _shaped(self, command: Command, reply: Any) -> Any:
        shape = self._shapes.get(command[0].upper())
        return reply if shape is None else shape(reply)

    async def _warn_of_eviction(self, server: Server) -> None:
        try:
            reply = await server.one(("CONFIG GET", "maxmemory-policy"))
        except (StoreRefused, RedisError) as error:
            _log.debug("cannot read Redis' maxmemory-policy", error=str(error))
            return
        policy = _text(dict(zip(reply[::2], reply[1::2], strict=True)).get(b"maxmemory-policy", ""))
        if policy.startswith("allkeys"):
            _log.warning(
                "Redis may evict accounts when its memory is full: set maxmemory-policy to "
                "noeviction",
                policy=policy,
            )


def evalsha(script: Script, keys: Sequence[str], *args: Any) -> Command:
    """A script as a command for `RedisClient.pipeline`."""
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def evaluated(command: Command) -> Command:
    """The same with the script's text, which the server keeps from then on."""
    return ("EVAL", scripts.by_sha(command[1]).text, *command[2:])


async def _asking(server: Server, command: Command) -> Any:
    """To the node that a slot is moving to, which would say MOVED otherwise."""
    _, reply = await server.many([("ASKING",), command])
    if isinstance(reply, ResponseError):
        raise reply
    return reply


async def _together(sending: Sequence[Awaitable[list[Any]]]) -> list[list[Any]]:
    """All of them to their end, then the first failure if there is one."""
    found = await asyncio.gather(*sending, return_exceptions=True)
    replies: list[list[Any]] = []
    for each in found:
        if isinstance(each, BaseException):
            raise each
        replies.append(each)
    return replies


def _shapes() -> dict[str, Callable[..., Any]]:
    """What redis-py makes of raw replies, by command."""
    client = Redis(connection_pool=ConnectionPool(protocol=2))
    # redis-py would make True of the former value that SET … GET returns.
    return {str(name): shape for name, shape in client.response_callbacks.items() if name != "SET"}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
