"""runtime.write_behind: many values that wait for the store at once."""

import asyncio
from collections.abc import Callable

import pytest
import structlog

from push_proxy.errors import StoreUnavailable
from push_proxy.runtime import write_behind
from push_proxy.runtime.write_behind import AT_ONCE, Job, WriteBehind


class Store:
    """Takes writes when it is told to; knows how many were under way at the same time."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.under_way = 0
        self.most = 0
        self.away = False
        self.opened = asyncio.Event()
        self.opened.set()

    def job(self, value: str) -> Job:
        async def write() -> None:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0)
            await self.opened.wait()
            self.under_way -= 1
            if self.away:
                raise StoreUnavailable("away")
            self.taken.append(value)

        return write


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the loop's next step may bring it
            await asyncio.sleep(0)


async def test_many_keys_are_written_at_a_time_and_each_once() -> None:
    """As many at once as one round trip should carry, the oldest first."""
    store, writes = Store(), WriteBehind("test")
    for number in range(1000):
        writes.submit(number, store.job(str(number)))
    assert await writes.drained(5)
    assert store.taken == [str(number) for number in range(1000)]
    assert store.most == AT_ONCE
    await writes.aclose()


async def test_a_newer_value_follows_the_one_that_is_being_written() -> None:
    """Never beside it: the older would win if it were slower."""
    store, writes = Store(), WriteBehind("test")
    store.opened.clear()
    writes.submit("a", store.job("old"))
    await until(lambda: store.under_way == 1)
    writes.submit("a", store.job("skipped"))
    writes.submit("a", store.job("new"))
    await until(lambda: writes.waiting == 1)
    assert store.under_way == 1
    store.opened.set()
    assert await writes.drained(5)
    assert store.taken == ["old", "new"]
    await writes.aclose()


async def test_what_the_store_does_not_take_waits_and_nothing_is_written_twice() -> None:
    """While the store is away all wait; back, each is taken once."""
    store, writes = Store(), WriteBehind("test", retry_s=0.01)
    store.away = True
    for number in range(3):
        writes.submit(number, store.job(str(number)))
    await until(lambda: writes.degraded)
    assert writes.waiting == 3
    store.away = False
    with structlog.testing.capture_logs() as logs:
        assert await writes.drained(5)
    told = {key: value for key, value in logs[0].items() if key in {"written", "left"}}
    assert told == {"written": 3, "left": 0}
    assert sorted(store.taken) == ["0", "1", "2"]
    assert not writes.degraded
    await writes.aclose()


async def test_all_of_them_end_in_time_when_the_store_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stop closes one after the other: those that wait in vain share one patience, and each has
    tried once more; one whose store answers is not hurried.
    """
    monkeypatch.setattr(write_behind, "TOGETHER_S", 0.5)
    monkeypatch.setattr(write_behind, "LEAST_S", 0.01)

    async def away() -> None:
        raise StoreUnavailable("nobody there")

    written: list[int] = []

    async def slow() -> None:
        await asyncio.sleep(0.02)
        written.append(1)

    several = [WriteBehind(f"part {number}", retry_s=0.01) for number in range(8)]
    for writes in several:
        writes.submit("key", away)
    well = WriteBehind("well")
    well.submit("key", slow)
    began = asyncio.get_running_loop().time()
    for writes in several:
        await writes.aclose(0.4)
    await well.aclose()
    assert asyncio.get_running_loop().time() - began < 8 * 0.4
    assert written == [1]
