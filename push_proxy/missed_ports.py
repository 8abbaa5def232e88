"""What missed calls need of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .core.ids import AccountKey, CallId
from .core.missed import MissedCall


@dataclass(frozen=True, slots=True)
class MissedCallPage:
    """One page of an account's missed calls."""

    calls: tuple[MissedCall, ...]
    next_cursor: str | None


class MissedCallStore(Protocol):
    """Missed calls until they are seen (`ports.Store`); may raise `errors.StoreUnavailable`.

    They are capped per account and in time; the oldest go.
    """

    async def put_missed_call(self, missed: MissedCall) -> None:
        """Create or replace, unless it has been seen or its account is gone."""

    async def missed_calls(
        self, key: AccountKey, *, limit: int, cursor: str | None
    ) -> MissedCallPage:
        """An account's, newest first. Raises `errors.InvalidInput` for a foreign cursor."""

    async def count_missed_calls(self, key: AccountKey) -> int:
        """How many an account has."""

    async def see_missed_calls(
        self, key: AccountKey, calls: Sequence[CallId], *, up_to: CallId | None = None
    ) -> tuple[CallId, ...]:
        """Forget these, and with ``up_to`` that one and all that are not newer.

        Returns those that were there. None of them comes back, not even one that was to be
        put yet. An ``up_to`` that never was there changes nothing.
        """
