"""The store's watch: patient at the start, quick to tell afterwards."""

import pytest

from push_proxy import patience
from push_proxy.demo.process import poll_until
from push_proxy.errors import StoreUnavailable
from push_proxy.recovery_ports import StoreEmptied
from push_proxy.runtime import store_watch
from push_proxy.runtime.store_watch import StoreWatch


class Flaky:
    """A store that fails when told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.opened = 0
        self.away = False
        self.empty = False
        self.broken = 0

    async def open(self) -> None:
        self.opened += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("nobody there")

    async def ping(self) -> None:
        if self.broken:
            self.broken -= 1
            raise RuntimeError("never thought of")
        if self.away:
            raise StoreUnavailable("gone")
        if self.empty:
            raise StoreEmptied("it is empty")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of milliseconds."""
    monkeypatch.setattr(patience, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(store_watch, "WATCH_S", 0.001)


async def _nothing() -> None:
    """There is nothing to read."""


async def test_start_waits_for_the_store() -> None:
    """A store that is down at the start is tried again until it comes; meanwhile the fault names
    it.
    """
    store = Flaky(failures=3)
    watch = StoreWatch(store, where="redis.url")
    seen: list[str] = []

    async def read() -> None:
        seen.append(watch.fault)

    await watch.open(then=read)

    assert store.opened == 4
    assert seen == ["redis.url: nobody there"]
    assert watch.fault == ""


async def test_store_lost_between_opening_and_reading() -> None:
    """A store that goes away while the accounts are read is opened again, and they are read
    again.
    """
    store = Flaky()
    watch = StoreWatch(store, where="redis.url")
    reads = 0

    async def read() -> None:
        nonlocal reads
        reads += 1
        if reads == 1:
            raise StoreUnavailable("lost")

    await watch.open(then=read)

    assert (store.opened, reads, watch.fault) == (2, 2, "")


async def test_a_fault_of_ours_does_not_end_the_watch() -> None:
    """Whatever goes wrong in a look: the next outage is told, and its end."""
    store = Flaky()
    watch = StoreWatch(store, where="redis.url")
    await watch.open(then=_nothing)
    store.broken = 3
    watch.start()
    assert await poll_until(lambda: store.broken == 0, within_s=5)
    store.away = True
    assert await poll_until(lambda: watch.fault != "", within_s=5)
    store.away = False
    assert await poll_until(lambda: watch.fault == "", within_s=5)
    await watch.aclose()


async def test_tells_when_it_goes_and_comes() -> None:
    """A store that goes away while running is a fault at once, and none when it is back."""
    store = Flaky()
    watch = StoreWatch(store, where="redis.url")
    await watch.open(then=_nothing)
    watch.start()

    async def until(fault: str) -> None:
        assert await poll_until(lambda: watch.fault == fault, within_s=5)

    store.away = True
    await until("redis.url: gone")
    store.away = False
    await until("")
    await watch.aclose()


async def test_a_store_that_came_back_empty_is_filled_until_it_is_whole() -> None:
    """It is a fault until everything was given back, tried again when the store goes meanwhile;
    after each ping recovery may look whether the last moments are there.
    """
    store = Flaky()
    watch = StoreWatch(store, where="redis.url")
    given: list[str] = []

    class Recovery:
        async def emptied(self) -> None:
            given.append(watch.fault)
            if len(given) < 3:
                raise StoreUnavailable("gone again")
            store.empty = False

        async def look(self) -> None:
            given.append("looked")

    await watch.open(then=_nothing)
    watch.start(Recovery())
    assert await poll_until(lambda: bool(given), within_s=5)
    store.empty = True
    given.clear()
    assert await poll_until(lambda: given[3:4] == ["looked"], within_s=5)
    assert given[:3] == ["redis.url: it is empty"] * 3
    assert await poll_until(lambda: watch.fault == "", within_s=5)
    await watch.aclose()
