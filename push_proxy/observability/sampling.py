"""Keeps a flood of the same log line from drowning the others."""

import re

_VARYING = re.compile(r"0x[0-9a-fA-F]+|[0-9]+")
_KEY_CHARS = 60


class Sampler:
    """Lets the first lines of a kind through in each window and counts the rest."""

    def __init__(self, *, burst: int = 5, window_s: float = 10.0, kinds: int = 1000) -> None:
        """At most ``burst`` lines of each kind in ``window_s``; ``kinds`` are told apart."""
        self._burst = burst
        self._window_s = window_s
        self._kinds = kinds
        self._seen: dict[str, tuple[float, int]] = {}

    def admit(self, kind: str, now: float) -> int | None:
        """None: leave the line out. Else how many of its kind were left out before it."""
        started, count = self._seen.get(kind, (now, 0))
        suppressed = 0
        if now - started >= self._window_s:
            suppressed = max(0, count - self._burst)
            started, count = now, 0
        if kind not in self._seen and len(self._seen) >= self._kinds:
            self._seen.clear()
        self._seen[kind] = (started, count + 1)
        return suppressed if count < self._burst else None


def kind_of(text: str) -> str:
    """Lines that differ in numbers and addresses alone are of one kind."""
    return _VARYING.sub("#", text)[:_KEY_CHARS]
