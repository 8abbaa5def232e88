"""How the nodes live together."""

from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STATES = ("starting", "ready", "draining")
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class ClusterMetrics:
    """A part of `metrics.Metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._nodes = Gauge(
            "push_proxy_nodes",
            "Living nodes that this one knows, itself among them",
            ("state",),
            registry=registry,
        )
        self._feed_lag = Histogram(
            "push_proxy_feed_lag_seconds",
            "From another node's write to our memory, by the two nodes' clocks",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self._reloads = Counter(
            "push_proxy_feed_reloads_total",
            "All accounts were read again: we fell behind the feed, or the store had lost it",
            registry=registry,
        )
        self._through = Counter(
            "push_proxy_relayed_through_total",
            "INVITEs sent to a phone through the node that has its flow",
            registry=registry,
        )
        self._orders = Counter(
            "push_proxy_orders_total",
            "Questions to other nodes, by what came of them",
            ("kind", "result"),
            registry=registry,
        )

    def watch(self, states: Callable[[], Iterable[str]]) -> None:
        """Ask ``states`` at each scrape: the state of each living node."""
        for state in STATES:
            self._nodes.labels(state).set_function(partial(_count, states, state))

    def feed_applied(self, lag_s: float) -> None:
        """Another node's change is in our memory ``lag_s`` after it was written."""
        self._feed_lag.observe(max(0.0, lag_s))

    def reloaded(self) -> None:
        """Everything was read again."""
        self._reloads.inc()

    def relayed_through(self) -> None:
        """An INVITE leaves through another node."""
        self._through.inc()

    def asked(self, kind: str, result: str) -> None:
        """Another node was asked; ``result``: ``answered``, ``silent`` or ``failed``."""
        self._orders.labels(kind, result).inc()


def _count(states: Callable[[], Iterable[str]], state: str) -> float:
    return float(sum(each == state for each in states()))
