"""What came of each device that was pushed: counted, and told to whom it concerns.

Of those that did not come it is remembered, so that who comes too late is known by it.
"""

from typing import Protocol

from ..core.ids import AccountKey, CallId, DeviceId, Instant
from ..core.model import Verdict
from ..core.part import Part, Reach
from ..core.ring_result import RingResult, ring_result
from ..core.wake import Live
from ..core.wake_health import WakeEnd, WakeResult
from ..core.wake_results import wake_results
from ..observability.metrics import Metrics
from .calls import Calls
from .directory import Directory
from .held_call import HeldCall
from .latecomers import Latecomers
from .live_wake import LiveWake

_NOT_PUSHED = frozenset({Verdict.PUSH_REJECTED, Verdict.PROVIDER_UNAVAILABLE})


class WakeWatcher(Protocol):
    """Who wants to know how devices wake: `runtime.wake_history.WakeHistory`."""

    def expect(self, key: AccountKey) -> None:
        """A call has come that may wake the account's devices."""

    def ended(self, key: AccountKey, name: DeviceId, result: WakeResult) -> None:
        """It has ended for a device that was pushed."""


class WakeOutcomes:
    """Tells metrics, watcher and timelines how devices woke."""

    def __init__(
        self,
        *,
        directory: Directory,
        calls: Calls,
        metrics: Metrics,
        watcher: WakeWatcher | None = None,
    ) -> None:
        self.watcher = watcher
        self._directory = directory
        self._calls = calls
        self._metrics = metrics
        self._latecomers = Latecomers()

    def expect(self, account: AccountKey) -> None:
        """A call has come that may wake the account's devices."""
        if self.watcher is not None:
            self.watcher.expect(account)

    def registered(self, wake: LiveWake, device: DeviceId, now: Instant) -> None:
        """A device has registered; it may be what this call waits for."""
        if not isinstance(wake.state, Live):
            return
        part = wake.state.part(device)
        if part is not None and _is_missing(part):
            self._wake_ended(wake.held, device, "registered", now)

    def came(self, account: AccountKey, device: DeviceId, now: Instant) -> CallId | None:
        """The ended call that a device which registers now was pushed for, told once."""
        return self._latecomers.came(account, device, now)

    def ended(self, held: HeldCall, last: Live, now: Instant) -> None:
        """The call has its final response."""
        if not any(part.pushes for part in last.parts):
            return
        for part in filter(_is_missing, last.parts):
            self._latecomers.missed(held.account.key, part.device, held.call, now)
        outcome = self._calls.outcome(held.call)
        verdict = outcome.verdict if outcome else Verdict.PROXY_ERROR
        self._ring_ended(held, ring_result(last, verdict, now))
        for device, result in wake_results(last, verdict, now):
            if self.watcher is not None:
                self.watcher.ended(held.account.key, device, result)
            if not result.woke:
                says_why = result.end is WakeEnd.FAILED or result.verdict in _NOT_PUSHED
                what = result.verdict.value if says_why else "call_over"
                self._wake_ended(held, device, what, now)

    def _ring_ended(self, held: HeldCall, result: RingResult | None) -> None:
        if result is not None:
            device = self._directory.device(held.account.key, result.device)
            self._metrics.rings.ended(
                result.end, result.seconds, device_platform=device.platform if device else None
            )

    def _wake_ended(self, held: HeldCall, name: DeviceId, result: str, now: Instant) -> None:
        device = self._directory.device(held.account.key, name)
        self._metrics.wake_ended(
            now - held.received_at,
            provider=device.provider if device else "",
            device_platform=device.platform if device else None,
            result=result,
        )


def _is_missing(part: Part) -> bool:
    return part.pushes > 0 and part.reached < Reach.REGISTERED
