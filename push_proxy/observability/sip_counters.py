"""SIP message counts, read from the stack when Prometheus asks."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from . import labels


class SipCounters(Collector):
    """Joins what the native stack counted with what was refused above it."""

    def __init__(self) -> None:
        self._source: Callable[[], Mapping[str, int]] = dict
        self._refused: Counter[str] = Counter()
        self._reason = labels.Bounded()

    def watch(self, source: Callable[[], Mapping[str, int]]) -> None:
        """Read ``Signaling.counters`` at each scrape."""
        self._source = source

    def refused(self, reason: str) -> None:
        """A request was refused above the stack."""
        self._refused[self._reason(reason)] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """`push_proxy_sip_messages_total` and `push_proxy_sip_rejected_total`."""
        messages: Counter[tuple[str, str]] = Counter()
        rejected = Counter(self._refused)
        for name, count in self._source().items():
            kind, _, detail = name.partition(".")
            if kind in {"received", "sent"}:
                messages[kind, labels.method(detail)] += count
            elif kind == "rejected":
                rejected[self._reason(detail)] += count
        total = CounterMetricFamily(
            "push_proxy_sip_messages",
            "SIP messages by direction and method, or class of response",
            labels=("direction", "method"),
        )
        for (direction, method), count in sorted(messages.items()):
            total.add_metric((direction, method), count)
        yield total
        refusals = CounterMetricFamily(
            "push_proxy_sip_rejected", "SIP requests refused, by reason", labels=("reason",)
        )
        for reason, count in sorted(rejected.items()):
            refusals.add_metric((reason,), count)
        yield refusals
