"""One push to its end, the same for every provider: deadlines, one resend, circuit, log."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import structlog

from ..core.events import PushOutcome
from ..core.ids import Instant
from ..core.payload import Push
from ..core.push_advice import push_advice
from ..ports import Clock, PushResult
from .attempt import UNAVAILABLE, Attempt
from .circuit import Circuits

_log = structlog.get_logger(__name__)

ATTEMPTS = 2
PATIENCE_S = 60.0
"""No push is tried for longer, were it worth something for days: no call waits longer, either."""
_QUIET_S = 60.0
_LOOK_S = 0.2

Send = Callable[[int, float], Awaitable[Attempt]]
"""One request: which one it is (0, 1), and how long it may take, seconds."""
Blocked = Callable[[Instant], Attempt | None]
"""Why nothing is to be sent now (`Circuits.blocked`); None: send."""


class Delivery:
    """At most two requests per push, each with a deadline, none after the push's expiry."""

    def __init__(
        self,
        provider: str,
        clock: Clock,
        *,
        request_s: float = 2.5,
    ) -> None:
        """``request_s``: how long each request may take."""
        self.circuits = Circuits()
        self._provider = provider
        self._clock = clock
        self._request_s = request_s
        self._told: dict[tuple[str, str], float] = {}

    async def deliver(self, push: Push, send: Send) -> PushResult:
        """Call ``send`` until it says that trying again is of no use."""
        app_id = push.device.app_id
        started = self._clock.now()
        attempts = 0
        last = await admitted(partial(self.circuits.blocked, app_id), push, self._clock)
        if last is None:
            attempts, last = await self._tries(push, send)
        if last.outcome not in {PushOutcome.ACCEPTED, PushOutcome.SKIPPED}:
            self._tell(app_id, last)
        return PushResult(
            outcome=last.outcome,
            reason=last.reason,
            attempts=attempts,
            elapsed_s=self._clock.now() - started,
            token=last.token,
            dead_since=last.dead_since,
            environment=last.environment,
            provider_id=last.provider_id,
        )

    async def _tries(self, push: Push, send: Send) -> tuple[int, Attempt]:
        last = Attempt(UNAVAILABLE, "expired")
        ends_at = min(push.expires_at, self._clock.now() + PATIENCE_S)
        for number in range(ATTEMPTS):
            left_s = ends_at - self._clock.now()
            if left_s <= 0:
                return number, last
            last = await self._try(push, send, number, min(self._request_s, left_s))
            if not last.again or number + 1 == ATTEMPTS:
                return number + 1, last
            if ends_at - self._clock.now() <= last.pause_s:
                return number + 1, last
            if last.pause_s:
                await asyncio.sleep(last.pause_s)
        raise AssertionError("unreachable")

    async def _try(self, push: Push, send: Send, number: int, timeout_s: float) -> Attempt:
        try:
            attempt = await send(number, timeout_s)
        except Exception:  # noqa: BLE001 - logged
            # A library's surprise must not leave the wake without an answer to its push.
            _log.exception("push adapter failed", provider=self._provider)
            attempt = Attempt(UNAVAILABLE, "internal_error")
        self.circuits.judged(push.device.app_id, attempt, self._clock.now())
        return attempt

    def _tell(self, app_id: str, attempt: Attempt) -> None:
        """Log a failure, at most once a minute for each app and reason."""
        now = self._clock.now()
        if now - self._told.get((app_id, attempt.reason), -_QUIET_S) < _QUIET_S:
            return
        self._told[app_id, attempt.reason] = now
        log = _log.error if attempt.ours else _log.warning
        log(
            "push not taken",
            provider=self._provider,
            app_id=app_id,
            outcome=attempt.outcome.value,
            reason=attempt.reason,
            advice=push_advice(self._provider, attempt.reason),
        )


async def admitted(blocked: Blocked, push: Push, clock: Clock) -> Attempt | None:
    """None as soon as the push may be sent; else why not, at once if it cannot be in its time.

    A provider that wants a pause costs calls that pause, not their push.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + min(push.expires_at - clock.now(), PATIENCE_S)
    while (refusal := blocked(clock.now())) is not None:
        throttled = refusal.outcome is PushOutcome.UNAVAILABLE
        if not throttled or refusal.pause_s >= ends_at - loop.time():
            return refusal
        await asyncio.sleep(min(refusal.pause_s or _LOOK_S, _LOOK_S))
    return None


def on_wall_clock(push: Push, now: Instant) -> Push:
    """The push with times that others compare with their own clocks.

    Ours never goes back, and may lag behind after a suspension.
    """
    skew_s = time.time() - now
    return replace(
        push,
        sent_at=Instant(push.sent_at + skew_s),
        expires_at=Instant(push.expires_at + skew_s),
    )
