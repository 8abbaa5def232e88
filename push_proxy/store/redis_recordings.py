"""Recordings of calls in Redis."""

from collections.abc import Sequence

from ..core.ids import AccountKey, CallId
from ..ports import Clock
from ..recording_ports import PackedRecording
from . import keys, scripts
from .codec import Codec
from .redis_client import RedisClient, evalsha
from .search import HistoryLimits


class RecordingsInRedis:
    """The recordings' part of `redis.RedisStore`.

    Each value is sealed as a whole, behind the time at which it ends.
    """

    _client: RedisClient
    _codec: Codec
    _clock: Clock
    _history: HistoryLimits

    async def put_recordings(self, recordings: Sequence[PackedRecording], *, keep_s: float) -> None:
        """See `recording_ports.RecordingStore.put_recordings`."""
        now = self._clock.now()
        await self._client.write_all(
            [
                evalsha(
                    scripts.PUT_RECORDING,
                    [keys.account(each.account), *keys.recordings(each.account)],
                    each.call,
                    repr(each.at),
                    f"{each.at + keep_s!r} {self._seal(each)}",
                    self._history.recordings_per_account,
                    repr(now - keep_s),
                    int((now + keep_s) * 1000),
                )
                for each in recordings
            ]
        )

    async def get_recording(self, key: AccountKey, call: CallId) -> bytes | None:
        """See `recording_ports.RecordingStore.get_recording`."""
        _, data = keys.recordings(key)
        stored = await self._client.call("HGET", data, call)
        if stored is None:
            return None
        until, _, sealed = stored.decode().partition(" ")
        if float(until) <= self._clock.now():
            return None
        return self._codec.ring.unseal(sealed, _place(key, call))

    async def _reseal_recordings(self, key: AccountKey) -> None:
        """Seal an account's with the ring's first key."""
        _, data = keys.recordings(key)
        ring = self._codec.ring
        for field in await self._client.call("HKEYS", data):
            # One at a time: they are large.
            stored = await self._client.call("HGET", data, field)
            until, _, sealed = (stored or b"").decode().partition(" ")
            if not sealed or not ring.outdated(sealed):
                continue
            place = _place(key, CallId(field.decode()))
            anew = ring.seal(ring.unseal(sealed, place), place)
            await self._client.run(scripts.RESEAL_APP_LOG, [data], field, f"{until} {anew}")

    def _seal(self, recording: PackedRecording) -> str:
        return self._codec.ring.seal(recording.packed, _place(recording.account, recording.call))


def _place(key: AccountKey, call: CallId) -> str:
    return f"{key}|recording|{call}"
