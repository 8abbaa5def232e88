"""Which accounts' registrations are run here: those of our shards, once their records are read."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from ..cluster.ownership import Ownership
from ..core.ids import AccountKey
from ..core.model import Account, RegistrationRecord, Topology
from ..core.shards import shard_of
from ..errors import StoreUnavailable
from ..lease_ports import RegistrationStore
from ..tasks import spawn
from .registration_records import AT_ONCE, claim_records

_log = structlog.get_logger(__name__)
_AGAIN_S = 0.5

Take = Callable[[AccountKey, RegistrationRecord | None], None]
"""This account is run here from now on, and that is what was kept of it."""


class OwnedShards:
    """The shards that are open: nothing is registered of the others."""

    def __init__(self, ownership: Ownership, store: RegistrationStore, take: Take) -> None:
        self._ownership = ownership
        self._store = store
        self._take = take
        self._open: dict[int, int] = {}
        self._leaving: set[int] = set()
        self._accounts: dict[int, dict[AccountKey, None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def aclose(self) -> None:
        """Open no more."""
        for task in self._tasks:
            task.cancel()

    # which accounts there are

    def put(self, account: Account) -> None:
        """It exists."""
        if account.topology is Topology.HOLD:
            self._accounts.setdefault(shard_of(account.key), {})[account.key] = None
        else:
            self.remove(account.key)

    def remove(self, account: AccountKey) -> None:
        """It does not."""
        self._accounts.get(shard_of(account), {}).pop(account, None)

    def accounts(self, shard: int) -> Iterable[AccountKey]:
        """All of a shard that may be registered."""
        return self._accounts.get(shard, ())

    # which are ours

    def runs(self, account: AccountKey) -> bool:
        """Whether its registration is run here."""
        return shard_of(account) in self._open

    def may_send(self, account: AccountKey) -> bool:
        """Whether a request may leave for it at this very moment."""
        return shard_of(account) not in self._leaving and self._ownership.owns(account)

    async def open(self) -> None:
        """Take what is ours at the start. Raises `errors.StoreUnavailable`."""
        await self._claim(self._ownership.held())

    def gained(self, shards: frozenset[int]) -> None:
        """Take these soon."""
        task = spawn(self._claim_until_done(shards), name="registrations taken over")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self, shards: Iterable[int]) -> None:
        """Send nothing for these any more."""
        self._leaving.update(shards)

    def close(self, shards: Iterable[int]) -> None:
        """They are not run here any more."""
        for shard in shards:
            self._open.pop(shard, None)
            self._leaving.discard(shard)

    async def _claim_until_done(self, shards: frozenset[int]) -> None:
        left = shards
        while left := left & self._ownership.held() - self._open.keys():
            try:
                await self._claim(left)
            except StoreUnavailable as error:
                _log.warning("registrations cannot be taken over yet", error=str(error))
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _claim(self, shards: Iterable[int]) -> None:
        """A few hundred accounts at a time: calls go on meanwhile."""
        some: list[int] = []
        accounts = 0
        for shard in sorted(shards):
            some.append(shard)
            accounts += len(self._accounts.get(shard, ()))
            if accounts >= AT_ONCE:
                await self._claim_some(some)
                some, accounts = [], 0
        await self._claim_some(some)

    async def _claim_some(self, shards: Sequence[int]) -> None:
        fences = {shard: self._ownership.fence_of(shard) for shard in shards}
        asked = {key: fences[shard] for shard in shards for key in self.accounts(shard)}
        found = await claim_records(self._store, asked)
        still = self._ownership.held()
        for shard, fence in fences.items():
            if shard in still and self._ownership.fence_of(shard) == fence:
                self._open[shard] = fence
                # As they are by now: an account that came meanwhile has no record yet.
                for key in tuple(self.accounts(shard)):
                    if key in found or key not in asked:
                        self._take(key, found.get(key))
