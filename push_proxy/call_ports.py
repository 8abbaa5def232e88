"""What keeping many calls' records needs of the store."""

from collections.abc import Sequence
from typing import Protocol

from .core.model import CallRecord


class CallRecords(Protocol):
    """Records of calls (`ports.Store`); may raise `errors.StoreUnavailable`."""

    async def put_calls(self, records: Sequence[CallRecord]) -> None:
        """As `ports.Store.put_call` for each, in their order. One round trip."""
