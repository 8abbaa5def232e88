"""Accepted MESSAGEs in memory."""

from abc import ABC, abstractmethod

from ..core.ids import AccountKey
from ..core.kept_message import Keeping, KeptMessage
from ..ports import Clock
from .search import HistoryLimits


class MessagesInMemory(ABC):
    """The messages' part of `memory.MemoryStore`."""

    def __init__(self, clock: Clock, history: HistoryLimits) -> None:
        self._messages_clock = clock
        self._message_limits = history
        self._messages: dict[AccountKey, dict[str, KeptMessage]] = {}

    async def keep_message(self, message: KeptMessage) -> Keeping:
        """See `message_ports.KeptMessageStore.keep_message`."""
        key, now = message.account, self._messages_clock.now()
        if not self._knows(key):
            return Keeping.GONE
        kept = self._messages.setdefault(key, {})
        if message.id in kept:
            return Keeping.THERE
        for expired in [each.id for each in kept.values() if each.until <= now]:
            del kept[expired]
        limits = self._message_limits
        size = sum(len(each.text.body) for each in (*kept.values(), message))
        if len(kept) >= limits.messages_per_account or size > limits.message_bytes_per_account:
            return Keeping.FULL
        kept[message.id] = message
        return Keeping.KEPT

    async def kept_messages(self, key: AccountKey) -> tuple[KeptMessage, ...]:
        """See `message_ports.KeptMessageStore.kept_messages`."""
        kept = self._messages.get(key, {}).values()
        return tuple(sorted(kept, key=lambda each: (each.received_at, each.id)))

    async def drop_message(self, key: AccountKey, message: str) -> bool:
        """See `message_ports.KeptMessageStore.drop_message`."""
        return self._messages.get(key, {}).pop(message, None) is not None

    def _forget_messages(self, key: AccountKey) -> None:
        self._messages.pop(key, None)

    @abstractmethod
    def _knows(self, key: AccountKey) -> bool:
        """Whether the account is (still) there."""
