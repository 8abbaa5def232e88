"""Pushes about messages and voice mail: sent beside everything else, a bounded number at a time."""

import asyncio
from collections.abc import Callable

from ..core.events import PushOutcome
from ..core.payload import Push
from ..ports import PushResult
from ..tasks import spawn
from .pusher import Pusher

AT_ONCE = 32
"""Pushes for one app at a time: calls go before."""
MOST_WAITING = 10_000
_SHUTDOWN_S = 3.0
_OVERLOADED = PushResult(outcome=PushOutcome.UNAVAILABLE, reason="overloaded", attempts=0)

Told = Callable[[PushResult], None]


def nobody(result: PushResult) -> None:
    """Whoever sends it does not wait for what becomes of it."""
    del result


class AlertPushes:
    """Sends them, and tells what the provider made of each."""

    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher
        self._sending: dict[tuple[str, str], asyncio.Semaphore] = {}
        """By app: one that hangs holds up none of the others."""
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, push: Push, told: Told = nobody) -> None:
        """Push, and call ``told`` with the result, later."""
        if len(self._tasks) >= MOST_WAITING:
            asyncio.get_running_loop().call_soon(told, _OVERLOADED)
            return
        task = spawn(self._send(push, told), name=f"{push.type} push to {push.device.device}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Give what is on its way a moment to end."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_SHUTDOWN_S)
            for task in late:
                task.cancel()

    async def _send(self, push: Push, told: Told) -> None:
        app = (push.device.provider, push.device.app_id)
        async with self._sending.setdefault(app, asyncio.Semaphore(AT_ONCE)):
            result = await self._pusher.send(push)
        told(result)
