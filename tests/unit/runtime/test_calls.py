"""runtime.calls: records in memory while they change, written behind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountId, AccountKey, CallId, DeviceId, Instant, TenantId
from push_proxy.core.model import (
    Account,
    CallRecord,
    CallState,
    Direction,
    TimelineEntry,
    Verdict,
)
from push_proxy.core.outcome import answered, outcome
from push_proxy.errors import StoreUnavailable
from push_proxy.observability.metrics import Metrics
from push_proxy.runtime.call_keeper import ENDS_TOGETHER_S
from push_proxy.runtime.calls import Calls
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.live_call import TIMELINE_LIMIT
from push_proxy.signaling.facts import DialogEnded
from push_proxy.store.memory import MemoryStore

KEY = AccountKey("acme/101")
CALL = CallId("call-1")
NO_ANSWER = outcome(Verdict.NO_ANSWER, phase=CallState.RINGING, ended_by="pbx", status=487)


class CountingStore(MemoryStore):
    """Counts what is written, and can be away."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.written: list[CallRecord] = []
        self.batches: list[list[CallId]] = []
        self.away = False
        self.bad = CallId("")

    async def get_call(self, call: CallId) -> CallRecord | None:
        if self.away:
            raise StoreUnavailable("no answer")
        return await super().get_call(call)

    async def put_call(self, record: CallRecord) -> None:
        if self.away:
            raise StoreUnavailable("no answer")
        if record.id == self.bad:
            raise ValueError("no such text")
        self.written.append(record)
        await super().put_call(record)

    async def put_calls(self, records: Sequence[CallRecord]) -> None:
        self.batches.append([record.id for record in records])
        await super().put_calls(records)


class Scene:
    def __init__(self, **limits: int) -> None:
        self.clock = ManualClock()
        self.store = CountingStore(self.clock)
        self.metrics = Metrics()
        self.calls = Calls(store=self.store, clock=self.clock, metrics=self.metrics, **limits)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for _ in range(20):
            await asyncio.sleep(0)

    def open(self, call: CallId = CALL) -> CallId:
        self.calls.open(record(call, self.clock.now()))
        return call


def record(call: CallId, at: Instant) -> CallRecord:
    return CallRecord(
        id=call, account=KEY, direction=Direction.INCOMING, sip_call_id="s", started_at=at
    )


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    account = Account(
        tenant=TenantId("acme"), account=AccountId("101"), aor="sip:101@pbx.example.com"
    )
    await scene.store.put_account(account, expected_version=None)
    yield scene
    scene.store.away = False
    await scene.calls.aclose()


async def test_a_short_call_is_written_once(scene: Scene) -> None:
    """All that happens within a second of the first change is one write."""
    scene.open()
    scene.calls.note(CALL, TimelineEntry(scene.clock.now(), "push_sent"))
    scene.calls.move(CALL, CallState.RINGING, scene.clock.now())
    await scene.pass_time(0.1)
    scene.calls.move(CALL, CallState.ENDED, scene.clock.now())
    scene.calls.finish(CALL, NO_ANSWER)
    await scene.pass_time(1)
    (written,) = scene.store.written
    assert written.outcome == NO_ANSWER
    assert [entry.event for entry in written.timeline] == ["push_sent"]
    assert scene.calls.get(CALL) is None


async def test_calls_that_end_together_are_written_together(scene: Scene) -> None:
    """The first at once, those of the next moment in one write; each leaves memory then."""
    names = [CallId(f"call-{number}") for number in range(5)]
    for name in names:
        scene.open(name)
        scene.calls.move(name, CallState.ENDED, scene.clock.now())
        await scene.pass_time(0)
    assert scene.store.batches == [names[:1]]
    await scene.pass_time(ENDS_TOGETHER_S)
    assert scene.store.batches == [names[:1], names[1:]]
    assert scene.calls.in_memory == 0


async def test_a_record_that_cannot_be_written_holds_up_no_other(scene: Scene) -> None:
    """The others of its batch are written, and it does not stay in memory for ever."""
    names = [CallId(f"call-{number}") for number in range(3)]
    scene.store.bad = names[1]
    for name in names:
        scene.open(name)
    await scene.pass_time(1)
    assert [each.id for each in scene.store.written if each.id in names[::2]] == [
        *names[:1], *names[::2],
    ]  # fmt: skip
    for name in names:
        scene.calls.move(name, CallState.ENDED, scene.clock.now())
    await scene.pass_time(1)
    assert {each.id for each in scene.store.written if each.state is CallState.ENDED} == {
        names[0], names[2],
    }  # fmt: skip
    assert scene.calls.in_memory == 0


async def test_what_comes_after_the_end_is_added_to_the_record(scene: Scene) -> None:
    """A phone that woke too late, long after the record was written, also while the store is
    away: every line of it, in order, and memory keeps nothing.
    """
    scene.open()
    scene.calls.move(CALL, CallState.ENDED, scene.clock.now())
    scene.calls.finish(CALL, NO_ANSWER)
    await scene.pass_time(1)
    assert scene.calls.get(CALL) is None
    lines = ["registered_late", "late_invite_sent"]
    for line in lines:
        assert not scene.calls.note(CALL, TimelineEntry(scene.clock.now(), line))
    await scene.pass_time(1)
    scene.store.away = True
    scene.calls.note(CALL, TimelineEntry(scene.clock.now(), "push_received"))
    await scene.pass_time(1)
    scene.store.away = False
    await scene.calls.aclose()
    written = await scene.store.get_call(CALL)
    assert written is not None
    assert [entry.event for entry in written.timeline] == [*lines, "push_received"]
    assert (written.outcome, written.state) == (NO_ANSWER, CallState.ENDED)
    assert scene.calls.get(CALL) is None


async def test_a_call_in_another_nodes_hands_is_left_to_it(scene: Scene) -> None:
    """We had ended it for a node that was dead, as it seemed, and that goes on with it: what we
    hear of it late neither enters that node's record nor keeps it in our memory.
    """
    scene.open()
    scene.calls.move(CALL, CallState.ENDED, scene.clock.now())
    scene.calls.finish(CALL, NO_ANSWER)
    await scene.pass_time(1)
    (ended,) = [record for record in scene.store.written if record.state is CallState.ENDED]
    theirs = replace(ended, state=CallState.WAKING, outcome=None, node="n1")
    await scene.store.put_call(theirs)
    scene.calls.note(CALL, TimelineEntry(scene.clock.now(), "registered_late"))
    await scene.pass_time(1)
    assert await scene.store.get_call(CALL) == theirs
    assert scene.calls.get(CALL) is None


async def test_nobody_knows_the_call(scene: Scene) -> None:
    """A line about a call that was erased makes no record."""
    scene.calls.note(CALL, TimelineEntry(scene.clock.now(), "push_received"))
    await scene.pass_time(1)
    assert scene.store.written == []
    assert scene.calls.get(CALL) is None


async def test_a_long_call_is_written_at_its_turns(scene: Scene) -> None:
    """Waking, answered, ended; an answered call waits in memory for its BYE."""
    scene.open()
    await scene.pass_time(1)
    scene.calls.move(CALL, CallState.ANSWERED, scene.clock.now())
    scene.calls.finish(CALL, answered())
    await scene.pass_time(1)
    live = scene.calls.get(CALL)
    assert live is not None
    assert live.ended_at is None
    scene.calls.dialog_ended(DialogEnded(call=CALL, by_device=False, reason="Q.850;cause=16"))
    scene.calls.dialog_ended(DialogEnded(call=CALL, by_device=True, reason="again"))
    await scene.pass_time(1)
    assert [one.state for one in scene.store.written] == ["waking", "answered", "ended"]
    last = scene.store.written[-1]
    assert last.outcome is not None
    assert (last.outcome.verdict, last.outcome.ended_by) == (Verdict.ANSWERED, "caller")
    assert [entry.event for entry in last.timeline] == ["hung_up"]


async def test_the_store_is_away_for_a_while() -> None:
    """Nothing waits for it; the newest record is written when it is back."""
    scene = Scene()
    scene.calls._keeper._writes._retry_s = 0.01
    account = Account(
        tenant=TenantId("acme"), account=AccountId("101"), aor="sip:101@pbx.example.com"
    )
    await scene.store.put_account(account, expected_version=None)
    scene.store.away = True
    scene.open()
    await scene.pass_time(1)
    assert scene.calls.degraded
    scene.calls.move(CALL, CallState.ENDED, scene.clock.now())
    scene.calls.finish(CALL, NO_ANSWER)
    scene.store.away = False
    await scene.calls.aclose()
    assert [one.state for one in scene.store.written] == ["ended"]
    assert not scene.calls.degraded


async def test_memory_is_bounded() -> None:
    """Answered calls leave memory first; those that still ring never do."""
    scene = Scene(memory_limit=10)
    for number in range(8):
        call = scene.open(CallId(f"answered-{number}"))
        scene.calls.move(call, CallState.ANSWERED, scene.clock.now())
    for number in range(8):
        scene.open(CallId(f"waking-{number}"))
    assert len(scene.calls._live) <= 10
    assert all(scene.calls.get(CallId(f"waking-{number}")) for number in range(8))
    await scene.calls.aclose()


async def test_a_timeline_is_bounded(scene: Scene) -> None:
    """Its beginning and its end are kept."""
    scene.open()
    for number in range(TIMELINE_LIMIT + 50):
        scene.calls.note(CALL, TimelineEntry(scene.clock.now(), f"event_{number}"))
    live = scene.calls.get(CALL)
    assert live is not None
    events = [entry.event for entry in live.timeline]
    assert len(events) == TIMELINE_LIMIT
    assert (events[0], events[-1]) == ("event_0", f"event_{TIMELINE_LIMIT + 49}")


async def test_who_is_in_a_dialog(scene: Scene) -> None:
    """The device that answered; nobody before the answer or after the end, nor of another's."""
    scene.open()
    assert scene.calls.holder(KEY, "s") is None
    for event, device in (("invite_sent", "tablet"), ("answered", "phone")):
        entry = TimelineEntry(scene.clock.now(), event, DeviceId(device))
        scene.calls.note(CALL, entry)
    assert scene.calls.holder(KEY, "s") is None
    scene.calls.move(CALL, CallState.ANSWERED, scene.clock.now())
    assert scene.calls.holder(KEY, "s") == "phone"
    assert await scene.calls.stored_holder(KEY, "s") is None
    await scene.pass_time(1.1)
    assert await scene.calls.stored_holder(KEY, "s") == "phone"
    assert await scene.calls.stored_holder(KEY, "other") is None
    assert scene.calls.holder(KEY, "other") is None
    assert scene.calls.holder(AccountKey("acme/102"), "s") is None
    scene.calls.move(CALL, CallState.ENDED, scene.clock.now())
    assert scene.calls.holder(KEY, "s") is None


async def test_a_bye_after_we_were_killed(scene: Scene) -> None:
    """The answer had not been written: the BYE proves that there was one."""
    await scene.store.put_call(record(CALL, scene.clock.now()))
    scene.calls.dialog_ended(DialogEnded(call=CALL, by_device=True, reason=""))
    await scene.pass_time(0)
    last = scene.store.written[-1]
    assert last.outcome is not None
    assert (last.state, last.outcome.verdict) == (CallState.ENDED, Verdict.ANSWERED)
    assert last.outcome.ended_by == "device"


async def test_a_bye_after_we_were_killed_before_the_store_is_up(scene: Scene) -> None:
    """The end is written once the store answers, with the time of the BYE."""
    begun = scene.clock.now()
    await scene.store.put_call(record(CALL, begun))
    scene.store.away = True
    scene.calls.dialog_ended(DialogEnded(call=CALL, by_device=True, reason=""))
    for _ in range(5):
        await scene.pass_time(4)
    scene.store.away = False
    await scene.pass_time(40)
    last = scene.store.written[-1]
    assert (last.state, last.ended_at) == (CallState.ENDED, begun)


async def test_a_store_that_stays_away_is_not_asked_for_ever(scene: Scene) -> None:
    """Of a call that ended unseen the record stays as it was."""
    await scene.store.put_call(record(CALL, scene.clock.now()))
    scene.store.away = True
    scene.calls.dialog_ended(DialogEnded(call=CALL, by_device=True, reason=""))
    for _ in range(12):
        await scene.pass_time(100)
    scene.store.away = False
    await scene.pass_time(10_000)
    assert len(scene.store.written) == 1


async def test_a_bye_for_an_unknown_call(scene: Scene) -> None:
    """Neither in memory nor in the store: nothing happens."""
    scene.calls.dialog_ended(DialogEnded(call="nobody", by_device=True, reason=""))
    await scene.pass_time(1)
    assert scene.store.written == []


async def test_a_decided_call_is_heard_of_once() -> None:
    """With its outcome; one that took another's place is not."""
    clock = ManualClock()
    heard: list[CallRecord] = []
    calls = Calls(
        store=CountingStore(clock), clock=clock, metrics=Metrics(), on_decided=heard.append
    )
    other = CallId("call-2")
    for call in (CALL, other):
        calls.open(record(call, clock.now()))
    calls.finish(CALL, NO_ANSWER)
    calls.finish(other, NO_ANSWER, can_be_missed=False)
    calls.move(CALL, CallState.ENDED, clock.now())
    assert [(each.id, each.outcome) for each in heard] == [(CALL, NO_ANSWER)]
    await calls.aclose()
