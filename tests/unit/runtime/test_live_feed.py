"""The live feed: nobody waits for a reader, and a reader learns what counts."""

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from push_proxy.core.ids import AccountKey, CallId, Instant, TenantId
from push_proxy.core.model import CallRecord, CallState, Direction
from push_proxy.runtime import live_feed
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.live_feed import GATHER_S, Changed, LiveFeed, Picture, Reader
from push_proxy.tasks import spawn

ACME, OTHER = TenantId("acme"), TenantId("other")


class Calls:
    """Calls in memory, as `runtime.calls.Calls` has them."""

    def __init__(self) -> None:
        self.known: dict[CallId, CallRecord] = {}
        self.tell: Callable[[CallRecord], None] = lambda _: None

    def get(self, call: CallId) -> CallRecord | None:
        return self.known.get(call)

    def live(self, tenant: TenantId, *, limit: int) -> tuple[CallRecord, ...]:
        mine = [one for one in self.known.values() if one.account.startswith(f"{tenant}/")]
        return tuple(reversed(mine))[:limit]

    def watch(self, on_change: Callable[[CallRecord], None]) -> None:
        self.tell = on_change

    def put(self, name: str, *, tenant: TenantId = ACME, **fields: object) -> CallRecord:
        known = self.known.get(CallId(name)) or CallRecord(
            id=CallId(name),
            account=AccountKey(f"{tenant}/101"),
            direction=Direction.INCOMING,
            sip_call_id="c@pbx",
            started_at=Instant(1.0),
        )
        record = dataclasses.replace(known, **fields)  # type: ignore[arg-type]
        self.known[record.id] = record
        self.tell(record)
        return record


class Scene:
    """A feed whose time the test owns."""

    def __init__(self) -> None:
        self.clock, self.calls = ManualClock(), Calls()
        self.feed = LiveFeed(self.calls, self.clock)

    async def reader(self, tenant: TenantId = ACME) -> Reader:
        """One that has taken its picture."""
        reader = self.feed.open(tenant)
        assert reader is not None
        assert isinstance(await reader.next(within_s=5), Picture)
        return reader

    async def told(self, reader: Reader) -> list[CallRecord]:
        self.clock.advance(GATHER_S)
        return list((await changed(reader)).calls)


async def changed(reader: Reader) -> Changed:
    """What has come by now."""
    news = await reader.next(within_s=0.01)
    assert isinstance(news, Changed)
    return news


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_reader_begins_with_what_goes_on(scene: Scene) -> None:
    """The newest first, of its own tenant only."""
    first, second = scene.calls.put("a"), scene.calls.put("b")
    scene.calls.put("c", tenant=OTHER)
    reader = scene.feed.open(ACME)
    assert reader is not None
    assert await reader.next(within_s=5) == Picture((second, first))


async def test_changes_of_a_moment_are_one(scene: Scene) -> None:
    """Told once, with the newest record, and again only after a tenth of a second."""
    reader = await scene.reader()
    for state in (CallState.WAKING, CallState.RINGING, CallState.ANSWERED):
        scene.calls.put("a", state=state)
    (record,) = await scene.told(reader)
    assert record.state is CallState.ANSWERED
    scene.calls.put("a", callee="first")
    scene.clock.advance(0.001)
    assert len((await changed(reader)).calls) == 1
    scene.calls.put("a", callee="second")
    scene.clock.advance(GATHER_S / 2)
    assert await changed(reader) == Changed(())
    assert [one.callee for one in await scene.told(reader)] == ["second"]


async def test_the_end_of_a_call_is_told_though_it_has_left_memory(scene: Scene) -> None:
    """Written, it is gone from memory before the reader is told."""
    reader = await scene.reader()
    scene.calls.put("a")
    scene.calls.put("a", state=CallState.ENDED)
    del scene.calls.known[CallId("a")]
    (record,) = await scene.told(reader)
    assert record.state is CallState.ENDED


async def test_a_tenant_hears_nothing_of_another(scene: Scene) -> None:
    """Neither in the picture nor later."""
    ours, theirs = await scene.reader(), await scene.reader(OTHER)
    scene.calls.put("a")
    assert len(await scene.told(ours)) == 1
    assert await theirs.next(within_s=0.01) == Changed(())


async def test_a_reader_that_takes_nothing_is_dropped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it is bounded; others go on."""
    monkeypatch.setattr(live_feed, "UNTAKEN_CALLS", 3)
    slow, quick = await scene.reader(), await scene.reader()
    for number in range(4):
        scene.calls.put(f"call-{number}")
        assert len(await scene.told(quick)) == 1
    assert slow.ended
    assert await slow.next(within_s=5) is None
    assert scene.feed.readers == 1


async def test_closing_the_feed_ends_who_waits(scene: Scene) -> None:
    """At once, and nobody gets in any more."""
    reader = await scene.reader()
    waiting = spawn(reader.next(within_s=60), name="a reader")
    await asyncio.sleep(0)
    scene.feed.close()
    assert await asyncio.wait_for(waiting, 1) is None
    assert scene.feed.open(ACME) is None
    assert scene.feed.readers == 0


async def test_readers_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many gets none; when one leaves there is room again."""
    monkeypatch.setattr(live_feed, "READERS", 1)
    reader = await scene.reader()
    assert scene.feed.open(ACME) is None
    reader.close()
    assert scene.feed.open(ACME) is not None


async def test_one_tenant_leaves_room_for_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many readers it opens, another tenant's console still gets its feed."""
    monkeypatch.setattr(live_feed, "READERS_OF_TENANT", 2)
    opened = [scene.feed.open(ACME) for _ in range(3)]
    assert [reader is not None for reader in opened] == [True, True, False]
    assert scene.feed.open(OTHER) is not None


async def test_without_readers_a_change_costs_nothing(scene: Scene) -> None:
    """Nothing is gathered, no timer runs."""
    scene.calls.put("a")
    assert scene.feed._due == {}
    assert scene.feed._timer is None
