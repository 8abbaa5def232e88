"""How push providers do, asked when Prometheus asks. Labels are bounded by the configuration."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ..ports import AppHealth, AppState
from . import labels

_Source = Callable[[], Iterable[tuple[str, AppHealth]]]


class ProviderHealth(Collector):
    """State and credential's end of each configured app; one that is not configured has none."""

    def __init__(self) -> None:
        self._source: _Source = tuple

    def watch(self, source: _Source) -> None:
        """Read ``Providers.health`` at each scrape."""
        self._source = source

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """`push_proxy_provider_state` and the end of credentials."""
        states = GaugeMetricFamily(
            "push_proxy_provider_state",
            "1 for the state that an app's pushes are in: unknown, ok, throttled or blocked",
            labels=("provider", "app_id", "state"),
        )
        ends = GaugeMetricFamily(
            "push_proxy_provider_credential_expiry_timestamp_seconds",
            "When a push provider's credential ends",
            labels=("provider", "app_id"),
        )
        for name, health in self._source():
            of_app = (labels.provider(name), health.app_id)
            for state in AppState:
                states.add_metric((*of_app, state.value), float(health.state is state))
            if health.credential_ends_at is not None:
                ends.add_metric(of_app, health.credential_ends_at)
        yield states
        yield ends
