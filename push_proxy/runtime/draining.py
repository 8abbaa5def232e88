"""The way out: work that is there is finished, new work is sent elsewhere.

Order of a drain: hand over what other nodes can take (while calls are taken as ever), then take
no new calls, then wait until nothing is left or the time is over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from ..tasks import spawn

_log = structlog.get_logger(__name__)

_LOOK_S = 0.05
_TELL_S = 1.0
_LAST_WORD_S = 1.0
"""After the last call: the ACK of its answer is to pass through us, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainRules:
    """How patient a stop is, seconds."""

    hand_over_s: float = 10.0
    """So long other nodes are given to take our accounts before new calls are refused."""
    deadline_s: float = 60.0
    """Then whoever still waits is answered; 0: at once."""


class Intake:
    """Whether new calls and MESSAGEs are taken: one for all who take them."""

    def __init__(self) -> None:
        self.closed = False
        self.alone = True
        """No other node lives: what is refused here is taken by nobody, so it goes on record."""

    def close(self, *, alone: bool) -> None:
        """From now on they are refused with 503 and Retry-After (RFC 3261 §21.5.4)."""
        self.closed, self.alone = True, alone


class Draining:
    """One stop of the service, from the first signal until nothing is left."""

    def __init__(
        self,
        *,
        rules: DrainRules,
        left: Callable[[], int],
        close: Callable[[], None],
        hand_over: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``left``: calls and MESSAGEs without a final response; ``close``: take no new ones.

        ``hand_over`` returns when other nodes have all that they can take; None: there are none.
        """
        self._rules = rules
        self._left = left
        self._close = close
        self._hand_over = hand_over

    async def run(self, *impatient: asyncio.Event) -> None:
        """Return when nothing is left, when the time is over, or when one of these is set."""
        if not self._rules.deadline_s:
            return
        try:
            async with asyncio.timeout(self._rules.deadline_s):
                await _unless(impatient, self._drained())
        except TimeoutError:
            _log.warning(
                "drain.deadline_s is over: who still waits is answered now", left=self._left()
            )

    async def _drained(self) -> None:
        await self._handed_over()
        self._close()
        if not self._left():
            return
        loop = asyncio.get_running_loop()
        told, tell_at = -1, loop.time()
        while left := self._left():
            if left != told and loop.time() >= tell_at:
                _log.info("draining", left=left)
                told, tell_at = left, loop.time() + _TELL_S
            await asyncio.sleep(_LOOK_S)
        _log.info("draining", left=0)
        await asyncio.sleep(_LAST_WORD_S)

    async def _handed_over(self) -> None:
        if self._hand_over is None:
            return
        try:
            async with asyncio.timeout(self._rules.hand_over_s):
                await self._hand_over()
        except TimeoutError:
            _log.warning(
                "drain.hand_over_s is over: not all accounts were taken by other nodes; they take "
                "them when our leases end"
            )


async def _unless(impatient: tuple[asyncio.Event, ...], work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` until it is done or one of these is set. Raises what it raises."""
    working = spawn(work, name="drain")
    waiting = [spawn(event.wait(), name="impatience") for event in impatient]
    try:
        await asyncio.wait((working, *waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, *waiting):
            task.cancel()
