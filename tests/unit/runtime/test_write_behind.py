"""runtime.write_behind: many values that wait for the store at once."""

import asyncio
from collections.abc import Callable

import structlog

from push_proxy.errors import StoreUnavailable
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
