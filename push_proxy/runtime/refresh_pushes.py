"""Pushes that ask a phone to register, about no call of their own (RFC 8599 §5.5, §6.2)."""

import asyncio

from ..core.actions import PushType
from ..core.ids import AccountKey, DeviceId, Instant
from ..core.model import Device
from ..ports import Clock
from ..tasks import spawn
from .pusher import Pusher

_APART_S = 5.0
"""Between two of them to one device: one brings it, however many wait for it."""
_REMEMBERED = 1000
_SHUTDOWN_S = 3.0


class RefreshPushes:
    """Sends them beside everything else: nobody waits for the provider."""

    def __init__(self, pusher: Pusher, clock: Clock) -> None:
        self._pusher = pusher
        self._clock = clock
        self._sent: dict[tuple[AccountKey, DeviceId], Instant] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Give what is on its way a moment to end."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_SHUTDOWN_S)
            for task in late:
                task.cancel()

    def send(self, device: Device, *, within_s: float) -> bool:
        """Push once; False when the device has just been pushed to, or cannot be.

        Whether it comes shows in its REGISTER: a failure is not tried again.
        """
        place, now = (device.account, device.device), self._clock.now()
        last = self._sent.get(place)
        if (last is not None and now - last < _APART_S) or not self._pusher.serves(device):
            return False
        if len(self._sent) >= _REMEMBERED:
            self._sent = {key: at for key, at in self._sent.items() if now - at < _APART_S}
        self._sent[place] = now
        task = spawn(self._push(device, within_s), name=f"refresh push to {device.device}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _push(self, device: Device, within_s: float) -> None:
        await self._pusher.send_without_call(device, PushType.REFRESH, within_s=within_s)
