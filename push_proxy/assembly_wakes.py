"""How the parts that remember how devices wake are put together."""

from dataclasses import dataclass

from .observability.metrics import Metrics
from .ports import Clock, Notices, Store
from .runtime.directory import Directory
from .runtime.wake_history import WakeHistory
from .runtime.wake_latency import WakeLatencies


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeMemory:
    """How devices have woken lately: each of them, and all together."""

    history: WakeHistory
    latencies: WakeLatencies

    async def aclose(self) -> None:
        """Write what waits, as far as the time reaches."""
        await self.history.aclose()


def open_wake_memory(
    *, store: Store, directory: Directory, notices: Notices, clock: Clock, metrics: Metrics
) -> WakeMemory:
    """From now on it follows which devices go."""
    latencies = WakeLatencies(clock)
    history = WakeHistory(
        store=store,
        directory=directory,
        notices=notices,
        clock=clock,
        metrics=metrics.wakes,
        latencies=latencies,
    )
    history.start()
    return WakeMemory(history=history, latencies=latencies)
