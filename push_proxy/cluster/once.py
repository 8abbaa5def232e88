"""What several nodes may be about to do, and one of them does."""

import structlog

from ..errors import StoreUnavailable
from ..ports import SharedValues

_log = structlog.get_logger(__name__)


class Once:
    """The first node that says so does it. A node alone always does."""

    def __init__(self, node: str = "", shared: SharedValues | None = None) -> None:
        """``node``: our id; empty: there is no other."""
        self._node = node
        self._shared = shared

    async def mine(self, what: str, *, for_s: float) -> bool:
        """Whether this node does ``what``; for so long no other node does.

        While the store is away everybody does: twice is better than never.
        """
        if self._shared is None or not self._node:
            return True
        node = self._node.encode()
        try:
            return await self._shared.share(f"once/{what}", node, ttl_s=for_s) == node
        except StoreUnavailable as error:
            _log.info("done without asking the others: the store is away", error=str(error))
            return True
