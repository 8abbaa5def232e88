"""What a process and its children cost: memory and CPU, as the kernel counts them."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """At one moment; bytes, and CPU seconds since the process began."""

    rss: int
    private: int
    """Anonymous memory: what it shares with other processes is left out."""
    cpu_s: float


def cost_of(pid: int) -> Cost:
    """Of this process alone."""
    rss = private = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "Rss":
            rss = int(rest.split()[0]) * 1024
        elif name == "Anonymous":
            private = int(rest.split()[0]) * 1024
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Cost(rss=rss, private=private, cpu_s=ticks / os.sysconf("SC_CLK_TCK"))


def children(pid: int) -> list[int]:
    """Process ids of its children."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
            if parent == pid:
                found.append(int(entry.name))
    return found
