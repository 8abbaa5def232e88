"""Calls that the native stack refused when too much waited for Python: they end there."""

from collections.abc import Callable, Mapping

from prometheus_client import Counter

from ..core.model import Verdict
from ..core.outcome import FAULTS

_SHED = "shed.INVITE"


class ShedCalls:
    """Adds them to the calls that have ended, at each scrape: nobody hears of them before."""

    def __init__(self, calls: Counter) -> None:
        self._calls = calls
        self._source: Callable[[], Mapping[str, int]] = dict
        self._counted = 0

    def watch(self, source: Callable[[], Mapping[str, int]]) -> None:
        """Read ``Signaling.counters`` at each scrape."""
        self._source, self._counted = source, 0

    def count(self) -> None:
        """Count those that have come since the last time."""
        shed = self._source().get(_SHED, 0)
        verdict = Verdict.OVERLOADED
        self._calls.labels(verdict.value, FAULTS[verdict].value).inc(max(0, shed - self._counted))
        self._counted = shed
