"""Pushes about new voice mail, to devices that no NOTIFY reaches."""

from uuid import uuid4

from ..core.actions import PushType
from ..core.ids import AccountKey, DeviceId, Instant, PushId
from ..core.payload import Push
from ..ports import Clock
from .alert_pushes import AlertPushes
from .directory import Directory
from .pusher import Pusher

_PUSH_S = 86_400.0
"""So long new voice mail is worth telling to a phone that is off."""


class VoicemailPushes:
    """One to each device that sleeps, for each time that there is more than before."""

    def __init__(
        self, *, directory: Directory, pusher: Pusher, pushes: AlertPushes, clock: Clock
    ) -> None:
        self._directory = directory
        self._pusher = pusher
        self._pushes = pushes
        self._clock = clock
        self._owed: dict[AccountKey, set[DeviceId]] = {}
        """Devices that have been sent a NOTIFY instead, and have not answered it."""

    def rose(self, key: AccountKey, notified: frozenset[DeviceId]) -> None:
        """There is more; these devices have just been sent a NOTIFY about it."""
        self._owed[key] = set(notified)
        for device in self._directory.devices(key):
            if device.device not in notified:
                self._push(key, device.device)

    def reached(self, key: AccountKey, device: DeviceId) -> None:
        """It has answered."""
        owed = self._owed.get(key)
        if owed is not None:
            owed.discard(device)
            if not owed:
                del self._owed[key]

    def not_reached(self, key: AccountKey, device: DeviceId) -> None:
        """No answer: its connection was dead, or nobody is there."""
        if device in self._owed.get(key, ()):
            self.reached(key, device)
            self._push(key, device)

    def settled(self, key: AccountKey) -> None:
        """Nothing is new any more, or the account is gone."""
        self._owed.pop(key, None)

    def _push(self, key: AccountKey, name: DeviceId) -> None:
        device = self._directory.device(key, name)
        if device is None or not self._pusher.serves(device):
            return
        now = self._clock.now()
        self._pushes.send(
            Push(
                id=PushId(str(uuid4())),
                type=PushType.VOICEMAIL,
                device=device,
                sent_at=now,
                expires_at=Instant(now + _PUSH_S),
            )
        )
