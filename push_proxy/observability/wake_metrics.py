"""Metrics of devices that stop waking, and return."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class WakeMetrics:
    """A part of `metrics.Metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._not_waking = Gauge(
            "push_proxy_devices_not_waking",
            "Devices that used to wake and have stopped",
            registry=registry,
        )
        self._turns = Counter(
            "push_proxy_device_turns_total",
            "Devices that stopped waking (stopped) or wake again (returned)",
            ("turn",),
            registry=registry,
        )
        for turn in ("stopped", "returned"):
            self._turns.labels(turn)
        self._lost = Counter(
            "push_proxy_wake_results_lost_total",
            "Wakes that are missing in histories: the store took none for too long",
            registry=registry,
        )

    def watch(self, not_waking: Callable[[], int]) -> None:
        """Ask ``not_waking`` at each scrape."""
        self._not_waking.set_function(not_waking)

    def turned(self, *, stopped: bool) -> None:
        """A device has stopped waking, or wakes again."""
        self._turns.labels("stopped" if stopped else "returned").inc()

    def lost(self) -> None:
        """A wake's result could not be kept."""
        self._lost.inc()
