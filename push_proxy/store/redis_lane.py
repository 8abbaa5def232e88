"""One connection that many commands share: what is asked while it is busy leaves in one write.

redis-py gives each command a connection, a retry loop and a callback of its own, which costs
more than the command. On the path of calls there are half a dozen writes per call, most of
them at the same moment.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from ..tasks import spawn

Command = tuple[Any, ...]
_Waiting = tuple[Command, asyncio.Future[Any]]


class NotReached(RedisConnectionError):
    """There is no connection: nothing was sent, so nothing can have been done."""


class Lane:
    """Sends commands in order and gives each its raw reply (no redis-py callback)."""

    def __init__(self, pool: ConnectionPool, *, timeout_s: float) -> None:
        """``timeout_s``: how long a batch may take before the connection is given up."""
        self._pool = pool
        self._timeout_s = timeout_s
        self._waiting: list[_Waiting] = []
        self._running = False

    async def call(self, command: Command) -> Any:
        """One command's reply. Raises what redis-py raises, `NotReached` and `TimeoutError`."""
        return await self._submit(command)

    async def several(self, commands: Sequence[Command]) -> list[Any]:
        """Several commands' replies; a command's own error stands in its place.

        Raises as `call` when not all of them may have been done.
        """
        replies = await asyncio.gather(*map(self._submit, commands), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, ResponseError):
                raise reply
        return replies

    def _submit(self, command: Command) -> asyncio.Future[Any]:
        reply = asyncio.get_running_loop().create_future()
        self._waiting.append((command, reply))
        if not self._running:
            self._running = True
            spawn(self._run(), name="lane to Redis")
        return reply

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._exchange(batch)
        finally:
            self._running = False

    async def _exchange(self, batch: list[_Waiting]) -> None:
        answers = iter(batch)
        try:
            async with asyncio.timeout(self._timeout_s):
                await exchange(
                    self._pool,
                    [command for command, _ in batch],
                    lambda answer: _settle(next(answers)[1], answer),
                )
        except Exception as error:  # noqa: BLE001 - every asker gets it
            for _, reply in batch:
                _settle(reply, error)


async def exchange(
    pool: ConnectionPool, commands: Sequence[Command], take: Callable[[Any], None]
) -> None:
    """Send all in one write; ``take`` gets each reply, or the `ResponseError` in its place.

    Raises `NotReached` before anything was sent, and what redis-py raises later.
    """
    try:
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    except (RedisConnectionError, OSError) as error:
        raise NotReached(str(error)) from error
    try:
        packed = connection.pack_commands(commands)
        await connection.send_packed_command(packed, check_health=False)
        for _ in commands:
            take(await _read(connection))
    except BaseException:
        # Replies still on their way must not answer somebody else's command.
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


async def _read(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error


def _settle(reply: asyncio.Future[Any], answer: Any) -> None:
    if reply.done():
        return  # its asker has given up
    if isinstance(answer, Exception):
        reply.set_exception(answer)
    else:
        reply.set_result(answer)
