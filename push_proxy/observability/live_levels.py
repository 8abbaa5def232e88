"""How much there is in memory, asked when Prometheus asks: what grows without calls is a leak."""

import sys
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_STACK_PREFIX = "live."


class LiveLevels(Collector):
    """Counts of what comes with calls and goes with them. The kinds are fixed in the code."""

    def __init__(self) -> None:
        self._stack: Callable[[], Mapping[str, int]] = dict
        self._levels: dict[str, Callable[[], int]] = {"python_blocks": sys.getallocatedblocks}

    def watch_stack(self, counters: Callable[[], Mapping[str, int]]) -> None:
        """Read ``Signaling.counters`` at each scrape."""
        self._stack = counters

    def watch(self, kind: str, level: Callable[[], int]) -> None:
        """Ask ``level`` for one more kind at each scrape."""
        self._levels[kind] = level

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """`push_proxy_live`."""
        found = GaugeMetricFamily(
            "push_proxy_live",
            "What is in memory now, by kind: back where it was once calls are over",
            labels=("kind",),
        )
        for name, count in self._stack().items():
            if name.startswith(_STACK_PREFIX):
                found.add_metric((f"sip_{name.removeprefix(_STACK_PREFIX)}",), count)
        for kind, level in self._levels.items():
            found.add_metric((kind,), level())
        yield found
