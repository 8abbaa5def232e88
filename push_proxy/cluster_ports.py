"""What several nodes need of the store that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .cluster.node import NodeRecord
from .core.ids import AccountKey, DeviceId, Instant

_NO_ACCOUNT, _NO_DEVICE, _NEVER = AccountKey(""), DeviceId(""), Instant(0.0)


class FeedKind(StrEnum):
    """What of an account was written."""

    ACCOUNT = "account"
    """The account itself: all that hangs on it may have gone with it."""
    DEVICE = "device"
    """A device, or its end, with which its binding ends."""
    BINDING = "binding"
    """A binding, or its end."""
    MAILBOX = "mailbox"
    """What its PBX says of its voice mail."""
    MISSED = "missed"
    """A missed call of which a device is still to be told."""
    MESSAGE = "message"
    """A MESSAGE that is kept for its devices."""
    EVERYTHING = "everything"
    """More than could be told one by one: all has to be read again."""
    HELLO = "hello"
    """Nothing: the place from which a node begins to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEntry:
    """News that something was written; what it is now stands in the store alone."""

    node: str
    """Who wrote it."""
    kind: FeedKind
    account: AccountKey = _NO_ACCOUNT
    device: DeviceId = _NO_DEVICE
    at: Instant = _NEVER
    """When, by the writer's clock."""


@dataclass(frozen=True, slots=True)
class FeedPage:
    """What was told after a position."""

    entries: tuple[FeedEntry, ...]
    position: str
    """Where the next page begins."""
    full: bool = False
    """There is more already."""


class ClusterStore(Protocol):
    """Membership, feed and orders (`ports.Store`); may raise `errors.StoreUnavailable`."""

    # membership
    async def beat(
        self, record: NodeRecord, *, lease_s: float, take: bool = False
    ) -> NodeRecord | None:
        """Keep the record for ``lease_s`` from now. None: it is kept.

        Else the record of another incarnation of the same node, which stays. With ``take`` that
        gives way.
        """

    async def leave(self, record: NodeRecord) -> None:
        """This life of the node ends now; a later one's record stays."""

    async def nodes(self) -> tuple[NodeRecord, ...]:
        """All nodes whose record has not run out, by id."""

    async def node_names(self) -> tuple[str, ...]:
        """The ids of all nodes that live or have lived, but for those forgotten; sorted."""

    async def forget_node(self, node: str) -> bool:
        """Its id goes, if it does not live and no INVITE is held by it; False: it stays.

        Of a node that comes at the same moment others hear one heartbeat later at most.
        """

    # the feed
    async def feed_append(self, entries: Sequence[FeedEntry]) -> str:
        """Tell all nodes; returns the position after the last of them.

        The oldest are forgotten beyond a number that no living node falls behind.
        """

    async def feed_read(self, after: str, *, wait_s: float, limit: int = 1000) -> FeedPage:
        """What was told after this position, oldest first; empty when nothing comes in time."""

    async def feed_reaches(self, position: str) -> bool:
        """Whether everything after this position can still be read.

        False when it was forgotten, or when the store has lost what it had.
        """

    async def feed_end(self) -> str:
        """The position after all that was told."""

    # orders
    async def put_order(self, node: str, message: bytes, *, ttl_s: float) -> None:
        """Into a node's inbox, which is forgotten ``ttl_s`` after the last message."""

    async def take_order(self, node: str, *, wait_s: float) -> bytes | None:
        """The oldest message in a node's inbox; None when none comes in time."""
