"""Whether the service takes calls, and which accounts it lost: what a person is called for."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

STATES = ("starting", "ready", "degraded", "draining")


class ServiceState:
    """A part of `metrics.Metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ready = Gauge(
            "push_proxy_ready", "1 for what /readyz says, else 0", ("state",), registry=registry
        )
        self._lost = Counter(
            "push_proxy_registrations_lost_total",
            "Accounts that are not registered at their PBX any more, though they should be",
            registry=registry,
        )

    def watch(self, state: Callable[[], str]) -> None:
        """Ask ``state`` at each scrape: one of `STATES`."""
        for name in STATES:
            self._ready.labels(name).set_function(partial(_is, state, name))

    def registration_lost(self) -> None:
        """An account was found lost (`core.registration_loss`)."""
        self._lost.inc()


def _is(state: Callable[[], str], name: str) -> float:
    return float(state() == name)
