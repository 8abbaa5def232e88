"""Questions between nodes: answered once, in time, or told as silence."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from push_proxy.cluster.once import Once
from push_proxy.cluster.orders import NodeSilent, Orders
from push_proxy.core.model import CallRecord
from push_proxy.errors import StoreUnavailable
from push_proxy.runtime.clock import SystemClock
from push_proxy.store.memory import MemoryStore
from tests.contract.samples import call as call_record

CLOCK = SystemClock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    one: int
    other: int


class Meters:
    def __init__(self) -> None:
        self.results: list[tuple[str, str]] = []

    def asked(self, kind: str, result: str) -> None:
        self.results.append((kind, result))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(CLOCK)


@pytest.fixture
async def pair(store: MemoryStore) -> AsyncIterator[tuple[Orders, Orders, Meters]]:
    meters = Meters()
    one = Orders("one", store=store, clock=CLOCK, meters=meters)
    two = Orders("two", store=store, clock=CLOCK, meters=Meters())
    one.start()
    two.start()
    yield one, two, meters
    await one.aclose()
    await two.aclose()


async def test_an_order_is_answered(pair: tuple[Orders, Orders, Meters]) -> None:
    """What is asked comes as it was, and so does the answer; many at once do not mix."""
    one, two, meters = pair

    async def add(asked: Sum) -> int:
        await asyncio.sleep(0.001 * (asked.one % 3))
        return asked.one + asked.other

    two.serve("add", Sum, add)
    answers = await asyncio.gather(
        *(one.ask("two", "add", Sum(one=n, other=1), int) for n in range(20))
    )
    assert answers == list(range(1, 21))
    assert meters.results == [("add", "answered")] * 20


async def test_a_call_record_passes_whole(pair: tuple[Orders, Orders, Meters]) -> None:
    """A call's record with all its parts is the same at the other node."""
    one, two, _ = pair
    record = call_record(1_800_000_000.0)

    async def call(_: str) -> tuple[CallRecord, ...]:
        return (record,)

    two.serve("call", str, call)
    assert await one.ask("two", "call", record.id, tuple[CallRecord, ...]) == (record,)


async def test_silence_is_told(pair: tuple[Orders, Orders, Meters]) -> None:
    """A node that does not answer in time is named; so is one that cannot do it."""
    one, two, meters = pair
    with pytest.raises(NodeSilent, match="node three has this, and does not answer"):
        await one.ask("three", "add", 1, int, timeout_s=0.05)

    async def fail(_: int) -> int:
        raise ValueError("no")

    two.serve("fail", int, fail)
    for kind in ("fail", "unknown"):
        with pytest.raises(NodeSilent, match="could not do it"):
            await one.ask("two", kind, 1, int)
    assert [result for _, result in meters.results] == ["silent", "failed", "failed"]


async def test_a_fault_of_ours_does_not_make_a_node_silent(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong while it takes an order: the next one is answered."""
    take, faults = store.take_order, iter((RuntimeError("never thought of"),))

    async def take_order(node: str, *, wait_s: float) -> bytes | None:
        if node == "two" and (fault := next(faults, None)) is not None:
            raise fault
        return await take(node, wait_s=wait_s)

    monkeypatch.setattr(store, "take_order", take_order)
    one = Orders("one", store=store, clock=CLOCK, meters=Meters())
    two = Orders("two", store=store, clock=CLOCK, meters=Meters())

    async def same(what: int) -> int:
        return what

    two.serve("same", int, same)
    one.start()
    two.start()
    assert await one.ask("two", "same", 7, int, timeout_s=5) == 7
    await one.aclose()
    await two.aclose()


async def test_an_old_order_is_not_done(store: MemoryStore) -> None:
    """An order that waited in the inbox of a node that stood still is dropped: nobody waits."""
    one = Orders("one", store=store, clock=CLOCK, meters=Meters())
    one.start()
    done: list[int] = []

    async def do(what: int) -> int:
        done.append(what)
        return what

    with pytest.raises(NodeSilent):
        await one.ask("two", "do", 1, int, timeout_s=0.05)
    await asyncio.sleep(1.1)
    two = Orders("two", store=store, clock=CLOCK, meters=Meters())
    two.serve("do", int, do)
    two.start()
    assert await one.ask("two", "do", 2, int) == 2
    assert done == [2]
    await one.aclose()
    await two.aclose()


async def test_one_of_several_does_it(store: MemoryStore) -> None:
    """The first that says so does it, as often as it likes; the others do not, for a while."""
    one, two = Once("one", store), Once("two", store)
    assert await one.mine("push", for_s=0.1)
    assert not await two.mine("push", for_s=0.1)
    assert await one.mine("push", for_s=0.1)
    assert await two.mine("another", for_s=0.1)
    await asyncio.sleep(0.15)
    assert await two.mine("push", for_s=0.1)
    assert await Once().mine("push", for_s=0.1)


async def test_without_the_store_everybody_does_it() -> None:
    """Twice is better than never."""

    class Away(MemoryStore):
        async def share(self, *_: object, **__: object) -> bytes:
            raise StoreUnavailable("away")

    store = Away(CLOCK)
    assert await Once("one", store).mine("push", for_s=1)
    assert await Once("two", store).mine("push", for_s=1)
