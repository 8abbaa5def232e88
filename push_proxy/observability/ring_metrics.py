"""The service level: how soon a call to a sleeping phone rings."""

from prometheus_client import CollectorRegistry, Histogram

from ..core.ring_result import RingEnd
from . import labels

_BUCKETS = (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20, 30)


class RingMetrics:
    """A part of `metrics.Metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ring = Histogram(
            "push_proxy_ring_seconds",
            "INVITE received to the first phone ringing, of calls to sleeping phones",
            ("platform", "result"),
            buckets=_BUCKETS,
            registry=registry,
        )

    def ended(self, end: RingEnd, seconds: float, *, device_platform: str | None) -> None:
        """One call; ``seconds`` as in `core.ring_result.RingResult`."""
        self._ring.labels(labels.platform(device_platform), end.value).observe(seconds)
