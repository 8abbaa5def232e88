"""runtime.missed_*: kept until seen, pushed once per device, and once more to who missed it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from push_proxy.core.events import PushOutcome
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant
from push_proxy.core.missed import MissedCall
from push_proxy.core.model import CallRecord, CallState, Direction, TimelineEntry, Verdict
from push_proxy.core.notices import Notice
from push_proxy.core.outcome import outcome
from push_proxy.core.payload import Privacy
from push_proxy.errors import StoreUnavailable
from push_proxy.missed_ports import MissedCallPage
from push_proxy.runtime import missed_book, missed_pushes
from push_proxy.runtime.missed_book import MissedBook
from push_proxy.runtime.missed_calls import MissedCalls
from push_proxy.runtime.missed_pushes import MissedPushes
from tests.scenarios.fake_service import KEY, FakeService

PHONE, TABLET = DeviceId("phone"), DeviceId("tablet")


class Store:
    """The memory store, sometimes away or slow."""

    def __init__(self, service: FakeService) -> None:
        self._store = service.store
        self.away = False
        self.gate: asyncio.Event | None = None
        """Answers wait for it."""
        self.reads = 0

    async def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")

    async def put_missed_call(self, missed: MissedCall) -> None:
        await self._answer()
        await self._store.put_missed_call(missed)

    async def missed_calls(
        self, key: AccountKey, *, limit: int, cursor: str | None
    ) -> MissedCallPage:
        self.reads += 1
        await self._answer()
        page = await self._store.missed_calls(key, limit=limit, cursor=cursor)
        if self.gate is not None:
            await self.gate.wait()
        return page

    async def count_missed_calls(self, key: AccountKey) -> int:
        await self._answer()
        return await self._store.count_missed_calls(key)

    async def see_missed_calls(
        self, key: AccountKey, calls: Sequence[CallId], *, up_to: CallId | None = None
    ) -> tuple[CallId, ...]:
        await self._answer()
        return await self._store.see_missed_calls(key, calls, up_to=up_to)


class Scene:
    """One account; `start` is also what a restart is."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.box = service.box
        self.store = Store(service)
        self.notices: list[Notice] = []
        self.start()

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)

    def start(self) -> None:
        service = self.service
        service.directory._listeners.clear()
        self.book = MissedBook(self.store)
        self.pushes = MissedPushes(
            book=self.book,
            directory=service.directory,
            pusher=service.pusher,
            clock=service.clock,
        )
        self.pushes.start()
        self.calls = MissedCalls(
            book=self.book,
            pushes=self.pushes,
            directory=service.directory,
            notices=self,
            clock=service.clock,
            privacy=Privacy.FULL,
        )

    async def miss(
        self, name: str = "c1", verdict: Verdict = Verdict.NO_ANSWER, **changes: Any
    ) -> None:
        fields: dict[str, Any] = {
            "id": CallId(name),
            "account": KEY,
            "direction": Direction.INCOMING,
            "sip_call_id": f"sip-{name}",
            "caller": "555",
            "caller_name": "Ann",
            "video": True,
            "started_at": Instant(self.service.clock.now() - 20),
            "outcome": outcome(verdict, phase=CallState.RINGING, ended_by="pbx", status=487),
        }
        self.calls.on_decided(CallRecord(**{**fields, **changes}))
        await self.service.settled()
        self.service.clock.advance(1)

    async def registers(self, device: str = PHONE) -> list[tuple[str, str]]:
        """What is pushed then."""
        before = len(self.box.got)
        self.service.register(device)
        await self.service.settled()
        return self.told()[before:]

    def told(self) -> list[tuple[str, str]]:
        return [(push.call or "", push.device.device) for push in self.box.got]

    async def kept(self) -> list[str]:
        page = await self.book.page(KEY, limit=100, cursor=None)
        return [missed.call for missed in page.calls]

    def nothing_in_memory(self) -> bool:
        return not (self.book._live or self.book._reading or self.pushes._registered)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with FakeService() as service:
        await service.device(PHONE)
        await service.device(TABLET, token="tok-2")
        scene = Scene(service)
        yield scene
        await scene.pushes.aclose()
        await scene.book.aclose()


async def test_one_push_to_each_device_at_once(scene: Scene) -> None:
    """Type, call and caller; good for a day; says when the call was; and memory keeps nothing."""
    await scene.miss()
    assert scene.told() == [("c1", PHONE), ("c1", TABLET)]
    push, other = scene.box.got
    assert (push.type, push.sip_call_id, push.video) == ("missed", "sip-c1", True)
    assert (push.caller_number, push.caller_name) == ("555", "Ann")
    assert push.expires_at - push.sent_at == 86_400
    assert push.started_at == push.sent_at - 20
    assert push.id != other.id
    assert await scene.kept() == ["c1"]
    assert scene.nothing_in_memory()
    for device in (PHONE, TABLET):
        assert await scene.registers(device) == []


async def test_the_notice_is_told_as_well(scene: Scene) -> None:
    """Operators' systems hear of the same calls."""
    await scene.miss()
    assert [notice.data["call_id"] for notice in scene.notices] == ["c1"]


@pytest.mark.parametrize(
    "verdict",
    [Verdict.ANSWERED, Verdict.DECLINED, Verdict.ANSWERED_ELSEWHERE, Verdict.REFUSED],
)
async def test_other_calls_are_not_kept(scene: Scene, verdict: Verdict) -> None:
    """Neither kept nor pushed nor told."""
    await scene.miss(verdict=verdict)
    await scene.miss(direction=Direction.OUTGOING)
    assert (scene.told(), await scene.kept(), scene.notices) == ([], [], [])


def lines(*events: tuple[str, str]) -> tuple[TimelineEntry, ...]:
    return tuple(TimelineEntry(Instant(0), event, PHONE, detail) for event, detail in events)


@pytest.mark.parametrize(
    "timeline",
    [
        lines(("device_ringing", "180 Ringing"), ("device_refused", "486 Busy Here")),
        lines(("device_ringing", "180 Ringing"), ("device_refused", "603 Decline")),
        lines(("device_ringing", "180 Ringing"), ("device_refused", "600")),
        lines(("app_busy", "")),
        lines(("app_decline", "")),
    ],
)
async def test_who_declined_knows(scene: Scene, timeline: tuple[TimelineEntry, ...]) -> None:
    """The phone on which the person refused is not told, now or later; the others are."""
    await scene.miss(verdict=Verdict.BUSY, timeline=timeline)
    assert scene.told() == [("c1", TABLET)]
    assert await scene.registers() == []


@pytest.mark.parametrize(
    "timeline",
    [
        lines(("device_refused", "486 Busy Here")),
        lines(("device_ringing", "180 Ringing"), ("device_refused", "480 Gone")),
        lines(("device_ringing", "180 Ringing"), ("device_refused", "4860 Odd")),
        lines(("device_ringing", "180 Ringing")),
    ],
)
async def test_who_did_not_decline_is_told(
    scene: Scene, timeline: tuple[TimelineEntry, ...]
) -> None:
    """Busy in another call without ringing, or failed: the person knows nothing."""
    await scene.miss(timeline=timeline)
    assert ("c1", PHONE) in scene.told()


@pytest.mark.parametrize(
    "outcome", [PushOutcome.REJECTED, PushOutcome.UNAVAILABLE, PushOutcome.MISCONFIGURED]
)
async def test_who_did_not_take_it_gets_it_after_its_register(
    scene: Scene, outcome: PushOutcome
) -> None:
    """The very same push, to the device that has registered; then no more."""
    scene.box.outcome = outcome
    await scene.miss()
    first = scene.box.got[0]
    scene.box.outcome = PushOutcome.ACCEPTED
    assert await scene.registers() == [("c1", PHONE)]
    assert scene.box.got[-1].id == first.id
    assert scene.box.got[-1].expires_at > first.expires_at
    assert await scene.registers() == []
    assert await scene.registers(TABLET) == [("c1", TABLET)]
    reads = scene.store.reads
    assert await scene.registers(TABLET) == await scene.registers() == []
    assert scene.store.reads == reads
    assert await scene.kept() == ["c1"]


async def test_a_second_refusal_is_final(scene: Scene) -> None:
    """A device that refuses once more is not asked a third time."""
    scene.box.outcome = PushOutcome.REJECTED
    await scene.miss()
    assert await scene.registers() == [("c1", PHONE)]
    assert await scene.registers() == []


async def test_an_outage_of_the_provider_is_waited_out(scene: Scene) -> None:
    """Nobody has judged the device: each REGISTER is an occasion until one push is taken."""
    scene.box.outcome = PushOutcome.UNAVAILABLE
    await scene.miss()
    assert await scene.registers() == await scene.registers() == [("c1", PHONE)]
    scene.box.outcome = PushOutcome.ACCEPTED
    assert await scene.registers() == [("c1", PHONE)]
    assert await scene.registers() == []


async def test_no_way_for_such_pushes(scene: Scene) -> None:
    """SKIPPED (an iPhone without token for alerts): it will not be otherwise after a REGISTER."""
    scene.box.outcome = PushOutcome.SKIPPED
    await scene.miss()
    assert await scene.registers() == []


async def test_a_device_without_token_is_told_when_it_has_one(scene: Scene) -> None:
    """Its token had died: the app registers, with a new one."""
    await scene.service.device(PHONE, token="")
    await scene.miss()
    assert scene.told() == [("c1", TABLET)]
    assert await scene.registers() == []
    await scene.service.device(PHONE, token="new")
    assert await scene.registers() == [("c1", PHONE)]


async def test_nobody_is_told_of_what_was_seen(scene: Scene) -> None:
    """Seen on one device, the others hear no more of it; what came later is told, in order."""
    scene.box.outcome = PushOutcome.UNAVAILABLE
    for name in ("c1", "c2", "c3", "c4"):
        await scene.miss(name)
    await scene.book.see(KEY, [], up_to=CallId("c2"))
    assert await scene.kept() == ["c4", "c3"]
    scene.box.outcome = PushOutcome.ACCEPTED
    assert await scene.registers() == [("c3", PHONE), ("c4", PHONE)]
    await scene.book.see(KEY, [CallId("c3"), CallId("c4")])
    assert await scene.registers(TABLET) == []
    assert await scene.kept() == []


async def test_seen_while_the_push_is_under_way(scene: Scene) -> None:
    """It does not come back by what became of the push."""
    scene.box.gate = asyncio.Event()
    await scene.miss()
    await scene.book.see(KEY, [CallId("c1")])
    scene.box.gate.set()
    await scene.service.settled()
    assert await scene.kept() == []
    assert scene.nothing_in_memory()


async def test_seen_while_the_store_is_read(scene: Scene) -> None:
    """The device has registered, and another one says that the call was seen."""
    scene.box.outcome = PushOutcome.UNAVAILABLE
    await scene.miss()
    scene.box.outcome = PushOutcome.ACCEPTED
    scene.store.gate = asyncio.Event()
    assert await scene.registers() == []
    await scene.book.see(KEY, [CallId("c1")])
    scene.store.gate.set()
    await scene.service.settled()
    assert len(scene.told()) == 2
    assert scene.nothing_in_memory()


async def test_a_register_while_the_push_is_under_way(scene: Scene) -> None:
    """No second one beside it; nor after it was taken, whatever was read of the store before."""
    scene.box.gate = asyncio.Event()
    await scene.miss()
    scene.store.gate = asyncio.Event()
    assert await scene.registers() == []
    scene.box.gate.set()
    await scene.service.settled()
    scene.store.gate.set()
    await scene.service.settled()
    assert len(scene.told()) == 2
    assert scene.nothing_in_memory()


async def test_a_register_long_before_the_push_is_answered(scene: Scene) -> None:
    """The store says that it is owed still: it is on its way already."""
    scene.box.gate = asyncio.Event()
    await scene.miss()
    assert await scene.registers() == await scene.registers(TABLET) == []
    scene.box.gate.set()
    await scene.service.settled()
    assert len(scene.told()) == 2
    assert await scene.registers() == []
    assert scene.nothing_in_memory()


async def test_seen_while_its_push_waits_for_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not leave any more."""
    monkeypatch.setattr(missed_pushes, "AT_ONCE", 1)
    scene.box.gate = asyncio.Event()
    await scene.miss("c1")
    await scene.miss("c2")
    assert scene.told() == [("c1", PHONE)]
    await scene.book.see(KEY, [CallId("c2")])
    scene.box.gate.set()
    await scene.service.settled()
    assert scene.told() == [("c1", PHONE), ("c1", TABLET)]
    assert scene.nothing_in_memory()


async def test_seen_before_it_was_written(scene: Scene) -> None:
    """The store is back, and has not taken yet what waited: it is seen all the same."""
    scene.store.away = True
    await scene.miss("c1")
    await scene.miss("c2")
    scene.store.away = False
    await scene.book.see(KEY, [], up_to=CallId("c1"))
    assert await scene.kept() == ["c2"]


async def test_two_devices_that_register_at_once(scene: Scene) -> None:
    """One reading of the store serves both."""
    scene.box.outcome = PushOutcome.UNAVAILABLE
    await scene.miss()
    scene.box.outcome = PushOutcome.ACCEPTED
    scene.store.gate = asyncio.Event()
    assert await scene.registers() == await scene.registers(TABLET) == []
    scene.store.gate.set()
    await scene.service.settled()
    assert sorted(scene.told()[2:]) == [("c1", PHONE), ("c1", TABLET)]
    assert scene.store.reads == 1


async def test_after_a_restart(scene: Scene) -> None:
    """What nobody took is owed as before; what was taken is not pushed again."""
    await scene.miss("taken")
    scene.box.outcome = PushOutcome.UNAVAILABLE
    await scene.miss("owed")
    scene.start()
    scene.box.outcome = PushOutcome.ACCEPTED
    assert await scene.registers() == [("owed", PHONE)]
    scene.start()
    assert await scene.registers() == []
    assert await scene.registers(TABLET) == [("owed", TABLET)]


async def test_killed_while_the_push_was_under_way(scene: Scene) -> None:
    """Nobody knows what became of it: it is sent once more, with the same id."""
    scene.box.gate = asyncio.Event()
    await scene.miss()
    scene.start()
    scene.box.gate = None
    assert await scene.registers() == [("c1", PHONE)]
    assert scene.box.got[-1].id == scene.box.got[0].id


async def test_while_the_store_is_away(scene: Scene) -> None:
    """Calls are pushed and kept all the same; the list is refused, and whole when it is back."""
    scene.store.away = True
    await scene.miss("c1")
    scene.box.outcome = PushOutcome.UNAVAILABLE
    await scene.miss("c2")
    assert len(scene.told()) == 4
    scene.box.outcome = PushOutcome.ACCEPTED
    assert await scene.registers() == [("c2", PHONE)]
    with pytest.raises(StoreUnavailable):
        await scene.kept()
    with pytest.raises(StoreUnavailable):
        await scene.book.see(KEY, [CallId("c1")])
    assert await scene.book.count(KEY) is None
    scene.store.away = False
    assert await scene.kept() == ["c2", "c1"]
    assert await scene.book.count(KEY) == 2
    assert await scene.registers(TABLET) == [("c2", TABLET)]
    assert await scene.registers() == []


async def test_too_many_wait_for_the_store(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: those beyond it are told to operators only."""
    monkeypatch.setattr(missed_book, "MEMORY_LIMIT", 2)
    scene.store.away = True
    for name in ("c1", "c2", "c3"):
        await scene.miss(name)
    scene.store.away = False
    assert await scene.kept() == ["c2", "c1"]
    assert len(scene.notices) == 3


async def test_too_many_pushes_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond it are sent when their device registers."""
    monkeypatch.setattr(missed_pushes, "MOST_WAITING", 2)
    scene.box.gate = asyncio.Event()
    await scene.miss("c1")
    await scene.miss("c2")
    assert scene.told() == [("c1", PHONE), ("c1", TABLET)]
    scene.box.gate.set()
    await scene.service.settled()
    assert await scene.registers() == [("c2", PHONE)]


async def test_the_account_goes(scene: Scene) -> None:
    """Nothing of it stays, also not by a push or a reading that ends later."""
    scene.box.gate = asyncio.Event()
    scene.box.outcome = PushOutcome.UNAVAILABLE
    await scene.miss()
    scene.store.gate = asyncio.Event()
    assert await scene.registers() == []
    await scene.service.directory.delete_account(KEY)
    scene.box.gate.set()
    scene.store.gate.set()
    await scene.service.settled()
    assert scene.nothing_in_memory()
    assert (scene.pushes._owed, scene.pushes._met) == ({}, set())
    assert await scene.service.store.count_missed_calls(KEY) == 0
    await scene.miss("after")
    assert scene.nothing_in_memory()


async def test_a_device_that_is_gone(scene: Scene) -> None:
    """It is owed nothing more, and disturbs nobody."""
    scene.box.outcome = PushOutcome.UNAVAILABLE
    await scene.miss()
    await scene.service.directory.delete_device(KEY, PHONE)
    assert await scene.registers() == []
    scene.box.outcome = PushOutcome.ACCEPTED
    assert await scene.registers(TABLET) == [("c1", TABLET)]


async def test_an_app_that_hangs_holds_up_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushes for one app wait for each other, not for those of another one."""
    monkeypatch.setattr(missed_pushes, "AT_ONCE", 1)
    scene.start()
    scene.box.gate = asyncio.Event()
    await scene.miss("c1")
    assert scene.told() == [("c1", PHONE)]
    monkeypatch.setattr(scene.box, "serves", lambda _: True)
    await scene.service.device("other", token="tok-3", app_id="com.example.other")
    await scene.miss("c2")
    assert scene.told() == [("c1", PHONE), ("c2", "other")]
    scene.box.gate.set()
    await scene.service.settled()
    assert len(scene.told()) == 5
