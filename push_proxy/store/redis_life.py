"""Whether Redis still has what it held: a server that comes back empty looks like a new one.

Marks in every part of the key space hold one name, given at the first start and never changed.
Where one is gone, or another one stands, all that was stored there before is gone too. The
older name counts: a store that a new node found empty, and named, is named again by those who
knew what it held.
"""

import os
from collections.abc import Mapping

import structlog

from ..ports import Clock
from ..recovery_ports import StoreEmptied
from . import keys
from .codec import Codec
from .redis_client import RedisClient

_log = structlog.get_logger(__name__)


class LifeInRedis:
    """The store's own identity: a part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock

    def __init__(self) -> None:
        self.lives: Mapping[str, str] = {}
        """See `recovery_ports.LosableStore.lives`."""
        self._name = ""
        self._secrets: dict[str, bytes] = {}
        """As stored, by key: what this process has read or made."""
        self._api_keys: dict[bytes | str, bytes] = {}
        """As stored, by field."""

    async def ping(self) -> None:
        """Return when the store answers within half a second, takes writes and is whole.

        Raises `recovery_ports.StoreEmptied`, or `errors.StoreUnavailable`.
        """
        self.lives = await self._client.ping()
        await self.check_whole()

    async def refound(self) -> None:
        """See `recovery_ports.LosableStore.refound`."""
        await self._client.pipeline(
            [
                *(("SET", key, sealed) for key, sealed in self._secrets.items()),
                *(("HSETNX", keys.API_KEYS, *item) for item in self._api_keys.items()),
            ]
        )
        # Last: until then nobody takes it for whole.
        await self._client.pipeline([("SET", key, self._name) for key in self._marks()])

    async def _found(self) -> None:
        """Name a new store, or learn the name of one that was there."""
        fresh = f"{int(self._clock.now() * 1000):013d}-{os.urandom(8).hex()}"
        marks = self._marks()
        there = [name for name in await self._names() if name]
        if there and len(there) < len(marks):
            _log.error(
                "Redis has lost a part of what it held while nobody was running: accounts on one "
                "of its servers may be gone; import them again or restore that server",
                missing=len(marks) - len(there),
                of=len(marks),
            )
        await self._client.pipeline(
            [("SET", key, min(there, default=fresh), "NX") for key in marks]
        )
        self._name = min(name for name in await self._names() if name)

    async def check_whole(self) -> None:
        """Return when nothing is gone of what was there when this process opened it.

        Raises `recovery_ports.StoreEmptied`, or `errors.StoreUnavailable`.
        """
        names = await self._names()
        if any(name != self._name for name in names):
            older = min((name for name in names if name), default=self._name)
            if older < self._name:
                self._renamed(older)
                return
            gone = sum(name != self._name for name in names)
            raise StoreEmptied(
                f"Redis at {self._client.where} has lost what it held ({gone} of {len(names)} "
                "parts): everything in memory is being written back"
            )

    def _renamed(self, older: str) -> None:
        _log.error(
            "Redis was empty when this node started, and others have given back what it held "
            "before: restart this node, for it has made secrets of its own"
        )
        self._name = older

    async def _names(self) -> list[str]:
        found = await self._client.pipeline([("GET", key) for key in self._marks()])
        return [(name or b"").decode() for name in found]

    def _marks(self) -> list[str]:
        return [keys.life(number) for number in range(self._client.parts)]
