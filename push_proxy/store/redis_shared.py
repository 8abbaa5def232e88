"""Values in Redis that all nodes have in common for a time."""

import structlog

from ..errors import ConfigurationError
from . import keys, scripts
from .codec import Codec
from .redis_client import RedisClient

_log = structlog.get_logger(__name__)


class SharedInRedis:
    """`ports.SharedValues`' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec

    async def share(
        self, name: str, value: bytes, *, ttl_s: float, replacing: bytes | None = None
    ) -> bytes:
        """See `ports.SharedValues.share`."""
        key = keys.shared(name)
        sealed = self._codec.ring.seal(value, key).encode()
        ttl_ms = max(1, int(ttl_s * 1000))
        kept: bytes = await self._client.run(scripts.SHARE, [key], b"", sealed, ttl_ms)
        if kept == sealed:
            return value
        plain = self._opened(kept, key)
        if plain is not None and plain != replacing:
            return plain
        # Sealing is never the same twice: what gives way is named as it is stored.
        kept = await self._client.run(scripts.SHARE, [key], kept, sealed, ttl_ms)
        if kept == sealed:
            return value
        return self._opened(kept, key) or value

    def _opened(self, sealed: bytes, key: str) -> bytes | None:
        """None: no key of ours opens it. It is a copy that can be made again, so it gives way."""
        try:
            return self._codec.ring.unseal(sealed.decode(), key)
        except ConfigurationError as error:
            _log.warning("a shared value cannot be read and is replaced", error=str(error))
            return None
