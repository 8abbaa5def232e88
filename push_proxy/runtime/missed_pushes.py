"""Pushes about missed calls: one to each device, at once.

A device that did not take it gets it after its next REGISTER, while nobody has seen the call.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ..cluster.once import Once
from ..core.actions import PushType
from ..core.events import PushOutcome
from ..core.ids import AccountKey, DeviceId, Instant, PushId
from ..core.missed import MissedCall
from ..core.model import Account, Binding, Device
from ..core.payload import Push
from ..ports import Clock
from ..tasks import spawn
from .changes import AccountChanged, BindingChanged, Change
from .directory import Directory
from .missed_book import Entry, MissedBook
from .pusher import Pusher

PUSH_S = 86_400.0
"""So long a missed call is worth telling to a phone that is off."""
AT_ONCE = 32
"""Pushes for one app, and accounts read from the store, at a time: calls go before."""
MOST_WAITING = 10_000
"""Beyond that a push stays owed until the device's REGISTER."""
_SHUTDOWN_S = 3.0
_CLAIM_S = 10.0
"""So long no other node pushes the same missed call to the same device."""
_TAKEN = frozenset({PushOutcome.ACCEPTED, PushOutcome.SKIPPED})
_NOT_ASKED = frozenset({None, PushOutcome.UNAVAILABLE, PushOutcome.MISCONFIGURED})
"""Nobody has judged whether the device takes it: its next REGISTER is another occasion."""


class MissedPushes:
    """Sends them beside everything else: no call waits for them."""

    def __init__(
        self,
        *,
        book: MissedBook,
        directory: Directory,
        pusher: Pusher,
        clock: Clock,
        once: Once | None = None,
    ) -> None:
        """``once``: which of several nodes pushes, when a device comes as its call ends."""
        self._once = once or Once()
        self._book = book
        self._directory = directory
        self._pusher = pusher
        self._clock = clock
        self._met: set[AccountKey] = set()
        """Accounts of which the store has been asked whom they owe a push."""
        self._owed: dict[AccountKey, set[DeviceId]] = {}
        """Their devices that may be owed one."""
        self._registered: dict[AccountKey, set[DeviceId]] = {}
        """Devices that wait for an answer of the store."""
        self._reading = asyncio.Semaphore(AT_ONCE)
        self._sending: dict[tuple[str, str], asyncio.Semaphore] = {}
        """By app: one that hangs holds up none of the others."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Follow who registers, and which accounts go."""
        self._directory.subscribe(self._on_change)

    async def aclose(self) -> None:
        """Give what is on its way a moment to end. What is not pushed stays owed."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_SHUTDOWN_S)
            for task in late:
                task.cancel()

    def missed_elsewhere(self, key: AccountKey) -> None:
        """Another node keeps a missed call of which devices are to be told when they come."""
        self._met.discard(key)

    def send(self, entry: Entry, devices: Iterable[DeviceId], *, again: bool = False) -> None:
        """Push to those of these devices that have not taken it.

        ``again``: a refusal is final.
        """
        for device in devices:
            if device not in entry.missed.owed or device in entry.pushing:
                continue
            if len(self._tasks) >= MOST_WAITING:
                self._stays_owed(entry, device)
                continue
            entry.pushing.add(device)
            self._begin(self._send(entry, device, again=again), f"missed call to {device}")

    async def _send(self, entry: Entry, name: DeviceId, *, again: bool) -> None:
        try:
            outcome = await self._push(entry, name)
        finally:
            entry.pushing.discard(name)
        if outcome in _TAKEN or (again and outcome not in _NOT_ASKED):
            self._book.told(entry, name)
        else:
            self._stays_owed(entry, name)
        self._book.let_go(entry)

    def _stays_owed(self, entry: Entry, name: DeviceId) -> None:
        if not entry.over:
            self._owed.setdefault(entry.missed.account, set()).add(name)

    async def _push(self, entry: Entry, name: DeviceId) -> PushOutcome | None:
        """What became of it; None: there is nothing to push to, or to tell any more."""
        known = self._directory.device(entry.missed.account, name)
        if known is None:
            return None
        app = (known.provider, known.app_id)
        async with self._sending.setdefault(app, asyncio.Semaphore(AT_ONCE)):
            device = self._directory.device(entry.missed.account, name)
            if entry.over or device is None or not self._pusher.serves(device):
                return None
            once = f"missed/{entry.missed.call}/{name}"
            if not await self._once.mine(once, for_s=_CLAIM_S):
                return None
            result = await self._pusher.send(_push_of(entry.missed, device, self._clock.now()))
        return result.outcome

    def _on_change(self, change: Change) -> None:
        match change:
            case BindingChanged(new=Binding(account=key, device=device), remote=False):
                self._on_register(key, device)
            case AccountChanged(old=Account(key=key), new=None):
                self._met.discard(key)
                self._owed.pop(key, None)
                self._book.forget(key)

    def _on_register(self, key: AccountKey, name: DeviceId) -> None:
        device = self._directory.device(key, name)
        if device is None or not device.has_target:
            return  # nothing can be pushed to it
        if key in self._registered:
            self._registered[key].add(name)
        elif key not in self._met or name in self._owed.get(key, ()):
            self._registered[key] = {name}
            self._begin(self._hand_over(key), f"missed calls of {key}")

    async def _hand_over(self, key: AccountKey) -> None:
        """To the devices that have registered, what they have not taken yet."""
        try:
            async with self._reading:
                entries, complete = await self._book.unseen(key)
        finally:
            registered = self._registered.pop(key)
        if complete:
            self._met.add(key)
            self._owed.pop(key, None)
            owed = {device for entry in entries for device in entry.missed.owed} - registered
            if owed:
                self._owed[key] = owed
        for entry in entries:
            self.send(entry, registered, again=True)
            self._book.let_go(entry)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = spawn(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _push_of(missed: MissedCall, device: Device, now: Instant) -> Push:
    return Push(
        # The same after a crash, too, so that the receiver can drop the second one.
        id=PushId(str(uuid5(NAMESPACE_URL, f"missed:{missed.call}/{device.device}"))),
        type=PushType.MISSED,
        call=missed.call,
        sip_call_id=missed.sip_call_id,
        device=device,
        caller_number=missed.caller,
        caller_name=missed.caller_name,
        video=missed.video,
        started_at=missed.started_at,
        sent_at=now,
        expires_at=Instant(now + PUSH_S),
    )
