"""How many shards are ours, and how many were taken from nodes that died."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge


class LeaseMetrics:
    """`cluster.leases.LeaseMeters`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._shards = Gauge(
            "push_proxy_shards",
            "Shards of accounts: owned here, awaited from another node, leaving to one",
            ("state",),
            registry=registry,
        )
        self._taken_over = Counter(
            "push_proxy_takeovers_total",
            "Shards taken from a node that did not give them back",
            registry=registry,
        )

    def set_shards(self, counts: Mapping[str, int]) -> None:
        """See `cluster.leases.LeaseMeters.set_shards`."""
        for state, count in counts.items():
            self._shards.labels(state).set(count)

    def shards_taken_over(self, count: int) -> None:
        """See `cluster.leases.LeaseMeters.shards_taken_over`."""
        self._taken_over.inc(count)
