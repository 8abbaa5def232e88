"""Leases in memory, and the registrations that their fences protect."""

from collections.abc import Mapping, Sequence

from ..core.ids import AccountKey
from ..core.leasing import Orders, Replies
from ..core.model import RegistrationRecord
from ..lease_ports import Leased, Owner
from ..ports import Clock


class LeasesInMemory:
    """`lease_ports.LeaseStore` and `lease_ports.RegistrationStore` of `memory.MemoryStore`."""

    def __init__(self, clock: Clock) -> None:
        self._lease_clock = clock
        self._leases: dict[int, tuple[Owner, float]] = {}
        self._fences: dict[int, int] = {}
        self._holders: dict[int, Owner] = {}
        self._registrations: dict[AccountKey, RegistrationRecord] = {}
        self._registration_fences: dict[AccountKey, int] = {}

    async def lease(self, owner: Owner, orders: Orders, *, lease_s: float) -> Leased:
        """See `lease_ports.LeaseStore.lease`."""
        now = self._lease_clock.now()
        renewed: set[int] = set()
        restored: set[int] = set()
        acquired: dict[int, int] = {}
        taken_over: set[int] = set()
        for shard, fence in orders.renew.items():
            if shard not in self._fences and shard in orders.sure:
                self._fences[shard], self._holders[shard] = fence, owner
                restored.add(shard)
            ours = (self._fences.get(shard), self._holders.get(shard)) == (fence, owner)
            if ours and self._leased(shard, now) in {None, owner}:
                renewed.add(shard)
                self._leases[shard] = (owner, now + lease_s)
        for shard in orders.acquire:
            held, former = self._leased(shard, now), self._holders.get(shard)
            if held is not None and held.node != owner.node:
                continue
            if held != owner:
                self._fences[shard] = max(self._fences.get(shard, 0) + 1, int(now * 1000))
                self._holders[shard] = owner
                if former is not None and former.node != owner.node:
                    taken_over.add(shard)
            self._leases[shard] = (owner, now + lease_s)
            acquired[shard] = self._fences[shard]
        told = Replies(renewed=frozenset(renewed), restored=frozenset(restored), acquired=acquired)
        return Leased(told, frozenset(taken_over))

    async def release_leases(self, owner: Owner, fences: Mapping[int, int]) -> None:
        """See `lease_ports.LeaseStore.release_leases`."""
        for shard, fence in fences.items():
            if (self._fences.get(shard), self._holders.get(shard)) == (fence, owner):
                self._leases.pop(shard, None)
                del self._holders[shard]

    async def put_registration(self, record: RegistrationRecord) -> bool:
        """See `lease_ports.RegistrationStore.put_registration`."""
        if record.fence < self._registration_fences.get(record.account, 0):
            return False
        self._registration_fences[record.account] = record.fence
        self._registrations[record.account] = record
        return True

    async def get_registrations(
        self, accounts: Sequence[AccountKey]
    ) -> tuple[RegistrationRecord | None, ...]:
        """See `lease_ports.RegistrationStore.get_registrations`."""
        return tuple(self._registrations.get(key) for key in accounts)

    async def delete_registration(self, key: AccountKey, *, fence: int = 0) -> bool:
        """See `lease_ports.RegistrationStore.delete_registration`."""
        if fence < self._registration_fences.get(key, 0):
            return False
        self._registration_fences[key] = fence
        self._registrations.pop(key, None)
        return True

    async def claim_registrations(
        self, fences: Mapping[AccountKey, int]
    ) -> Mapping[AccountKey, RegistrationRecord | None]:
        """See `lease_ports.RegistrationStore.claim_registrations`."""
        claimed: dict[AccountKey, RegistrationRecord | None] = {}
        for key, fence in fences.items():
            if fence >= self._registration_fences.get(key, 0):
                self._registration_fences[key] = fence
                claimed[key] = self._registrations.get(key)
        return claimed

    def _leased(self, shard: int, now: float) -> Owner | None:
        owner, until = self._leases.get(shard, (None, 0.0))
        return owner if until > now else None

    def _forget_registration(self, key: AccountKey) -> None:
        self._registrations.pop(key, None)
        self._registration_fences.pop(key, None)
