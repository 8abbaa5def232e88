r"""Hosts of our own on one machine: network namespaces on one bridge, with the tests on it too.

```
 tests (10.213.N.1) --- bridge ppN --- veth --- namespace ppN-a (10.213.N.2)
                                  \\--- veth --- namespace ppN-b (10.213.N.3)
```

A host that is cut off has its end of the cable down: packets are lost both ways and nobody is
told, as in a partition; connections on it go on when it is back. Needs root and iproute2.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from push_proxy.demo.ports import SHARED

_LEAST, _MOST = 20, 250


class NamespaceError(RuntimeError):
    """The kernel or ``ip`` refused; the text is what it said."""


def can_make_namespaces() -> bool:
    """Whether this process may make hosts here: root, with iproute2, on a kernel that lets it."""
    if os.geteuid() != 0:
        return False
    name = f"pp-probe-{os.getpid()}"
    try:
        ip("netns", "add", name)
    except (NamespaceError, FileNotFoundError):
        return False
    ip("netns", "del", name)
    return True


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace with one address."""

    name: str
    address: str
    cable: str
    """Its veth's end on the bridge."""

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` on this host; its process is the program itself."""
        return ["ip", "netns", "exec", self.name, *argv]

    def cut_off(self) -> None:
        """From now on nothing reaches it and nothing leaves it."""
        ip("link", "set", self.cable, "down")

    def reconnect(self) -> None:
        """The cable is back."""
        ip("link", "set", self.cable, "up")


@dataclass(slots=True)
class Network:
    """A bridge and its hosts, gone at the end. Use as a context manager.

    Networks of tests that run at the same time have different numbers.
    """

    hosts: list[Host] = field(default_factory=list)
    _number: int = 0
    _lock: IO[str] | None = None

    @property
    def bridge(self) -> str:
        """The bridge's name."""
        return f"pp{self._number}"

    @property
    def address(self) -> str:
        """The tests' own address on it."""
        return f"10.213.{self._number}.1"

    def host(self, name: str) -> Host:
        """A new host; ``name`` is one of a few letters, unique in this network."""
        number = len(self.hosts) + 2
        host = Host(
            name=f"{self.bridge}-{name}",
            address=f"10.213.{self._number}.{number}",
            cable=f"{self.bridge}v{number}",
        )
        ip("netns", "add", host.name)
        self.hosts.append(host)
        inner = f"{host.cable}i"
        ip("link", "add", host.cable, "type", "veth", "peer", "name", inner, "netns", host.name)
        ip("link", "set", host.cable, "master", self.bridge, "up")
        ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", inner)
        ip("-n", host.name, "link", "set", inner, "up")
        ip("-n", host.name, "link", "set", "lo", "up")
        return host

    def __enter__(self) -> Self:
        self._number, self._lock = _take_number()
        self._remove()
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.address}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hosts.clear()
        self._remove()
        if self._lock is not None:
            self._lock.close()

    def _remove(self) -> None:
        """Also what a killed run has left under this number: the lock says that it is dead."""
        for line in ip("netns", "list").splitlines():
            name = line.split()[0] if line.strip() else ""
            if name.startswith(f"{self.bridge}-"):
                ip("netns", "del", name)
        # The kernel takes a namespace's cables away with it, but not at once.
        links = Path("/sys/class/net")
        for link in (links / self.bridge, *links.glob(f"{self.bridge}v*")):
            try:
                ip("link", "del", link.name)
            except NamespaceError:
                if link.exists():
                    raise


def _take_number() -> tuple[int, IO[str]]:
    for number in range(_LEAST, _MOST):
        lock = (SHARED / f"push-proxy-network-{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return number, lock
    raise NamespaceError(f"all networks 10.213.{_LEAST}.0 to 10.213.{_MOST - 1}.0 are in use")


def ip(*arguments: str) -> str:
    """What ``ip`` says; raises `NamespaceError` when it refuses."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NamespaceError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
