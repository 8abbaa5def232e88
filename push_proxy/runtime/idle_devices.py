"""Devices that nobody hears of: asked once by a push, then without push token."""

import asyncio
import random
from collections.abc import Iterator

from ..core.actions import PushType
from ..core.events import PushOutcome
from ..core.idle import IdleRules, IdleStep, idle_step
from ..core.model import Account, Device
from ..ports import Clock
from ..tasks import spawn
from .directory import Directory
from .index import Place
from .pusher import Pusher
from .tokens import Tokens

TICK_S = 1.0
ACCOUNTS_PER_TICK = 200
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
    ) -> None:
        """A reload may change ``rules``."""
        self.rules = rules
        self._directory = directory
        self._pusher = pusher
        self._tokens = tokens
        self._clock = clock
        self._round: Iterator[Account] = iter(())
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
        """Look at the next accounts, and at all their devices; returns how many steps were due."""
        done = 0
        for _ in range(ACCOUNTS_PER_TICK):
            account = next(self._round, None)
            if account is None:
                self._begin_round()
                return done
            for device in self._directory.devices(account.key):
                done += self._look_at(device)
            if done >= STEPS_PER_TICK:
                return done
        return done

    def _begin_round(self) -> None:
        accounts = self._directory.accounts()
        start = random.randrange(len(accounts)) if accounts else 0
        self._round = iter((*accounts[start:], *accounts[:start]))
        now = self._clock.now()
        self._asked = {place: at for place, at in self._asked.items() if now - at < _AGAIN_S}

    def _look_at(self, device: Device) -> bool:
        place, now = (device.account, device.device), self._clock.now()
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
