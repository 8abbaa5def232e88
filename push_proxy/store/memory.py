"""State in memory: the reference that the Redis store must equal, and the store of tests."""

from collections.abc import AsyncIterator, Mapping, Sequence

from ..core.ids import AccountKey, DeviceId, TenantId
from ..core.message_summary import Mailbox
from ..core.model import Account, Binding, Device, push_target
from ..ports import AccountPage, AccountState, Clock
from .faults import NODE_CLOCKS_S, account_gone, aor_taken, check_version, token_taken
from .memory_app_logs import AppLogsInMemory
from .memory_calls import CallsInMemory
from .memory_cluster import ClusterInMemory
from .memory_events import EventsInMemory
from .memory_held import HeldInMemory
from .memory_keys import KeysInMemory
from .memory_leases import LeasesInMemory
from .memory_messages import MessagesInMemory
from .memory_missed import MissedInMemory
from .memory_recordings import RecordingsInMemory
from .memory_shared import SharedInMemory
from .memory_wakes import WakesInMemory
from .search import HistoryLimits


class MemoryStore(
    CallsInMemory,
    HeldInMemory,
    RecordingsInMemory,
    MissedInMemory,
    MessagesInMemory,
    KeysInMemory,
    SharedInMemory,
    EventsInMemory,
    WakesInMemory,
    AppLogsInMemory,
    LeasesInMemory,
    ClusterInMemory,
):
    """`ports.Store` without a server; nothing outlives it."""

    def __init__(self, clock: Clock, *, history: HistoryLimits | None = None) -> None:
        history = history or HistoryLimits()
        CallsInMemory.__init__(self, clock, history)
        HeldInMemory.__init__(self)
        RecordingsInMemory.__init__(self, clock, history)
        MissedInMemory.__init__(self, clock, history)
        MessagesInMemory.__init__(self, clock, history)
        KeysInMemory.__init__(self, clock)
        SharedInMemory.__init__(self, clock)
        EventsInMemory.__init__(self)
        WakesInMemory.__init__(self)
        AppLogsInMemory.__init__(self, clock, history)
        LeasesInMemory.__init__(self, clock)
        ClusterInMemory.__init__(self, clock)
        self._clock = clock
        self._accounts: dict[AccountKey, Account] = {}
        self._owners: dict[str, AccountKey] = {}
        self._devices: dict[AccountKey, dict[DeviceId, Device]] = {}
        self._targets: dict[tuple[str, str, str], set[tuple[AccountKey, DeviceId]]] = {}
        self._bindings: dict[AccountKey, dict[DeviceId, Binding]] = {}
        self._mailboxes: dict[AccountKey, Mailbox] = {}

    async def open(self) -> None:
        """Nothing to connect."""

    async def aclose(self) -> None:
        """Nothing to close."""

    async def ping(self) -> None:
        """Memory always answers."""

    async def put_account(self, account: Account, *, expected_version: int | None) -> None:
        """See `ports.Store.put_account`."""
        if (owner := self._owners.get(account.aor, account.key)) != account.key:
            raise aor_taken(account, owner)
        if (owner := self._owners.get(account.contact_token, account.key)) != account.key:
            raise token_taken(account, owner)
        stored = self._accounts.get(account.key)
        check_version(stored.version if stored else 0, expected_version)
        self._disown(stored)
        self._accounts[account.key] = account
        self._owners[account.aor] = account.key
        if account.contact_token:
            self._owners[account.contact_token] = account.key

    async def get_account(self, key: AccountKey) -> Account | None:
        """See `ports.Store.get_account`."""
        return self._accounts.get(key)

    async def delete_account(self, key: AccountKey) -> bool:
        """See `ports.Store.delete_account`."""
        for device in tuple(self._devices.get(key, {})):
            await self.delete_device(key, device)
        self._bindings.pop(key, None)
        self._forget_registration(key)
        self._mailboxes.pop(key, None)
        self._forget_calls(key)
        self._forget_held(key)
        self._forget_recordings(key)
        self._forget_missed(key)
        self._forget_messages(key)
        self._forget_dead_letters(key)
        self._forget_enrolments(key)
        self._disown(self._accounts.get(key))
        return self._accounts.pop(key, None) is not None

    async def list_accounts(
        self, tenant: TenantId, *, limit: int, cursor: str | None
    ) -> AccountPage:
        """See `ports.Store.list_accounts`."""
        found = sorted(
            (
                a
                for a in self._accounts.values()
                if a.tenant == tenant and a.account > (cursor or "")
            ),
            key=lambda account: account.account,
        )
        page = tuple(found[:limit])
        return AccountPage(page, page[-1].account if len(found) > limit else None)

    async def all_accounts(self) -> AsyncIterator[Account]:
        """See `ports.Store.all_accounts`."""
        for account in tuple(self._accounts.values()):
            yield account

    async def everything(self) -> AsyncIterator[AccountState]:
        """See `ports.Store.everything`."""
        for account in tuple(self._accounts.values()):
            yield AccountState(
                account, await self.devices(account.key), await self.bindings(account.key)
            )

    async def put_device(
        self, device: Device, *, expected_version: int | None
    ) -> Sequence[tuple[AccountKey, DeviceId]]:
        """See `ports.Store.put_device`."""
        if device.account not in self._accounts:
            raise account_gone(device.account)
        stored = self._devices.get(device.account, {}).get(device.device)
        check_version(stored.version if stored else 0, expected_version)
        self._untarget(stored)
        self._devices.setdefault(device.account, {})[device.device] = device
        if not device.has_target:
            return ()
        place = (device.account, device.device)
        sharing = self._targets.setdefault(push_target(device), set())
        sharing.add(place)
        moved = sorted(sharing - {place}) if device.exclusive else ()
        for account, name in moved:
            await self.delete_device(account, name)
        return tuple(moved)

    async def get_device(self, key: AccountKey, device: DeviceId) -> Device | None:
        """See `ports.Store.get_device`."""
        return self._devices.get(key, {}).get(device)

    async def delete_device(self, key: AccountKey, device: DeviceId) -> bool:
        """See `ports.Store.delete_device`."""
        self._bindings.get(key, {}).pop(device, None)
        self._forget_wakes(key, device)
        self._forget_app_logs(key, device)
        self._untarget(self._devices.get(key, {}).get(device))
        return self._devices.get(key, {}).pop(device, None) is not None

    async def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """See `ports.Store.devices`."""
        return tuple(device for _, device in sorted(self._devices.get(key, {}).items()))

    async def put_binding(self, binding: Binding) -> bool:
        """See `ports.Store.put_binding`."""
        if binding.account not in self._accounts:
            return True
        kept = self._bindings.setdefault(binding.account, {})
        other = kept.get(binding.device)
        rival = other is not None and binding.node and other.node != binding.node
        if other is not None and rival and other.heard_at > binding.heard_at + NODE_CLOCKS_S:
            return False
        kept[binding.device] = binding
        return True

    async def delete_binding(self, key: AccountKey, device: DeviceId, *, node: str = "") -> None:
        """See `ports.Store.delete_binding`."""
        kept = self._bindings.get(key, {})
        if not node or (device in kept and kept[device].node in {node, ""}):
            kept.pop(device, None)

    async def account_states(
        self, keys: Sequence[AccountKey]
    ) -> Mapping[AccountKey, AccountState | None]:
        """See `ports.Store.account_states`."""
        return {
            key: AccountState(account, await self.devices(key), await self.bindings(key))
            if (account := self._accounts.get(key)) is not None
            else None
            for key in keys
        }

    async def place_bindings(
        self, places: Sequence[tuple[AccountKey, DeviceId]]
    ) -> Mapping[tuple[AccountKey, DeviceId], Binding | None]:
        """See `ports.Store.place_bindings`."""
        now = self._clock.now()
        found = {place: self._bindings.get(place[0], {}).get(place[1]) for place in places}
        return {p: b if b is not None and b.expires_at > now else None for p, b in found.items()}

    async def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """See `ports.Store.bindings`."""
        now = self._clock.now()
        kept = sorted(self._bindings.get(key, {}).items())
        return tuple(binding for _, binding in kept if binding.expires_at > now)

    async def put_mailbox(self, mailbox: Mailbox) -> None:
        """See `ports.Store.put_mailbox`."""
        if mailbox.account in self._accounts:
            self._mailboxes[mailbox.account] = mailbox

    async def get_mailbox(self, key: AccountKey) -> Mailbox | None:
        """See `ports.Store.get_mailbox`."""
        return self._mailboxes.get(key)

    def _disown(self, account: Account | None) -> None:
        if account is not None:
            self._owners.pop(account.aor, None)
            self._owners.pop(account.contact_token, None)

    def _untarget(self, device: Device | None) -> None:
        if device is not None and device.has_target:
            sharing = self._targets.get(push_target(device), set())
            sharing.discard((device.account, device.device))
            if not sharing:
                self._targets.pop(push_target(device), None)

    def _knows(self, key: AccountKey) -> bool:
        return key in self._accounts

    def _has_device(self, key: AccountKey, device: DeviceId) -> bool:
        return device in self._devices.get(key, {})
