"""Free loopback ports for child processes that must be told their port before they start."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from ..errors import PushProxyError

SHARED = Path("/tmp")  # noqa: S108 - the same for runs whose TMPDIR differs; opened for this user alone
"""Where runs beside each other find out what the others have."""
FIRST_PORT = 15000
FALLBACK_LAST_PORT = 32000


class NoFreePortError(PushProxyError):
    """Every port of the range is taken."""


def _last_port() -> int:
    """The end of our range: below the ports that the kernel hands out by itself."""
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return FALLBACK_LAST_PORT
    return low - 1 if low > FIRST_PORT + 2000 else FALLBACK_LAST_PORT


def _is_free(port: int) -> bool:
    """Whether UDP and TCP can be bound on every local address (media stacks bind the wildcard)."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True


def free_block(count: int) -> int:
    """The first of `count` neighbouring free ports, UDP and TCP; it is even, as RTP wants.

    A locked counter shared by all processes of this user hands each port out once per lap,
    so two runs beside each other never get the same one, even before the child has bound it.
    Raises NoFreePortError when a whole lap finds no room.
    """
    counter = SHARED / f"push-proxy-ports-{os.getuid()}"
    last = _last_port()
    descriptor = os.open(counter, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read().strip()
        port = int(text) if text.isdigit() else FIRST_PORT
        for _ in range(last - FIRST_PORT):
            port += port % 2
            if not FIRST_PORT <= port <= last - count:
                port = FIRST_PORT
            busy = next((p for p in range(port, port + count) if not _is_free(p)), None)
            if busy is None:
                file.seek(0)
                file.truncate()
                file.write(str(port + count))
                return port
            port = busy + 1
    raise NoFreePortError(f"no {count} neighbouring free ports in {FIRST_PORT}..{last}")


def free_port() -> int:
    """One free port, UDP and TCP."""
    return free_block(1)
