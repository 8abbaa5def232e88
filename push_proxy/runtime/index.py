"""Accounts, devices and bindings by every name that a SIP message may know them by.

Plain dictionaries, no I/O: `directory.Directory` keeps them in step with the store.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from ..core.ids import AccountKey, DeviceId
from ..core.model import Account, Address, Binding, Device, push_target

Place = tuple[AccountKey, DeviceId]
_K = TypeVar("_K")
_L = TypeVar("_L")
_V = TypeVar("_V")


@dataclass(slots=True)
class Index:
    """All of it; each ``set_`` and ``drop_`` returns what was there before."""

    accounts: dict[AccountKey, Account] = field(default_factory=dict)
    devices: dict[AccountKey, dict[DeviceId, Device]] = field(default_factory=dict)
    bindings: dict[AccountKey, dict[DeviceId, Binding]] = field(default_factory=dict)
    by_aor: dict[str, AccountKey] = field(default_factory=dict)
    by_token: dict[str, AccountKey] = field(default_factory=dict)
    by_user: dict[str, dict[AccountKey, None]] = field(default_factory=dict)
    by_flow: dict[Address, dict[Place, None]] = field(default_factory=dict)
    by_route_key: dict[str, Place] = field(default_factory=dict)
    by_target: dict[int, dict[Place, None]] = field(default_factory=dict)
    """By a hash of the push target: Python's, which differs in each process."""

    def set_account(self, account: Account) -> Account | None:
        """Add or replace."""
        key = account.key  # made anew at each access: all indexes share one
        old = self._unindex(key)
        self.accounts[key] = account
        self.by_aor[account.aor] = key
        if account.contact_token:
            self.by_token[account.contact_token] = key
        self.by_user.setdefault(aor_user(account.aor), {})[key] = None
        return old

    def drop_account(self, key: AccountKey) -> Account | None:
        """Remove the account alone; its devices and bindings are dropped one by one."""
        old = self._unindex(key)
        self.accounts.pop(key, None)
        return old

    def set_device(self, device: Device) -> Device | None:
        """Add or replace."""
        devices = self.devices.setdefault(device.account, {})
        old = devices.get(device.device)
        self._untarget(old)
        devices[device.device] = device
        if device.has_target:
            place = (device.account, device.device)
            self.by_target.setdefault(hash(push_target(device)), {})[place] = None
        return old

    def drop_device(self, key: AccountKey, device: DeviceId) -> Device | None:
        """Remove."""
        old = _pop(self.devices, key, device)
        self._untarget(old)
        return old

    def sharing_target(self, device: Device) -> tuple[Device, ...]:
        """Other devices with the same push target."""
        if not device.has_target:
            return ()
        target = push_target(device)
        places = self.by_target.get(hash(target), ())
        found = (self.devices[key][name] for key, name in places)
        return tuple(
            other
            for other in found
            if push_target(other) == target
            and (other.account, other.device) != (device.account, device.device)
        )

    def set_binding(self, binding: Binding) -> Binding | None:
        """Add or replace."""
        old = self.drop_binding(binding.account, binding.device)
        place = (binding.account, binding.device)
        self.bindings.setdefault(binding.account, {})[binding.device] = binding
        self.by_flow.setdefault(binding.source, {})[place] = None
        if binding.route_key:
            self.by_route_key[binding.route_key] = place
        return old

    def drop_binding(self, key: AccountKey, device: DeviceId) -> Binding | None:
        """Remove."""
        old = _pop(self.bindings, key, device)
        if old is not None:
            _pop(self.by_flow, old.source, (key, device))
            if self.by_route_key.get(old.route_key) == (key, device):
                del self.by_route_key[old.route_key]
        return old

    def _untarget(self, device: Device | None) -> None:
        if device is not None and device.has_target:
            _pop(self.by_target, hash(push_target(device)), (device.account, device.device))

    def _unindex(self, key: AccountKey) -> Account | None:
        old = self.accounts.get(key)
        if old is not None:
            # A name may have gone to another account already, if news of the two crossed.
            for names, name in ((self.by_aor, old.aor), (self.by_token, old.contact_token)):
                if names.get(name) == key:
                    del names[name]
            _pop(self.by_user, aor_user(old.aor), key)
        return old


def aor_user(aor: str) -> str:
    """The user part of a canonical AOR."""
    return aor.partition(":")[2].rpartition("@")[0]


def _pop(outer: dict[_K, dict[_L, _V]], key: _K, name: _L) -> _V | None:
    """Remove from a dictionary of dictionaries, leaving no empty one behind."""
    inner = outer.get(key)
    if inner is None:
        return None
    value = inner.pop(name, None)
    if not inner:
        del outer[key]
    return value
