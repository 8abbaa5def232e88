"""Whose accounts are ours: what every part asks that does something once per account."""

from collections.abc import Awaitable, Iterable
from typing import Protocol

from ..core.ids import AccountKey
from ..core.shards import SHARDS


class Ownership(Protocol):
    """Who knows (`cluster.leases.Leases`, and `SOLE` where there is one node)."""

    @property
    def node(self) -> str:
        """Our name; empty where there is one node."""

    def owns(self, account: AccountKey) -> bool:
        """Whether this node, and no other, works for the account at this moment.

        It says no, too, when the store cannot be asked for so long that others may have taken it.
        """

    def fence(self, account: AccountKey) -> int:
        """Goes with every write for the account; 0: it is not ours, or there is one node."""

    def held(self) -> frozenset[int]:
        """The shards that are ours."""

    def fence_of(self, shard: int) -> int:
        """As `fence`, of a shard."""


class ShardWork(Protocol):
    """Whoever works by shards (`runtime.registrations.Registrations`)."""

    def gained(self, shards: frozenset[int]) -> None:
        """These are ours now."""

    def leave(self, shards: frozenset[int]) -> Awaitable[Iterable[AccountKey]]:
        """They soon belong to another node: begin nothing new for them, finish what is on its way.

        Returns the accounts that are registered from here. Takes a few seconds at most.
        """

    def lost(self, shards: frozenset[int]) -> None:
        """They are not ours any more: forget them, without telling anybody."""

    def forgotten(self, shards: frozenset[int]) -> None:
        """The store has lost what it had of these, which are ours: give it back."""

    def cost_s(self, shard: int) -> float:
        """For how long it will keep its PBX busy, at that one's pace, when a node takes it."""

    def set_share(self, share: float) -> None:
        """This part of each PBX's pace is ours."""


class Sole:
    """The only node: everything is its own, and nothing has to be fenced. No key is written."""

    node = ""

    def owns(self, account: AccountKey) -> bool:  # noqa: ARG002 - whichever it is
        """Always."""
        return True

    def fence(self, account: AccountKey) -> int:  # noqa: ARG002 - as above
        """Nobody is kept away."""
        return 0

    def held(self) -> frozenset[int]:
        """All of them."""
        return frozenset(range(SHARDS))

    def fence_of(self, shard: int) -> int:  # noqa: ARG002 - as above
        """Nobody is kept away."""
        return 0

    def subscribe(self, work: ShardWork) -> None:
        """Nothing will ever change."""
        work.set_share(1.0)

    def start(self) -> None:
        """Nothing has to be taken."""

    async def hand_over(self, *, within_s: float) -> bool:  # noqa: ARG002 - nothing to wait for
        """There is nobody who could take anything."""
        return False

    async def aclose(self) -> None:
        """Nothing has to be given back."""
