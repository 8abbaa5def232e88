"""Names of things, each with a type of its own so that they cannot be mixed up."""

from typing import NewType

TenantId = NewType("TenantId", str)
"""An operator's customer: API keys, accounts and searches belong to one."""

AccountId = NewType("AccountId", str)
"""The account's name within its tenant, as in the HTTP path."""

AccountKey = NewType("AccountKey", str)
"""``tenant/account``: unique in the whole service."""

DeviceId = NewType("DeviceId", str)
"""A device's name within its account; ``~…`` for a phone known by its REGISTER only."""

CallId = NewType("CallId", str)
"""Our UUID of one call (one wake); not the SIP Call-ID."""

PushId = NewType("PushId", str)
"""UUID of one push; kept over a resend, so that the receiver can drop the duplicate."""

BranchId = NewType("BranchId", int)
"""A client transaction within one call, counted from 1."""

ServerTxn = NewType("ServerTxn", int)
"""The stack's token of a server transaction."""

ResponseId = NewType("ResponseId", int)
"""The stack's token of a received response that may be relayed."""

Instant = NewType("Instant", float)
"""Seconds since the Unix epoch on a clock that never goes back within one process."""


def account_key(tenant: TenantId, account: AccountId) -> AccountKey:
    """The key of an account. Neither part may hold a slash (checked at the HTTP door)."""
    return AccountKey(f"{tenant}/{account}")


def split_account_key(key: AccountKey) -> tuple[TenantId, AccountId]:
    """Tenant and account of a key."""
    tenant, _, account = key.partition("/")
    return TenantId(tenant), AccountId(account)
