"""Reading the kept registrations of accounts that are ours now."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from ..core.ids import AccountKey
from ..core.model import RegistrationRecord
from ..lease_ports import RegistrationStore

AT_ONCE = 200


async def claim_records(
    store: RegistrationStore, fences: Mapping[AccountKey, int]
) -> dict[AccountKey, RegistrationRecord | None]:
    """The records of these accounts, kept from now on from whoever has a lower fence.

    Without a fence (0) they are just read. Left out: accounts that somebody else has claimed
    since. Raises `errors.StoreUnavailable`.
    """
    found: dict[AccountKey, RegistrationRecord | None] = {}
    for some in _portions(fences):
        if all(fences[key] for key in some):
            found.update(await store.claim_registrations({key: fences[key] for key in some}))
        else:
            records = await store.get_registrations(some)
            found.update(zip(some, records, strict=True))
    return found


def _portions(keys: Iterable[AccountKey]) -> Iterable[Sequence[AccountKey]]:
    left = iter(keys)
    while some := list(islice(left, AT_ONCE)):
        yield some
