"""Who ends the calls of a node that does not come back, and when."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from push_proxy.cluster.node import NodeRecord
from push_proxy.core.ids import AccountKey
from push_proxy.core.model import Address, HeldInvite
from push_proxy.errors import StoreUnavailable
from push_proxy.runtime import reaping as module
from push_proxy.runtime.reaping import Reaping
from tests.contract.samples import ALICE, BOB, held

LEASE_S = 0.02
ME, N1 = Address("10.0.0.9", 5060), Address("10.0.0.1", 5060)


class World:
    """Nodes that live, and what those that do not have left behind."""

    def __init__(self) -> None:
        self.records: dict[str, Address] = {"me": ME}
        self.named = {"me"}
        self.held: list[HeldInvite] = []
        self.answering: set[Address] = set()
        self.asked: list[Address] = []
        self.asked_at = 0.0
        self.looks_after_asking = 0
        self.on_look: Callable[[], object] = lambda: None
        self.away = 0
        self.reaped: list[HeldInvite] = []
        self.fails = 0

    # Members

    def alive(self) -> Mapping[str, NodeRecord]:
        return {n: NodeRecord(id=n, incarnation=n, sip=sip) for n, sip in self.records.items()}

    async def look(self) -> None:
        self.looks_after_asking += bool(self.asked)
        self.on_look()

    # Traces

    async def node_names(self) -> tuple[str, ...]:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("cut off")
        return tuple(sorted(self.named))

    async def forget_node(self, node: str) -> bool:
        if node in self.records or any(each.node == node for each in self.held):
            return False
        self.named.discard(node)
        return True

    async def held_of_node(
        self, node: str, *, accounts: Callable[[AccountKey], bool] = lambda _: True
    ) -> tuple[HeldInvite, ...]:
        return tuple(h for h in self.held if h.node == node and accounts(h.account))

    # Probe

    async def answers(self, node: Address) -> bool:
        self.asked.append(node)
        self.asked_at = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        return node in self.answering

    # Restoring

    async def reap(self, found: Iterable[HeldInvite]) -> int:
        if self.fails:
            self.fails -= 1
            raise ValueError("no such thing")
        gone: Sequence[HeldInvite] = list(found)
        self.held = [each for each in self.held if each not in gone]
        self.reaped += gone
        return len(gone)

    # what happens

    def holds(self, account: AccountKey = ALICE) -> None:
        """A call is held by n1, which is known by what it left in the store."""
        self.named.add("n1")
        call = f"call-{len(self.held)}"
        self.held.append(held(0.0, call, node="n1", host="10.0.0.1", account=account))

    def lives(self) -> None:
        self.records["n1"] = N1
        self.named.add("n1")

    def dies(self) -> None:
        del self.records["n1"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", LEASE_S)
    return World()


@pytest.fixture
def reaper(world: World) -> Reaping:
    return Reaping(
        restoring=world,  # type: ignore[arg-type]
        members=world,
        store=world,
        probe=world,
        owns=lambda account: account == ALICE,
        lease_s=LEASE_S,
    )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - until it has come about
            await asyncio.sleep(LEASE_S / 4)


async def test_a_node_that_does_not_come_back(world: World, reaper: Reaping) -> None:
    """It has time to come back, is asked where it was seen last, and its calls are ended: those of
    accounts that are ours. When others have ended the rest, its id goes as well.
    """
    world.lives()
    reaper.start()
    world.records["n1"] = Address("10.0.0.2", 5080)
    reaper.moved(["n1"])
    world.holds()
    world.holds(BOB)
    world.dies()
    gone_at = asyncio.get_running_loop().time()
    reaper.moved(["n1"])
    await until(lambda: world.reaped)
    assert world.asked_at >= gone_at + 2 * LEASE_S
    assert world.asked == [Address("10.0.0.2", 5080)]
    assert world.looks_after_asking == 1
    assert [each.account for each in world.reaped] == [ALICE]
    assert world.named == {"me", "n1"}
    world.held.clear()
    await until(lambda: world.named == {"me"})
    await until(lambda: not reaper._tasks)
    assert world.asked == [Address("10.0.0.2", 5080)], "nobody is asked who holds nothing of ours"
    reaper.aclose()


async def test_a_node_that_answers_keeps_its_calls(world: World, reaper: Reaping) -> None:
    """It is cut off from the store alone: it is asked again and again, and only when it does not
    answer any more its calls are ended.
    """
    world.lives()
    reaper.start()
    world.holds()
    world.answering.add(N1)
    world.dies()
    reaper.moved(["n1"])
    await until(lambda: len(world.asked) > 4)
    assert world.reaped == []
    assert world.named == {"me", "n1"}
    world.answering.clear()
    await until(lambda: world.reaped)
    reaper.aclose()


async def test_a_node_that_comes_back(world: World, reaper: Reaping) -> None:
    """It takes up its calls itself: nobody touches them, also when that is seen at the last
    moment. When it goes again it is given time anew.
    """
    world.lives()
    reaper.start()
    world.holds()
    world.dies()
    reaper.moved(["n1"])
    world.on_look = world.lives
    await until(lambda: world.looks_after_asking)
    await until(lambda: world.asked)
    assert world.reaped == []
    reaper.moved(["n1"])
    world.dies()
    reaper.moved(["n1"])
    world.asked.clear()
    loop = asyncio.get_running_loop()
    gone_at = loop.time()
    await until(lambda: world.asked)
    assert loop.time() - gone_at >= 2 * LEASE_S
    reaper.aclose()


async def test_a_node_that_was_gone_before_us(world: World, reaper: Reaping) -> None:
    """Nobody who lives has seen it go: it is known by its id, also when the store is away at
    first, and asked where its calls came in.
    """
    world.holds()
    world.named.add("n2")
    world.away = 2
    reaper.start()
    await until(lambda: world.reaped)
    assert world.asked == [Address("10.0.0.1", 5060)]
    await until(lambda: world.named == {"me"})
    reaper.aclose()


async def test_what_goes_wrong_is_tried_again(world: World, reaper: Reaping) -> None:
    """The calls of a dead node do not wait for ever for what one of them has brought about."""
    world.holds()
    world.fails = 2
    reaper.start()
    with capture_logs() as lines:
        await until(lambda: world.reaped)
    assert [line["log_level"] for line in lines].count("error") == 2
    reaper.aclose()


async def test_an_address_that_another_node_has_now(world: World, reaper: Reaping) -> None:
    """Whoever answers there is not the node that is gone."""
    world.holds()
    world.records["n3"] = N1
    world.answering.add(N1)
    reaper.start()
    await until(lambda: world.reaped)
    assert world.asked == []
    reaper.aclose()
