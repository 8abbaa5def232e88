"""What a store refuses, in the same words whichever store it is."""

from ..core.ids import AccountKey, split_account_key
from ..core.model import Account
from ..errors import Conflict, NotFound, PreconditionFailed

NODE_CLOCKS_S = 0.2
"""Nodes' clocks may differ by so much: which of two bindings is newer is not told within it."""


def check_version(stored: int, expected: int | None) -> None:
    """Raise `errors.PreconditionFailed` unless the stored version (0: none) is the expected one."""
    if expected is None or stored == expected:
        return
    if expected == 0:
        raise PreconditionFailed("it exists already; read it and send If-Match with its ETag")
    have = f"its version is {stored}" if stored else "it does not exist"
    raise PreconditionFailed(f"version {expected} was expected, but {have}; read it again")


def aor_taken(account: Account, owner: AccountKey) -> Conflict:
    """The error of a second account with the same AOR; names the owner within a tenant only."""
    tenant, name = split_account_key(owner)
    whose = f"account {name!r}" if tenant == account.tenant else "another tenant's account"
    return Conflict(f"{account.aor} belongs to {whose}; delete that first or choose another aor")


def token_taken(account: Account, owner: AccountKey) -> Conflict:
    """The error of a second account with the same contact token (ours, made at random)."""
    return Conflict(f"the contact tokens of {account.key} and {owner} are the same; make a new one")


def account_gone(key: AccountKey) -> NotFound:
    """The error of a device without an account."""
    return NotFound(f"account {split_account_key(key)[1]!r} does not exist; create it first")
