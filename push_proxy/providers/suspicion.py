"""Faults that one device can cause as well as the configuration of its app."""

import hashlib

_ENOUGH = 3


class Suspicion:
    """Three devices in a row with the same kind of fault, and it is no longer the devices.

    One whose token belongs to another app, say, must not keep everybody else from being called.
    """

    def __init__(self) -> None:
        self._devices: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._devices)

    def holds(self, token: str) -> bool:
        """Count a fault of this device; whether it is everybody's now."""
        if len(self._devices) < _ENOUGH:
            self._devices.add(hashlib.sha256(token.encode(errors="replace")).digest())
        return len(self._devices) >= _ENOUGH

    def ends(self) -> None:
        """A push to some device was fine."""
        self._devices.clear()
