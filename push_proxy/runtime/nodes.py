"""What the rest of the service asks about the nodes beside this one, and tells them."""

from typing import Protocol

from ..cluster_ports import FeedKind
from ..core.ids import AccountKey, DeviceId
from ..core.model import Address

NO_DEVICE = DeviceId("")


class Nodes(Protocol):
    """Who lives, and where: `cluster.membership.Membership`."""

    @property
    def name(self) -> str:
        """Ours, which records carry; empty: there is one node alone."""

    def is_me(self, node: str) -> bool:
        """Whether this is our name; a record without one is ours, too."""

    def address(self, node: str) -> Address | None:
        """Where another living node takes SIP; None: it is this one, or dead."""


class News(Protocol):
    """Tells other nodes what was written here: `cluster.feed.Feed`."""

    def tell(self, kind: FeedKind, account: AccountKey, device: DeviceId = NO_DEVICE) -> None:
        """This has reached the store: they read it there."""

    async def sent(self) -> None:
        """Return when all that was told can be read by the others, or the store is away."""


class Alone:
    """There is no other: `Nodes` and `News` of a single node."""

    name = ""

    def is_me(self, node: str) -> bool:  # noqa: ARG002 - a record from a time with several
        """Every record is ours."""
        return True

    def address(self, node: str) -> Address | None:  # noqa: ARG002 - whoever it is
        """Nowhere."""
        return None

    def tell(self, kind: FeedKind, account: AccountKey, device: DeviceId = NO_DEVICE) -> None:
        """Nobody listens."""

    async def sent(self) -> None:
        """Nothing waits."""
