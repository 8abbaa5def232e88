"""The store's watch: patient at the start, quick to tell afterwards."""

import pytest

from push_proxy.demo.process import poll_until
from push_proxy.errors import StoreUnavailable
from push_proxy.runtime import store_watch
from push_proxy.runtime.store_watch import StoreWatch


class Flaky:
    """A store that fails when told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.opened = 0
        self.away = False

    async def open(self) -> None:
        self.opened += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("nobody there")

    async def ping(self) -> None:
        if self.away:
            raise StoreUnavailable("gone")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of milliseconds."""
    monkeypatch.setattr(store_watch, "FIRST_RETRY_S", 0.001)
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
