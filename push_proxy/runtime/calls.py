"""The records of calls: kept in memory while they change, written behind.

A call never waits for its record. Changes are gathered for a moment and written as one, the
end at once, so a short call costs the store a single write.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import structlog

from ..core.advice import wants_evidence, with_cause
from ..core.evidence import NO_WORDS, AppWords, Evidence
from ..core.ids import AccountKey, CallId, DeviceId, Instant, TenantId, split_account_key
from ..core.model import CallRecord, CallState, Direction, Outcome, TimelineEntry
from ..core.outcome import answered
from ..errors import StoreUnavailable
from ..observability.metrics import Metrics
from ..ports import CallQuery, Store
from ..signaling.facts import DialogEnded
from ..tasks import spawn
from . import call_log
from .clock import Timer, TimerClock
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)

ASK_STORE_AGAIN_S = 1.0
STORE_RETURNS_WITHIN_S = 600.0
TIMELINE_LIMIT = 200
"""Lines kept of one call; of more, those in the middle go."""


def _holder(record: CallRecord) -> DeviceId | None:
    outgoing = record.direction is Direction.OUTGOING
    if record.state is CallState.ENDED or not (outgoing or record.state is CallState.ANSWERED):
        return None
    wanted = "invite_sent" if outgoing else "answered"
    return next((entry.device for entry in record.timeline if entry.event == wanted), None)


class _Live:
    """A record that still changes."""

    __slots__ = ("dirty", "record", "timeline", "words")

    def __init__(self, record: CallRecord) -> None:
        self.record = record
        self.timeline: list[TimelineEntry] = list(record.timeline)
        self.words: dict[DeviceId, AppWords] | None = None
        self.dirty = True

    @property
    def decided(self) -> bool:
        """Nothing of it has to be in memory: what is still to come finds it in the store."""
        return self.record.state in {CallState.ANSWERED, CallState.ENDED}

    def add(self, entry: TimelineEntry) -> None:
        if len(self.timeline) >= TIMELINE_LIMIT:
            del self.timeline[TIMELINE_LIMIT // 2]
        self.timeline.append(entry)
        self.dirty = True
        if self.record.evidence is not None:
            self._judge()

    def hear(self, device: DeviceId, words: AppWords) -> None:
        """What an app's report says beside what happened."""
        evidence = self.record.evidence
        if evidence is None:
            self.words = self.words or {}
            self.words[device] = words.after(self.words.get(device, NO_WORDS))
        elif evidence.device == device:
            self.record = replace(self.record, evidence=evidence.with_words(words))
            self.dirty = True
            self._judge()

    def decide(self, result: Outcome, witness: Callable[[CallRecord], Evidence | None]) -> None:
        """The call has its outcome; ``witness`` knows what there is to know of its device."""
        self.record = replace(self.record, outcome=result)
        self.dirty = True
        if not wants_evidence(result.led_by or result.verdict):
            return
        evidence = witness(self.record)
        if evidence is None:
            return
        words = (self.words or {}).get(evidence.device) if evidence.device else None
        if words is not None:
            evidence = evidence.with_words(words)
        self.record = replace(self.record, evidence=evidence)
        self._judge()

    def _judge(self) -> None:
        """Name the cause by what is known now."""
        self.record = replace(self.record, outcome=with_cause(self.snapshot()).outcome)

    def snapshot(self) -> CallRecord:
        return replace(self.record, timeline=tuple(self.timeline))


class Calls:
    """All calls that go on or are not yet written."""

    def __init__(
        self,
        *,
        store: Store,
        clock: TimerClock,
        metrics: Metrics,
        write_after_s: float = 1.0,
        memory_limit: int = 20_000,
        on_decided: Callable[[CallRecord], None] = lambda _: None,
        witness: Callable[[CallRecord], Evidence | None] = lambda _: None,
    ) -> None:
        """``write_after_s``: how long changes are gathered before they are written.

        ``memory_limit``: records in memory; above it answered ones leave it early, and with
        the store away the oldest decided ones are lost.

        ``on_decided`` hears of a call once, when it has its outcome; ``witness`` is asked then
        what is known of the device that decided it.
        """
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._write_after_s = write_after_s
        self._memory_limit = memory_limit
        self._on_decided = on_decided
        self._witness = witness
        self._live: dict[CallId, _Live] = {}
        self._late: dict[CallId, list[Callable[[_Live], None]]] = {}
        self._watchers: list[Callable[[CallRecord], None]] = []
        self._counters: list[Callable[[CallRecord], None]] = []
        self._due: dict[CallId, None] = {}
        self._timer: Timer | None = None
        self._writes = WriteBehind("calls")

    @property
    def degraded(self) -> bool:
        """The store does not take records; they wait in memory."""
        return self._writes.degraded

    @property
    def in_memory(self) -> int:
        """Calls that go on or are not yet written."""
        return len(self._live)

    def get(self, call: CallId) -> CallRecord | None:
        """The newest record of a call still in memory; others are in the store."""
        live = self._live.get(call)
        return live.snapshot() if live else None

    def live(self, tenant: TenantId, *, limit: int) -> tuple[CallRecord, ...]:
        """A tenant's calls that have not ended, newest first."""
        found: list[CallRecord] = []
        for live in reversed(self._live.values()):
            ended = live.record.state is CallState.ENDED
            if not ended and split_account_key(live.record.account)[0] == tenant:
                found.append(live.snapshot())
                if len(found) == limit:
                    break
        return tuple(found)

    def watch(self, on_change: Callable[[CallRecord], None]) -> None:
        """Call ``on_change`` at every change, with a record whose timeline may be old."""
        self._watchers.append(on_change)

    def watch_outcomes(self, on_outcome: Callable[[CallRecord], None]) -> None:
        """Call ``on_outcome`` once for each call, when it has its outcome."""
        self._counters.append(on_outcome)

    def holder(self, account: AccountKey, sip_call_id: str) -> DeviceId | None:
        """The device that is in this dialog, if the call is still in memory.

        Of an incoming call that is the one that answered, of its own the one that calls.
        """
        for live in self._live.values():
            record = live.record
            if (record.account, record.sip_call_id) == (account, sip_call_id) and (
                device := _holder(live.snapshot())
            ):
                return device
        return None

    async def stored_holder(self, account: AccountKey, sip_call_id: str) -> DeviceId | None:
        """The same of a call from before a restart; None also while the store is away."""
        tenant, _ = split_account_key(account)
        query = CallQuery(tenant=tenant, account=account, sip_call_id=sip_call_id, limit=10)
        try:
            found = (await self._store.find_calls(query)).calls
        except StoreUnavailable:
            return None
        return next((device for record in found if (device := _holder(record))), None)

    # told by the wake, or by `outgoing_calls`

    def open(self, record: CallRecord) -> None:
        """A call has begun."""
        self._live[record.id] = live = _Live(record)
        call_log.begun(record)
        self._touch(record.id)
        self._tell(live)
        if len(self._live) > self._memory_limit:
            self._make_room()

    def note(self, call: CallId, entry: TimelineEntry) -> bool:
        """One more line of the timeline; False when the call is not in memory any more.

        It is added to the record in the store then: a phone that woke too late may come long
        after the call's end has been written.
        """
        return self._change(call, lambda live: live.add(entry))

    def hear(self, call: CallId, device: DeviceId, words: AppWords) -> None:
        """What an app's report says beside what happened: it may explain the call's end.

        Late ones do as well; verdict and fault stay as they are.
        """
        if words != NO_WORDS:
            self._change(call, lambda live: live.hear(device, words))

    def _change(self, call: CallId, change: Callable[[_Live], None]) -> bool:
        live = self._live.get(call)
        if live is None:
            if self._writes.waiting < self._memory_limit:
                self._late.setdefault(call, []).append(change)
                self._writes.submit(("late", call), partial(self._add_late, call))
            return False
        change(live)
        if live.decided:
            self._touch(call)
        self._tell(live)
        return True

    def move(self, call: CallId, state: CallState, at: Instant) -> None:
        """The call's state has changed."""
        live = self._live.get(call)
        if live is None:
            return
        before = live.record
        live.record = replace(
            before,
            state=state,
            answered_at=at if state is CallState.ANSWERED else before.answered_at,
            ended_at=at if state is CallState.ENDED else before.ended_at,
        )
        call_log.moved(before, live.record)
        live.dirty = True
        if state is CallState.ENDED:
            # Searched for soon, and nothing more is to be gathered.
            self._write((call,))
        else:
            self._touch(call)
        self._tell(live)

    def finish(self, call: CallId, result: Outcome, *, can_be_missed: bool = True) -> None:
        """The call is decided; an answered one ends later, with its BYE.

        Of one that cannot be missed ``on_decided`` does not hear.
        """
        self._metrics.call_ended(result)
        live = self._live.get(call)
        if live is not None:
            live.decide(result, self._witness)
            call_log.decided(live.record)
            if can_be_missed:
                self._on_decided(live.snapshot())
            for on_outcome in self._counters:
                on_outcome(live.record)
            self._tell(live)

    # the end of answered calls

    def dialog_ended(self, fact: DialogEnded) -> None:
        """A BYE has passed: the call's record ends."""
        call, at = CallId(fact.call), self._clock.now()
        live = self._live.get(call)
        if live is not None:
            self._hang_up(live, fact, at)
        else:
            # Before a restart of ours, or long ago: the record is in the store alone.
            self._ask_store(call, fact, at)

    def _ask_store(self, call: CallId, fact: DialogEnded, at: Instant) -> None:
        spawn(self._hang_up_stored(call, fact, at), name=f"end of call {call}")

    def _hang_up(self, live: _Live, fact: DialogEnded, at: Instant) -> None:
        record = live.record
        if record.state is CallState.ENDED:
            return
        far_end = "caller" if record.direction is Direction.INCOMING else "pbx"
        ended_by = "device" if fact.by_device else far_end
        # Without an outcome: we were killed before it was written. A BYE follows an answer.
        result = record.outcome or answered()
        live.record = replace(record, outcome=replace(result, ended_by=ended_by))
        self.note(record.id, TimelineEntry(at, "hung_up", detail=fact.reason or ended_by))
        self.move(record.id, CallState.ENDED, at)

    async def _hang_up_stored(self, call: CallId, fact: DialogEnded, at: Instant) -> None:
        try:
            record = await self._store.get_call(call)
        except StoreUnavailable as error:
            # After a restart the store may start, too. Each pause is as long as all before it.
            waited_s = self._clock.now() - at
            if waited_s < STORE_RETURNS_WITHIN_S:
                later = Instant(self._clock.now() + max(waited_s, ASK_STORE_AGAIN_S))
                self._clock.call_at(later, partial(self._ask_store, call, fact, at))
                return
            _log.warning(
                "end of a call not recorded: the store is away", call_id=call, error=str(error)
            )
            return
        if record is None or record.state is CallState.ENDED or call in self._live:
            return
        self._live[call] = live = _Live(record)
        self._hang_up(live, fact, at)

    def _tell(self, live: _Live) -> None:
        for on_change in self._watchers:
            on_change(live.record)

    # writing

    async def aclose(self, timeout_s: float = 3.0) -> None:
        """Write what waits, as far as the time reaches."""
        self._write(self._live)
        if self._timer is not None:
            self._timer.cancel()
        await self._writes.aclose(timeout_s)

    def _touch(self, call: CallId) -> None:
        self._due[call] = None
        if self._timer is None:
            when = Instant(self._clock.now() + self._write_after_s)
            self._timer = self._clock.call_at(when, self._write_due)

    def _write_due(self) -> None:
        self._timer = None
        due, self._due = self._due, {}
        self._write(due)

    def _write(self, calls: Iterable[CallId]) -> None:
        for call in calls:
            if self._writes.waiting < self._memory_limit:
                self._writes.submit(call, partial(self._put, call))

    async def _put(self, call: CallId) -> None:
        live = self._live.get(call)
        if live is None or not live.dirty:
            return
        live.dirty = False
        try:
            await self._store.put_call(live.snapshot())
        except StoreUnavailable:
            live.dirty = True
            raise
        if live.record.state is CallState.ENDED and not live.dirty:
            self._live.pop(call, None)

    async def _add_late(self, call: CallId) -> None:
        if call not in self._live:
            record = await self._store.get_call(call)
            if record is not None:
                self._live.setdefault(call, _Live(record))
        changes, live = self._late.pop(call, ()), self._live.get(call)
        if live is not None:
            for change in changes:
                change(live)
            self._write((call,))

    def _make_room(self) -> None:
        """Answered calls are read from the store when they end; what is not there is lost."""
        excess = len(self._live) - self._memory_limit * 9 // 10
        decided = [call for call, live in self._live.items() if live.decided][:excess]
        lost = sum(self._live[call].dirty for call in decided)
        for call in decided:
            del self._live[call]
        if lost:
            _log.error("records of calls lost: the store took none for too long", count=lost)
