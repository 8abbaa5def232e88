"""Who ends the calls of a node that does not come back, and when."""

import asyncio
from collections.abc import Callable
from typing import Any

from push_proxy.core.model import HeldInvite
from push_proxy.runtime.reaping import Reaping
from tests.contract.samples import ALICE, held

LEASE_S = 0.02


class World:
    """Nodes that live, and calls of those that do not."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.reaped: list[tuple[str, bool]] = []

    def is_alive(self, node: str) -> bool:
        return node in self.alive

    async def reap(self, node: str, *, owns: Callable[[HeldInvite], bool]) -> int:
        self.reaped.append((node, owns(held(0.0))))
        return 1


def reaping(world: Any) -> Reaping:
    return Reaping(
        restoring=world, members=world, owns=lambda account: account == ALICE, lease_s=LEASE_S
    )


async def test_a_node_that_does_not_come_back() -> None:
    """Its calls are ended some time after it went, for the accounts that are ours, and looked for
    a few times: shards change hands meanwhile.
    """
    world = World()
    reaper = reaping(world)
    reaper.moved(["n1"])
    assert world.reaped == []
    async with asyncio.timeout(5):
        while len(world.reaped) < 5:  # noqa: ASYNC110 - until it has done so
            await asyncio.sleep(LEASE_S)
    await asyncio.sleep(3 * LEASE_S)
    assert world.reaped == [("n1", True)] * 5


async def test_a_node_that_comes_back() -> None:
    """It takes up its calls itself: nobody touches them."""
    world = World()
    reaper = reaping(world)
    reaper.moved(["n1"])
    world.alive.add("n1")
    await asyncio.sleep(6 * LEASE_S)
    assert world.reaped == []
    reaper.moved(["n1"])
    await asyncio.sleep(3 * LEASE_S)
    assert world.reaped == []
    reaper.aclose()
