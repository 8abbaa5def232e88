"""What leases need of the store, and what they protect: real and in-memory adapters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .core.ids import AccountKey
from .core.leasing import Orders, Replies
from .core.model import RegistrationRecord


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds leases: one life of one node."""

    node: str
    incarnation: str
    """Another one after each start: a node's former life has lost its leases to the new one."""

    def __str__(self) -> str:
        return f"{self.node} {self.incarnation}"


@dataclass(frozen=True, slots=True)
class Leased:
    """What the store answered."""

    replies: Replies
    taken_over: frozenset[int] = frozenset()
    """Those acquired that another node had and did not release: it has died, or was cut off."""


class LeaseStore(Protocol):
    """Leases of shards. Each method may raise `errors.StoreUnavailable`."""

    async def lease(self, owner: Owner, orders: Orders, *, lease_s: float) -> Leased:
        """Renew and acquire shards for ``lease_s`` on the store's clock.

        A shard is renewed while nobody else has had it since; it is acquired when nobody has it,
        or ``owner`` itself or a former life of its node. At each change of owner its fence grows.
        Of a shard that it knows nothing about it believes a renewal whose owner is sure.
        """

    async def release_leases(self, owner: Owner, fences: Mapping[int, int]) -> None:
        """Let others have these shards at once, as far as they are still ours."""


class RegistrationStore(Protocol):
    """Registrations toward PBXs. Each method may raise `errors.StoreUnavailable`."""

    async def put_registration(self, record: RegistrationRecord) -> bool:
        """Keep Call-ID and CSeq of a registration; False: a higher fence than its own is kept."""

    async def get_registrations(
        self, accounts: Sequence[AccountKey]
    ) -> tuple[RegistrationRecord | None, ...]:
        """As kept, or None, for each of these accounts in their order; one round trip."""

    async def delete_registration(self, key: AccountKey, *, fence: int = 0) -> bool:
        """Forget it, though not the fence; False: a higher one is kept."""

    async def claim_registrations(
        self, fences: Mapping[AccountKey, int]
    ) -> Mapping[AccountKey, RegistrationRecord | None]:
        """Keep writers with lower fences away from these registrations, and return them as kept.

        Left out: accounts that somebody with a higher fence has. One round trip.
        """
