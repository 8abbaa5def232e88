"""Who may call: operators' keys and device keys, found by their hash alone."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ..core.ids import AccountKey, DeviceId, TenantId, split_account_key
from ..ports import ApiKey
from ..runtime.changes import Change, DeviceChanged
from .backend import Accounts

_KEY_BYTES = 32


class Scope(StrEnum):
    """What an operator's key opens."""

    ACCOUNTS = "accounts"
    DEVICES = "devices"
    CALLS = "calls"


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator's or app backend's key: one tenant, some scopes."""

    name: str
    tenant: TenantId
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class App:
    """A device's key: its own device, and what its account shows of itself."""

    account: AccountKey
    device: DeviceId

    @property
    def tenant(self) -> TenantId:
        """The account's tenant."""
        return split_account_key(self.account)[0]


Caller = Operator | App


def new_key() -> str:
    """32 random bytes, safe in URLs and headers."""
    return secrets.token_urlsafe(_KEY_BYTES)


def hashed(key: str) -> str:
    """How a key is stored. It is random and long: a plain SHA-256 cannot be searched."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Callers:
    """Keys by hash. Device keys follow the accounts; operators' keys are set by `set_operators`."""

    def __init__(self, accounts: Accounts) -> None:
        self._operators: dict[str, Operator] = {}
        self._apps: dict[str, App] = {}
        for account in accounts.accounts():
            for device in accounts.devices(account.key):
                self._follow(DeviceChanged(account.key, None, device))
        accounts.subscribe(self._follow)

    def set_operators(self, keys: Iterable[ApiKey]) -> None:
        """Replace all operators' keys (configured ones and stored ones)."""
        self._operators = {
            key.key_sha256: Operator(key.name, key.tenant, key.scopes) for key in keys
        }

    def find(self, key: str) -> Caller | None:
        """Whose key this is."""
        digest = hashed(key)
        return self._operators.get(digest) or self._apps.get(digest)

    def _follow(self, change: Change) -> None:
        if not isinstance(change, DeviceChanged):
            return
        if change.old is not None and change.old.key_sha256 is not None:
            self._apps.pop(change.old.key_sha256, None)
        if change.new is not None and change.new.key_sha256 is not None:
            self._apps[change.new.key_sha256] = App(change.account, change.new.device)
