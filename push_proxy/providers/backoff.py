"""How long to wait before the next try."""

import random


class Backoff:
    """Doubles with each failure in a row, up to a limit, and never beats in step with others."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    def failed(self) -> float:
        """Once more; how long to wait now, in seconds."""
        self._failures += 1
        doubled = self._first_s * 2.0 ** min(self._failures - 1, 30)
        return min(doubled, self._longest_s) * random.uniform(0.8, 1.2)

    def worked(self) -> None:
        """The next failure is the first one."""
        self._failures = 0
