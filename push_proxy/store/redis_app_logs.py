"""Apps' logs in Redis."""

from ..core.app_log import AppLog
from ..core.ids import AccountKey, DeviceId
from ..ports import Clock
from . import keys, scripts
from .codec import Codec
from .redis_client import RedisClient
from .search import HistoryLimits


class AppLogsInRedis:
    """The apps' logs' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock
    _history: HistoryLimits

    async def put_app_log(
        self, key: AccountKey, device: DeviceId, log: AppLog, content: bytes
    ) -> bool:
        """See `wake_ports.AppLogStore.put_app_log`. One round trip."""
        keep_s = self._history.app_logs_keep_s
        kept = await self._client.run(
            scripts.PUT_APP_LOG,
            [keys.devices(key), *keys.app_logs(key)],
            device,
            log.id,
            self._codec.encode(log, key),
            self._codec.ring.seal(content, _place(key, _field(device, log.id))),
            self._history.app_logs_per_device,
            repr(self._clock.now() - keep_s),
            int((self._clock.now() + keep_s) * 1000),
        )
        return bool(kept)

    async def app_logs(self, key: AccountKey, device: DeviceId) -> tuple[AppLog, ...]:
        """See `wake_ports.AppLogStore.app_logs`."""
        notes, _ = keys.app_logs(key)
        lines: bytes = await self._client.call("HGET", notes, device) or b""
        found = (self._codec.decode(AppLog, line, key) for line in lines.splitlines())
        oldest = self._clock.now() - self._history.app_logs_keep_s
        return tuple(log for log in found if log.at >= oldest)

    async def app_log(self, key: AccountKey, device: DeviceId, log: str) -> bytes | None:
        """See `wake_ports.AppLogStore.app_log`."""
        if all(each.id != log for each in await self.app_logs(key, device)):
            return None
        field = _field(device, log)
        sealed = await self._client.call("HGET", keys.app_logs(key)[1], field)
        return None if sealed is None else self._unsealed(key, field, sealed)

    async def _reseal_app_logs(self, key: AccountKey) -> None:
        """Seal an account's with the ring's first key."""
        data = keys.app_logs(key)[1]
        for field in await self._client.call("HKEYS", data):
            # One at a time: they are large.
            sealed = await self._client.call("HGET", data, field)
            if sealed is None or not self._codec.ring.outdated(sealed.decode()):
                continue
            name = field.decode()
            anew = self._codec.ring.seal(self._unsealed(key, name, sealed), _place(key, name))
            await self._client.run(scripts.RESEAL_APP_LOG, [data], name, anew)

    def _unsealed(self, key: AccountKey, field: str, sealed: bytes) -> bytes:
        return self._codec.ring.unseal(sealed.decode(), _place(key, field))


def _field(device: DeviceId, log: str) -> str:
    return f"{device}/{log}"


def _place(key: AccountKey, field: str) -> str:
    return f"{key}|{field}|app-log"
