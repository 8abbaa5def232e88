"""The connection to Redis: one place where commands are sent and failures are named.

redis-py's defaults retry for seconds and wait five more for a silent server. A call cannot:
there are no retries here, every command has a deadline, and after a silent server the next
ones fail at once for a moment instead of queueing up behind it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..errors import ConfigurationError, StoreUnavailable
from . import scripts
from .redis_lane import Lane
from .scripts import Script

_log = structlog.get_logger(__name__)

Command = tuple[Any, ...]
_Send = Callable[[], Awaitable[Any]]
_OLDEST_SERVER = (7, 0)
_PING_S = 0.5
_AFTER_SILENCE_S = 0.5
# A write in the server's eyes, but XX asks for a key that is never there.
_WRITES_NOTHING: Command = ("SET", "pp:takes-writes", "", "XX")
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


class RedisClient:
    """Sends commands; raises `errors.StoreUnavailable` whenever they may not have been done."""

    def __init__(self, url: str, *, timeout_s: float = 1.0, max_connections: int = 32) -> None:
        """``url``: ``redis://``, ``rediss://`` or ``unix://``.

        Raises `errors.ConfigurationError` when it is none of these.
        """
        self.where = _without_password(url)
        self._timeout_s = timeout_s
        self._silent_until = 0.0
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=max_connections,
                # Waiting for a connection counts against the command's own deadline.
                timeout=None,
                socket_timeout=None,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                # RESP3 would greet with HELLO and subscribe to maintenance notices.
                protocol=2,
            )
        except ValueError as error:
            raise ConfigurationError(f"redis.url {self.where!r}: {error}") from None
        self._redis = Redis.from_pool(pool)
        self._lane = Lane(pool, timeout_s=timeout_s)
        # redis-py would make True of the former value that SET … GET returns.
        self._redis.set_response_callback("SET", _as_it_is)

    async def connect(self) -> None:
        """Check the server and load the scripts.

        Raises `errors.StoreUnavailable`, or `errors.ConfigurationError` when the server
        refuses us or is too old.
        """
        self._silent_until = 0.0
        try:
            info = await self.call("INFO", "server")
        except StoreRefused as error:
            raise ConfigurationError(str(error)) from None
        version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        if version < _OLDEST_SERVER:
            raise ConfigurationError(
                f"Redis at {self.where} is version {info['redis_version']}; 7.0 or newer, or "
                "Valkey, is needed"
            )
        await self.pipeline([("SCRIPT LOAD", script.text) for script in scripts.ALL])
        await self._warn_of_eviction()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose(close_connection_pool=True)

    async def ping(self) -> None:
        """Return when the server answers within half a second and takes writes.

        PING itself is answered by a read-only replica and by a server whose memory is full.
        """
        self._silent_until = 0.0
        await self._guarded(self._one(_WRITES_NOTHING), min(_PING_S, self._timeout_s))

    async def call(self, *command: Any) -> Any:
        """One command's reply."""
        return await self._guarded(self._one(command), self._timeout_s)

    async def wait(self, *command: Any, wait_s: float) -> Any:
        """A blocking command's reply; ``wait_s`` is how long the server is asked to wait.

        It has a connection to itself meanwhile.
        """
        return await self._guarded(self._one(command), wait_s + self._timeout_s)

    async def run(self, script: Script, keys: Sequence[str], *args: Any) -> Any:
        """One script's reply, in one round trip."""
        try:
            return await self.write(*evalsha(script, keys, *args))
        except NoScriptError:
            # The server was restarted since connect().
            return await self.write("EVAL", script.text, len(keys), *keys, *args)

    async def write(self, *command: Any) -> Any:
        """One command's reply as the server gave it; cheap, for the path of calls."""
        return await self._guarded(lambda: self._lane.call(command), self._timeout_s)

    async def write_all(self, commands: Sequence[Command]) -> list[Any]:
        """As `pipeline`, with replies as the server gave them; cheap, for the path of calls."""
        return await self._checked(lambda: self._lane.several(commands))

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Several commands' replies, in one round trip; not atomic."""
        if not commands:
            return []
        return await self._checked(self._several(commands))

    async def _checked(self, send: _Send) -> list[Any]:
        replies: list[Any] = await self._guarded(send, self._timeout_s)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            # All commands are safe to repeat: each sets values, none counts.
            await self.connect()
            replies = await self._guarded(send, self._timeout_s)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise self._judged(reply)
        return replies

    def _one(self, command: Command) -> _Send:
        return lambda: self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    def _several(self, commands: Sequence[Command]) -> _Send:
        def send() -> Awaitable[Any]:
            pipe = self._redis.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            # Raised by redis-py, an error would quote the whole command with its data.
            return pipe.execute(raise_on_error=False)

        return send

    def _judged(self, error: ResponseError) -> Exception:
        if str(error).startswith(_PASSING) or isinstance(error, _PASSING_ERRORS):
            return StoreUnavailable(f"Redis at {self.where} cannot serve now: {error}")
        return error

    async def _guarded(self, send: _Send, timeout_s: float) -> Any:
        if time.monotonic() < self._silent_until:
            raise StoreUnavailable(f"Redis at {self.where} is silent; trying again in a moment")
        try:
            async with asyncio.timeout(timeout_s):
                return await send()
        except (TimeoutError, RedisTimeoutError):
            self._silent_until = time.monotonic() + _AFTER_SILENCE_S
            raise StoreUnavailable(
                f"Redis at {self.where} did not answer within {timeout_s:g} s: is it blocked or "
                "overloaded?"
            ) from None
        except (RedisConnectionError, NoPermissionError, OSError) as error:
            if _is_refusal(error):
                raise StoreRefused(
                    f"Redis at {self.where} refuses us: {error}; check user and password in "
                    "redis.url"
                ) from None
            raise StoreUnavailable(
                f"Redis at {self.where} cannot be reached: {error}; is it running?"
            ) from None
        except ResponseError as error:
            raise self._judged(error) from None

    async def _warn_of_eviction(self) -> None:
        try:
            reply = await self.call("CONFIG GET", "maxmemory-policy")
        except (StoreRefused, RedisError) as error:
            _log.debug("cannot read Redis' maxmemory-policy", error=str(error))
            return
        policy = _text(dict(reply).get("maxmemory-policy", ""))
        if policy.startswith("allkeys"):
            _log.warning(
                "Redis may evict accounts when its memory is full: set maxmemory-policy to "
                "noeviction",
                policy=policy,
            )


def evalsha(script: Script, keys: Sequence[str], *args: Any) -> Command:
    """A script as a command for `RedisClient.pipeline`."""
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def _is_refusal(error: BaseException | None) -> bool:
    """Whether credentials are at fault; redis-py wraps its own errors while it connects."""
    while error is not None:
        if isinstance(error, AuthenticationError | NoPermissionError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _as_it_is(response: Any, **_: Any) -> Any:
    return response


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
