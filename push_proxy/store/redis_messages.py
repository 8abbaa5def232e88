"""Accepted MESSAGEs in Redis."""

import structlog

from ..core.ids import AccountKey
from ..core.kept_message import Keeping, KeptMessage
from ..errors import ConfigurationError
from ..ports import Clock
from . import keys, scripts
from .codec import Codec, UnreadableValue
from .redis_client import RedisClient
from .search import HistoryLimits

_log = structlog.get_logger(__name__)


class MessagesInRedis:
    """The messages' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock
    _history: HistoryLimits

    async def keep_message(self, message: KeptMessage) -> Keeping:
        """See `message_ports.KeptMessageStore.keep_message`. One round trip."""
        key = message.account
        said: bytes = await self._client.run(
            scripts.KEEP_MESSAGE,
            [keys.account(key), *keys.messages(key)],
            message.id,
            repr(message.received_at),
            repr(message.until),
            len(message.text.body),
            self._codec.encode(message, key),
            repr(self._clock.now()),
            self._history.messages_per_account,
            self._history.message_bytes_per_account,
            int((message.until + keys.EXPIRY_SLACK_S) * 1000),
        )
        return Keeping[said.decode().upper()]

    async def kept_messages(self, key: AccountKey) -> tuple[KeptMessage, ...]:
        """See `message_ports.KeptMessageStore.kept_messages`."""
        order, _, _, data = keys.messages(key)
        names = await self._client.call("ZRANGE", order, 0, -1)
        if not names:
            return ()
        stored = await self._client.call("HMGET", data, *names)
        found = (self._read_message(each, key) for each in stored if each)
        return tuple(message for message in found if message is not None)

    async def drop_message(self, key: AccountKey, message: str) -> bool:
        """See `message_ports.KeptMessageStore.drop_message`."""
        count: int = await self._client.run(scripts.DROP_MESSAGE, keys.messages(key), message)
        return count > 0

    def _read_message(self, stored: bytes, key: AccountKey) -> KeptMessage | None:
        """None: one that cannot be read must not keep the ones behind it."""
        try:
            return self._codec.decode(KeptMessage, stored, key)
        except (UnreadableValue, ConfigurationError) as error:
            _log.error("message left out: cannot be read", account=key, error=str(error))
            return None

    async def _reseal_messages(self, key: AccountKey) -> None:
        """Seal an account's with the ring's first key."""
        *_, data = keys.messages(key)
        for name, stored in (await self._client.call("HGETALL", data)).items():
            message = self._read_message(stored, key)
            if message is not None:
                anew = self._codec.encode(message, key)
                await self._client.run(scripts.RESEAL_APP_LOG, [data], name, anew)
