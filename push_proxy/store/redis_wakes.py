"""Wake histories in Redis."""

from collections.abc import Mapping, Sequence

import structlog

from ..core.ids import AccountKey, CallId, DeviceId
from ..core.wake_health import KEPT, Standing, WakeResult
from . import keys, scripts
from .codec import Codec, UnreadableValue
from .redis_client import Command, RedisClient, evalsha

_log = structlog.get_logger(__name__)


class WakesInRedis:
    """The wake histories' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec

    async def put_wakes(
        self,
        key: AccountKey,
        device: DeviceId,
        results: Sequence[WakeResult],
        *,
        after: CallId | None,
    ) -> bool:
        """See `wake_ports.WakeStore.put_wakes`. One round trip."""
        if not results:
            return True
        member = keys.member(key, device)
        stopped = results[-1].standing is Standing.STOPPED
        rows = [part for each in results for part in (each.call, self._codec.encode(each, key))]
        commands: list[Command] = [
            ("SADD" if stopped else "SREM", keys.NOT_WAKING, member),
            evalsha(
                scripts.PUT_WAKES,
                [keys.devices(key), keys.wakes(key)],
                device,
                KEPT,
                after or "",
                *rows,
            ),
        ]
        _, known = await self._client.write_all(commands, in_order=True)
        return bool(known)

    async def wakes(self, key: AccountKey, device: DeviceId) -> tuple[WakeResult, ...]:
        """See `wake_ports.WakeStore.wakes`."""
        return self._results(key, await self._client.call("HGET", keys.wakes(key), device) or b"")

    async def wakes_of_account(self, key: AccountKey) -> Mapping[DeviceId, tuple[WakeResult, ...]]:
        """See `wake_ports.WakeStore.wakes_of_account`."""
        stored = await self._client.call("HGETALL", keys.wakes(key))
        return {
            DeviceId(name.decode()): self._results(key, lines) for name, lines in stored.items()
        }

    async def not_waking(self) -> tuple[tuple[AccountKey, DeviceId], ...]:
        """See `wake_ports.WakeStore.not_waking`."""
        members = await self._client.call("SMEMBERS", keys.NOT_WAKING)
        return tuple(sorted(keys.of_member(member) for member in members))

    def _results(self, key: AccountKey, lines: bytes) -> tuple[WakeResult, ...]:
        found: list[WakeResult] = []
        for line in lines.splitlines():
            try:
                found.append(self._codec.decode(WakeResult, line, key))
            except UnreadableValue as error:
                _log.error("wake left out: cannot be read", account=key, error=str(error))
        return tuple(found)
