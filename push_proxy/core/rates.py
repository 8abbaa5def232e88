"""Token buckets: how often something may happen."""

from collections import OrderedDict
from collections.abc import Hashable

_MOST_BUCKETS = 50_000


class Buckets:
    """One bucket per name: ``burst`` at once, refilled at ``per_second``.

    The names least recently seen are forgotten first (a forgotten bucket is a full one).
    """

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._rate = per_second
        self._burst = max(1.0, burst)
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, name: Hashable, now: float) -> float:
        """Take one token: 0.0 when there was one, else the seconds until there is."""
        wait_s = self.wait_s(name, now)
        if wait_s == 0.0:
            tokens, at = self._buckets[name]
            self._buckets[name] = (tokens - 1.0, at)
        return wait_s

    def wait_s(self, name: Hashable, now: float) -> float:
        """Seconds until a token is there; nothing is taken."""
        tokens, at = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - at) * self._rate)
        self._buckets[name] = (tokens, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._rate
