"""How an import goes, on a terminal or in a log."""

import time
from dataclasses import dataclass, field
from typing import Any, TextIO

TERMINAL_EVERY_S, LOG_EVERY_S = 0.2, 5.0


@dataclass(slots=True)
class Progress:
    """What has come of the rows so far."""

    total: int | None
    """Rows in the file; None: it cannot be read twice."""
    began: float = field(default_factory=time.monotonic)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("created", "updated", "unchanged", "failed"), 0)
    )
    summary: dict[str, Any] | None = None
    """The service's last line, once it has come."""

    @property
    def rows(self) -> int:
        """Results so far."""
        return sum(self.counts.values())

    def line(self) -> str:
        """For people, at this moment."""
        seconds = max(time.monotonic() - self.began, 0.001)
        rate = self.rows / seconds
        parts = [f"{self.rows} rows" if self.total is None else f"{self.rows} of {self.total} rows"]
        parts += [f"{rate:.0f} rows/s", f"{self.counts['failed']} failed"]
        if self.total is not None and rate:
            left = max(self.total - self.rows, 0)
            parts.append(f"{left} remaining (about {left / rate:.0f} s)")
        return ", ".join(parts)


class Display:
    """One line that is written over on a terminal; elsewhere a line every few seconds."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._every_s = TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S
        self._next = time.monotonic() + self._every_s
        self._shown = False

    def show(self, progress: Progress) -> None:
        """When it is time again."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every_s
        self._write(progress.line())

    def say(self, text: str) -> None:
        """A line that stays."""
        self.end()
        self._out.write(text + "\n")
        self._out.flush()

    def end(self) -> None:
        """Take the progress line away."""
        if self._shown:
            self._out.write("\r\x1b[K")
            self._shown = False

    def _write(self, text: str) -> None:
        if self._terminal:
            self._out.write(f"\r\x1b[K{text}")
            self._shown = True
        else:
            self._out.write(text + "\n")
        self._out.flush()
