"""Reading the kept registrations at the start."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol

from ..core.ids import AccountKey
from ..core.model import Account, RegistrationRecord, Topology

AT_ONCE = 200


class RegistrationStore(Protocol):
    """The part of `ports.Store` that registrations need."""

    async def put_registration(self, record: RegistrationRecord) -> None:
        """Keep Call-ID and CSeq of a registration."""

    async def get_registrations(
        self, accounts: Sequence[AccountKey]
    ) -> tuple[RegistrationRecord | None, ...]:
        """As kept, or None, for each of these accounts in their order."""

    async def delete_registration(self, key: AccountKey) -> None:
        """Forget it."""


async def load_records(
    store: RegistrationStore, accounts: Iterable[Account]
) -> dict[AccountKey, RegistrationRecord]:
    """The records of these accounts. Raises `errors.StoreUnavailable`."""
    keys = (account.key for account in accounts if account.topology is Topology.HOLD)
    records: dict[AccountKey, RegistrationRecord] = {}
    while batch := list(islice(keys, AT_ONCE)):
        found = await store.get_registrations(batch)
        records.update((record.account, record) for record in found if record is not None)
    return records
