"""One Redis server: its connections, its deadlines, and its failures by name.

redis-py's defaults retry for seconds and wait five more for a silent server. A call cannot:
there are no retries here, every command has a deadline, and after a silent server the next
ones fail at once for a moment instead of queueing up behind it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..errors import StoreUnavailable
from .redis_lane import Command, Lane, NotReached, exchange

_AFTER_SILENCE_S = 0.5
_OUR_OWN_S = 0.2
_CONNECTIONS = 32
# Answers of a server that is up but cannot serve just now; redis-py strips the code from those
# that it has classes for.
_PASSING = ("BUSY", "MISCONF", "NOREPLICAS", "UNBLOCKED")
_PASSING_ERRORS = (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)


class StoreRefused(StoreUnavailable):
    """Redis does not accept our credentials: at the start the configuration's fault."""


class Unreached(StoreUnavailable):
    """Nothing was sent: another server may be asked."""


class Silent(StoreUnavailable):
    """It takes no notice: it may have done what was asked, or may yet."""


class Server:
    """Replies as the server gave them (no redis-py callback).

    A command's own error is `redis.exceptions.ResponseError`, raised or in its reply's place;
    `errors.StoreUnavailable` is raised whenever commands may not have been done.
    """

    def __init__(self, url: str, *, where: str, timeout_s: float) -> None:
        """``url`` is redis-py's; ``where`` names the server in errors."""
        self.where = where
        self._timeout_s = timeout_s
        self._silent_until = 0.0
        settings: dict[str, Any] = {
            "socket_timeout": None,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            # RESP3 would greet with HELLO and subscribe to maintenance notices.
            "protocol": 2,
        }
        # Waiting for a connection counts against the command's own deadline.
        self._pool = BlockingConnectionPool.from_url(
            url, max_connections=_CONNECTIONS, timeout=None, **settings
        )
        self._blocked = ConnectionPool.from_url(url, **settings)
        self._lane = Lane(self._pool, timeout_s=timeout_s)

    def listen_again(self) -> None:
        """Forget that it was silent."""
        self._silent_until = 0.0

    async def reconnect(self) -> None:
        """The next commands go by new connections."""
        await self._pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Close the connections; what is on its way fails."""
        await self._pool.disconnect()
        await self._blocked.disconnect()

    async def leave(self) -> None:
        """Close the connections when what is on its way has had its time; waiting readers fail."""
        await self._blocked.disconnect()
        await asyncio.sleep(self._timeout_s)
        await self._pool.disconnect()

    async def lane_one(self, command: Command) -> Any:
        """In the lane that many commands share: cheap, for the path of calls."""
        return await self._guarded(lambda: self._lane.call(command), self._timeout_s)

    async def lane_many(self, commands: Sequence[Command]) -> list[Any]:
        """As `lane_one`."""
        replies: list[Any] = await self._guarded(
            lambda: self._lane.several(commands), self._timeout_s
        )
        return replies

    async def one(self, command: Command, timeout_s: float | None = None) -> Any:
        """On a connection of its own: what is large holds up no other."""
        (reply,) = await self.many([command], timeout_s)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def many(self, commands: Sequence[Command], timeout_s: float | None = None) -> list[Any]:
        """As `one`, in one round trip."""
        replies: list[Any] = []

        async def send() -> None:
            await exchange(self._pool, commands, replies.append)

        await self._guarded(send, self._timeout_s if timeout_s is None else timeout_s)
        return replies

    async def blocking(self, command: Command, *, block_s: float) -> Any:
        """A command that the server answers within ``block_s``, on a connection of its own.

        However many of them wait, no other command waits behind them.
        """
        replies: list[Any] = []

        async def send() -> None:
            await exchange(self._blocked, [command], replies.append)

        await self._guarded(send, block_s + self._timeout_s)
        if isinstance(replies[0], ResponseError):
            raise replies[0]
        return replies[0]

    async def _guarded(self, send: Callable[[], Awaitable[Any]], timeout_s: float) -> Any:
        began = time.monotonic()
        if began < self._silent_until:
            raise Silent(f"Redis at {self.where} is silent; trying again in a moment")
        try:
            async with asyncio.timeout(timeout_s):
                return await send()
        except (TimeoutError, RedisTimeoutError) as error:
            if isinstance(error, RedisTimeoutError):
                timeout_s = self._timeout_s  # for the connection alone
            now = time.monotonic()
            # A hasty probe says nothing to the others, nor does a read that waited long, nor a
            # limit that we noticed too late: then we stood still ourselves.
            if timeout_s == self._timeout_s and now - began - timeout_s < _OUR_OWN_S:
                self._silent_until = now + _AFTER_SILENCE_S
            raise Silent(
                f"Redis at {self.where} did not answer within {timeout_s:g} s: is it blocked or "
                "overloaded?"
            ) from None
        except (RedisConnectionError, NoPermissionError, OSError) as error:
            if is_refusal(error):
                raise self._refused(error) from None
            kind = Unreached if isinstance(error, NotReached) else StoreUnavailable
            raise kind(
                f"Redis at {self.where} cannot be reached: {error}; is it running?"
            ) from None

    def judged(self, error: ResponseError) -> Exception:
        """A command's error: `errors.StoreUnavailable` when it passes by itself."""
        if isinstance(error, NoPermissionError):
            return self._refused(error)
        if str(error).startswith(_PASSING) or isinstance(error, _PASSING_ERRORS):
            return StoreUnavailable(f"Redis at {self.where} cannot serve now: {error}")
        return error

    def _refused(self, error: BaseException) -> StoreRefused:
        return StoreRefused(
            f"Redis at {self.where} refuses us: {error}; check user and password in redis.url"
        )


def is_refusal(error: BaseException | None) -> bool:
    """Whether credentials are at fault; redis-py wraps its own errors while it connects."""
    while error is not None:
        if isinstance(error, AuthenticationError | NoPermissionError):
            return True
        error = error.__cause__ or error.__context__
    return False
