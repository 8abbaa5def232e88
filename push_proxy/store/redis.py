"""State in Redis or Valkey: `ports.Store` for real.

What lies under which key stands in `keys`; each change of several keys is a script.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

from ..core.ids import AccountKey, CallId, split_account_key
from ..core.model import Account
from ..core.queued_event import account_mark
from ..ports import AccountState, Clock
from . import keys, scripts
from .codec import Codec
from .redis_app_logs import AppLogsInRedis
from .redis_calls import CallsInRedis
from .redis_client import Command, RedisClient, evalsha
from .redis_cluster import ClusterInRedis
from .redis_devices import DevicesInRedis
from .redis_events import EventsInRedis
from .redis_held import HeldInRedis
from .redis_keys import KeysInRedis
from .redis_life import LifeInRedis
from .redis_messages import MessagesInRedis
from .redis_missed import MissedInRedis
from .redis_recordings import RecordingsInRedis
from .redis_shared import SharedInRedis
from .redis_wakes import WakesInRedis
from .search import HistoryLimits
from .secrets import KeyRing


class RedisStore(
    DevicesInRedis,
    CallsInRedis,
    HeldInRedis,
    RecordingsInRedis,
    MissedInRedis,
    MessagesInRedis,
    KeysInRedis,
    SharedInRedis,
    EventsInRedis,
    WakesInRedis,
    AppLogsInRedis,
    ClusterInRedis,
):
    """`ports.Store` on a server that several nodes may share."""

    def __init__(
        self,
        url: str,
        *,
        ring: KeyRing,
        clock: Clock,
        history: HistoryLimits | None = None,
        timeout_s: float = 1.0,
    ) -> None:
        """``timeout_s`` bounds every command.

        Raises `errors.ConfigurationError` when the URL is none.
        """
        CallsInRedis.__init__(self, history or HistoryLimits())
        DevicesInRedis.__init__(self)
        LifeInRedis.__init__(self)
        self._client = RedisClient(url, timeout_s=timeout_s)
        self._codec = Codec(ring)
        self._clock = clock
        self._target_key = b""

    async def open(self) -> None:
        """Connect, load the scripts, and check that the key ring opens what is stored.

        Raises `errors.StoreUnavailable` (it may be called again), or
        `errors.ConfigurationError` when the server or the key ring is the wrong one.
        """
        await self._client.connect()
        self.lives = await self._client.ping()
        await self._found()
        self._target_key = await self.secret("push-targets", size=32)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def everything(self) -> AsyncIterator[AccountState]:
        """See `ports.Store.everything`.

        Raises `recovery_ports.StoreEmptied`: what was lost would look as if it had been deleted.
        """
        await self.check_whole()
        async for state in super().everything():
            yield state
        await self.check_whole()

    async def get_account(self, key: AccountKey) -> Account | None:
        """See `ports.Store.get_account`. Raises as `everything`."""
        found = await super().get_account(key)
        if found is None:
            await self.check_whole()
        return found

    async def account_there(self, key: AccountKey) -> Account | None:
        """See `recovery_ports.LosableStore.account_there`."""
        return await super().get_account(key)

    async def account_states(
        self, accounts: Sequence[AccountKey]
    ) -> Mapping[AccountKey, AccountState | None]:
        """See `ports.Store.account_states`. Raises as `everything`."""
        found = await super().account_states(accounts)
        if None in found.values():
            await self.check_whole()
        return found

    async def delete_account(self, key: AccountKey) -> bool:
        """See `ports.Store.delete_account`."""
        tenant, name = split_account_key(key)
        there, aor, token, marks, calls, codes = await self._client.run(
            scripts.DELETE_ACCOUNT, keys.all_of_account(key)
        )
        devices = zip(marks[::2], marks[1::2], strict=True)
        cleaning: list[Command] = [
            ("ZREM", keys.tenant_accounts(tenant), name),
            evalsha(scripts.UNCLAIM, [keys.aor(aor.decode())], key),
            evalsha(scripts.UNCLAIM, [keys.contact(token.decode())], key),
            *(
                ("SREM", index, keys.member(key, device))
                for device, mark in devices
                for index in (keys.target(mark.decode().partition(" ")[2]), keys.NOT_WAKING)
            ),
            *(("DEL", keys.enrolment(code.decode())) for code in codes),
            evalsha(scripts.ERASE_DEAD_LETTERS, keys.dead_letters(tenant), account_mark(key)),
            *self._unindex(key, [CallId(call.decode()) for call in calls]),
        ]
        await self._client.pipeline(cleaning)
        return bool(there)

    async def reseal(self) -> int:
        """Seal all that is sealed of accounts, and dead letters, with the ring's first key.

        Returns how many accounts there are.

        After this the older keys of the ring are needed no more. A value that changes
        meanwhile is sealed with the first key by that change.
        """
        count = 0
        async for state in self.everything():
            await self.put_account(state.account, expected_version=state.account.version)
            for device in state.devices:
                await self._write_device(device, device.version)
            await self._reseal_app_logs(state.account.key)
            await self._reseal_recordings(state.account.key)
            await self._reseal_messages(state.account.key)
            count += 1
        await self._reseal_dead_letters()
        return count
