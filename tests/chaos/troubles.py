"""What happens to nodes and store while calls go on, one thing after the other."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.lab.cluster import Node

from .scene import Scene

SETTLES_S = 12.0
"""Between two troubles: leases have found their places again."""
BACK_S = 5.0
BACK = f"back within {BACK_S:g} s"


@dataclass(slots=True)
class Trouble:
    """One that happened."""

    name: str
    node: str
    """Whose; empty: the store's."""
    began_s: float
    ended_s: float = 0.0

    @property
    def keeps_calls(self) -> bool:
        """Whether calls that it hits are to connect all the same: the store's are, and those of a
        node that was back in time, which a machine with much else to do cannot always manage.
        """
        return not self.node or (BACK in self.name and self.ended_s - self.began_s <= BACK_S)

    def touches(self, node: str, began_s: float, ended_s: float) -> bool:
        """Whether a call of that time, in the hands of that node, may have been hit by it."""
        if self.node and node != self.node:
            return False
        return began_s < self.ended_s + 1.0 and ended_s > self.began_s


@dataclass(slots=True)
class Troubles:
    """Plays them; ``down`` says who does not run at this moment."""

    scene: Scene
    only: Callable[[str], bool] = lambda _: True
    """Which of them, by name."""
    say: Callable[[str], None] = print
    happened: list[Trouble] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    """Addresses of nodes that are dead, still or cut off."""

    def plan(self) -> Sequence[tuple[str, Callable[[Trouble], Awaitable[None]], Node | None]]:
        """All kinds, each with another node where there is one."""
        one, two, three = self.scene.nodes
        return (
            (f"killed, {BACK}", self._killed(one, 1.0), one),
            ("paused 4 s", self._paused(two, 4.0), two),
            ("store restarted", self._store_restarted, None),
            ("killed, away 15 s", self._killed(three, 15.0), three),
            ("cut off 4 s", self._cut_off(one, 4.0), one),
            ("paused 12 s", self._paused(two, 12.0), two),
            ("store still for 5 s", self._store_still, None),
            ("cut off 12 s", self._cut_off(three, 12.0), three),
            ("drained and started", self._drained(one), one),
        )

    async def play(self) -> None:
        """One after the other."""
        for name, act, node in self.plan():
            if not self.only(name):
                continue
            self.say(f"{node.node if node else 'the store'}: {name}")
            trouble = Trouble(name, node.node if node else "", time.monotonic())
            self.happened.append(trouble)
            await act(trouble)
            trouble.ended_s = time.monotonic()
            await asyncio.sleep(SETTLES_S)

    def is_alive(self, address: str) -> bool:
        """Whether the node at this address can answer."""
        return address not in self.down

    def _killed(self, node: Node, away_s: float) -> Callable[[Trouble], Awaitable[None]]:
        async def act(_: Trouble) -> None:
            self.down.add(node.host)
            node.kill()
            await asyncio.sleep(away_s)
            await node.restart()
            self.down.discard(node.host)

        return act

    def _paused(self, node: Node, still_s: float) -> Callable[[Trouble], Awaitable[None]]:
        async def act(_: Trouble) -> None:
            self.down.add(node.host)
            node.pause()
            await asyncio.sleep(still_s)
            node.resume()
            self.down.discard(node.host)

        return act

    def _cut_off(self, node: Node, alone_s: float) -> Callable[[Trouble], Awaitable[None]]:
        async def act(_: Trouble) -> None:
            host = self.scene.host_of(node)
            self.down.add(node.host)
            host.cut_off()
            await asyncio.sleep(alone_s)
            host.reconnect()
            self.down.discard(node.host)

        return act

    def _drained(self, node: Node) -> Callable[[Trouble], Awaitable[None]]:
        async def act(_: Trouble) -> None:
            os.kill(node.process.pid, signal.SIGTERM)
            await node.process.wait_exit(within_s=90)
            self.down.add(node.host)
            await node.restart()
            self.down.discard(node.host)

        return act

    async def _store_restarted(self, _: Trouble) -> None:
        store = self.scene.store
        store.process.kill()
        await asyncio.sleep(1.0)
        await store.start()

    async def _store_still(self, _: Trouble) -> None:
        self.scene.store.pause()
        await asyncio.sleep(5.0)
        self.scene.store.resume()
