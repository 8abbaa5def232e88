"""What the directory tells its listeners: values before and after; None where there is none.

``remote``: another node did it, and has told everybody there is to tell. Whatever must happen
once happens there.
"""

from dataclasses import dataclass

from ..core.ids import AccountKey
from ..core.model import Account, Binding, Device


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """An account was created (``old`` None), replaced, or deleted (``new`` None)."""

    old: Account | None
    new: Account | None
    remote: bool = False


@dataclass(frozen=True, slots=True)
class DeviceChanged:
    """A device was registered, replaced, deleted, or left because another took its token."""

    account: AccountKey
    old: Device | None
    new: Device | None
    remote: bool = False


@dataclass(frozen=True, slots=True)
class BindingChanged:
    """A binding was made, refreshed, removed, or expired (``new`` None)."""

    old: Binding | None
    new: Binding | None
    remote: bool = False


@dataclass(frozen=True, slots=True)
class DeviceMoved:
    """An exclusive push token left a device, which is gone, for ``to``. Told before that."""

    old: Device
    to: Device


@dataclass(frozen=True, slots=True)
class DeviceEvicted:
    """A device gave way to a new one, ``by``: its account had too many. Told before it goes."""

    old: Device
    by: Device


Change = AccountChanged | DeviceChanged | BindingChanged | DeviceMoved | DeviceEvicted
