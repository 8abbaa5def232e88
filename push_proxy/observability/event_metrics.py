"""Metrics of event webhooks."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from ..core.notices import NoticeType


class EventMetrics:
    """What becomes of events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "push_proxy_events_total",
            "Events by what came of an attempt to deliver them: delivered, retried, dead, dropped",
            ("type", "result"),
            registry=registry,
        )
        self._waiting = Gauge(
            "push_proxy_events_waiting", "Events on their way to webhooks", registry=registry
        )
        self._letters = Gauge(
            "push_proxy_event_dead_letters",
            "Events that no webhook took and nobody has replayed",
            registry=registry,
        )

    def counted(self, kind: NoticeType | None, result: str, number: int = 1) -> None:
        """An event was ``delivered``, ``retried``, ``dead`` or ``dropped``."""
        self._events.labels(kind.value if kind else "any", result).inc(number)

    def watch(self, waiting: Callable[[], int], dead_letters: Callable[[], int]) -> None:
        """Ask these at each scrape."""
        self._waiting.set_function(waiting)
        self._letters.set_function(dead_letters)
