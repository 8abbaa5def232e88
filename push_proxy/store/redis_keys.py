"""API keys, enrolment codes, idempotency and service secrets in Redis."""

import base64
import os

from ..core.ids import Instant, TenantId
from ..core.model import Enrolment
from ..ports import ApiKey, Clock
from . import keys
from .codec import Codec
from .redis_client import RedisClient
from .redis_life import LifeInRedis


class KeysInRedis(LifeInRedis):
    """The keys' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock

    async def put_api_key(self, key: ApiKey) -> None:
        """See `ports.Store.put_api_key`."""
        data = self._codec.encode(key, keys.API_KEYS)
        field = f"{key.tenant}/{key.name}"
        await self._client.call("HSET", keys.API_KEYS, field, data)
        self._api_keys[field] = data

    async def api_keys(self) -> tuple[ApiKey, ...]:
        """See `ports.Store.api_keys`."""
        stored = await self._client.call("HGETALL", keys.API_KEYS)
        self._api_keys = dict(stored)
        found = [self._codec.decode(ApiKey, data, keys.API_KEYS) for data in stored.values()]
        return tuple(sorted(found, key=lambda key: (key.tenant, key.name)))

    async def put_enrolment(self, enrolment: Enrolment) -> None:
        """See `ports.Store.put_enrolment`."""
        code, owned = enrolment.code_sha256, keys.enrolments(enrolment.account)
        until_ms = int((enrolment.expires_at + keys.EXPIRY_SLACK_S) * 1000)
        data = self._codec.encode(enrolment, code)
        # Listed first: a code that is not listed would outlive its account.
        await self._client.pipeline(
            [
                ("SADD", owned, code),
                ("PEXPIREAT", owned, until_ms, "NX"),
                ("PEXPIREAT", owned, until_ms, "GT"),
                ("SET", keys.enrolment(code), data, "PXAT", until_ms),
            ],
            in_order=True,
        )

    async def take_enrolment(self, code_sha256: str, *, now: Instant) -> Enrolment | None:
        """See `ports.Store.take_enrolment`."""
        data = await self._client.call("GETDEL", keys.enrolment(code_sha256))
        if data is None:
            return None
        enrolment = self._codec.decode(Enrolment, data, code_sha256)
        await self._client.call("SREM", keys.enrolments(enrolment.account), code_sha256)
        return enrolment if enrolment.expires_at > now else None

    async def idempotent(
        self, tenant: TenantId, key: str, response: bytes | None, *, ttl_s: float
    ) -> bytes | None:
        """See `ports.Store.idempotent`. Sealed: a response may show a new key once."""
        name = keys.idempotent(tenant, key)
        if response is None:
            kept = await self._client.call("GET", name)
        else:
            kept = await self._client.call(
                "SET", name, self._codec.ring.seal(response, name), "NX", "GET",
                "PX", max(1, int(ttl_s * 1000)),
            )  # fmt: skip
        return None if kept is None else self._codec.ring.unseal(kept.decode(), name)

    async def secret(self, name: str, *, size: int) -> bytes:
        """See `ports.Store.secret`."""
        key, ring = keys.secret(name), self._codec.ring
        kept = await self._client.call("GET", key)
        if kept is None:
            made = ring.seal(base64.b64encode(os.urandom(size)), key)
            await self._client.call("SET", key, made, "NX")
            kept = await self._client.call("GET", key)
        value = ring.unseal(kept.decode(), key)
        if ring.outdated(kept.decode()):
            kept = ring.seal(value, key).encode()
            await self._client.call("SET", key, kept, "XX")
        self._secrets[key] = kept
        return base64.b64decode(value)
