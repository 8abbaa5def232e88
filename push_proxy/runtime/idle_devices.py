"""Devices that nobody hears of: asked once by a push, then without push token."""

import asyncio
import random
from collections.abc import Callable, Iterator

from ..core.actions import PushType
from ..core.events import PushOutcome
from ..core.idle import IdleRules, IdleStep, idle_step
from ..core.ids import AccountKey
from ..core.model import Device
from ..ports import Clock
from ..tasks import spawn
from .directory import Directory
from .index import Place
from .pusher import Pusher
from .tokens import Tokens

TICK_S = 1.0
LOOKS_PER_TICK = 200
"""How many are looked at in one go: it must take no time that a call would notice."""
STEPS_PER_TICK = 5
"""Pushes sent and tokens dropped: an operator's devices often fell silent on the same day."""
_LONGEST_TTL_S = 28 * 86_400.0
"""No provider keeps a push for longer."""
_DONE = frozenset({PushOutcome.ACCEPTED, PushOutcome.REJECTED, PushOutcome.SKIPPED})
"""After the others the push is tried again: the provider may come back."""
_AGAIN_S = 3600.0


class IdleDevices:
    """Goes round all devices, for ever, a few at a time."""

    def __init__(
        self,
        *,
        directory: Directory,
        pusher: Pusher,
        tokens: Tokens,
        clock: Clock,
        rules: IdleRules,
        owns: Callable[[AccountKey], bool] = lambda _: True,
    ) -> None:
        """A reload may change ``rules``; ``owns``: whose devices are looked at here."""
        self.rules = rules
        self._directory = directory
        self._pusher = pusher
        self._tokens = tokens
        self._clock = clock
        self._owns = owns
        self._round: Iterator[Device | None] = iter(())
        self._asked: dict[Place, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on from now, in the background."""
        self._task = spawn(self._run(), name="idle devices")

    def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def step(self) -> int:
        """Look at the next devices; returns how many were asked or dropped."""
        done = 0
        for _ in range(LOOKS_PER_TICK):
            try:
                device = next(self._round)
            except StopIteration:
                self._begin_round()
                break
            done += device is not None and self._look_at((device.account, device.device))
            if done == STEPS_PER_TICK:
                break
        return done

    def _begin_round(self) -> None:
        self._round = self._all_devices()
        now = self._clock.now()
        self._asked = {place: at for place, at in self._asked.items() if now - at < _AGAIN_S}

    def _all_devices(self) -> Iterator[Device | None]:
        """As they are when their turn comes; None for an account without any."""
        accounts = self._directory.accounts()
        start = random.randrange(len(accounts)) if accounts else 0
        for account in (*accounts[start:], *accounts[:start]):
            ours = self._directory.devices(account.key) if self._owns(account.key) else ()
            yield from ours or (None,)

    def _look_at(self, place: Place) -> bool:
        device, now = self._directory.device(*place), self._clock.now()
        if device is None:
            return False
        due = idle_step(
            device,
            self._directory.binding(*place),
            self.rules,
            pushable=self._pusher.serves(device),
            now=now,
        )
        match due:
            case IdleStep.SEEN:
                self._directory.touch_device(*place)
            case IdleStep.DROP:
                self._tokens.drop(device, "idle")
            case IdleStep.REFRESH if now - self._asked.get(place, -_AGAIN_S) >= _AGAIN_S:
                self._asked[place] = now
                ttl_s = min(self.rules.refresh_s or 0.0, _LONGEST_TTL_S)
                spawn(self._refresh(device, ttl_s), name=f"refresh {device.device}")
            case _:
                return False
        return due is not IdleStep.SEEN

    async def _refresh(self, device: Device, ttl_s: float) -> None:
        result = await self._pusher.send_without_call(device, PushType.REFRESH, within_s=ttl_s)
        if result.outcome in _DONE:
            self._directory.note_refresh(device.account, device.device)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * TICK_S)
            self.step()
