"""What it takes to notice that a store has lost what it held, and to give it back."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from .core.ids import AccountKey, DeviceId
from .core.model import Account, Binding, Device
from .errors import StoreUnavailable
from .ports import AccountState


class StoreEmptied(StoreUnavailable):
    """The store runs, but what it held is gone, or a part of it: nothing read there counts."""


class LosableStore(Protocol):
    """The part of `store.redis.RedisStore` that recovery needs."""

    @property
    def lives(self) -> Mapping[str, str]:
        """Each server's run id at the last ping: another one means restart or failover."""

    async def refound(self) -> None:
        """Give back the service's secrets and API keys, then say that the store is whole.

        Raises `errors.StoreUnavailable`.
        """

    async def states(self, accounts: Sequence[Account]) -> list[AccountState]:
        """What the store has of these accounts' devices and bindings."""

    async def account_there(self, key: AccountKey) -> Account | None:
        """What is stored now, in a store that has lost something too."""

    async def put_account(self, account: Account, *, expected_version: int | None) -> None:
        """See `ports.Store.put_account`."""

    async def put_device(
        self, device: Device, *, expected_version: int | None
    ) -> Sequence[tuple[AccountKey, DeviceId]]:
        """See `ports.Store.put_device`."""

    async def put_binding(self, binding: Binding) -> bool:
        """See `ports.Store.put_binding`."""


class KnownState(Protocol):
    """What a node has in memory: `runtime.directory.Directory`."""

    def accounts(self) -> tuple[Account, ...]:
        """All accounts."""

    def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """An account's devices."""

    def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """Its unexpired bindings."""
