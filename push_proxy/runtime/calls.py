"""The records of calls: kept in memory while they change, written behind.

A call never waits for its record. Changes are gathered for a moment and written as one, so a short
call costs the store a single write, which it shares with others that end at the same time.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import structlog

from ..core.evidence import NO_WORDS, AppWords, Evidence
from ..core.ids import AccountKey, CallId, DeviceId, Instant, TenantId, split_account_key
from ..core.missed import may_be_missed
from ..core.model import CallRecord, CallState, Direction, Outcome, TimelineEntry
from ..core.outcome import answered
from ..errors import StoreUnavailable
from ..observability.metrics import Metrics
from ..ports import CallQuery, Store
from ..signaling.facts import DialogEnded
from ..tasks import spawn
from . import call_log
from .call_keeper import CallKeeper
from .clock import TimerClock
from .live_call import CallView, LiveCall

_log = structlog.get_logger(__name__)

ASK_STORE_AGAIN_S = 1.0
STORE_RETURNS_WITHIN_S = 600.0


def _holder(record: CallRecord | LiveCall) -> DeviceId | None:
    outgoing = record.direction is Direction.OUTGOING
    if record.state is CallState.ENDED or not (outgoing or record.state is CallState.ANSWERED):
        return None
    wanted = "invite_sent" if outgoing else "answered"
    return next((entry.device for entry in record.timeline if entry.event == wanted), None)


EndedElsewhere = Callable[[CallRecord, DialogEnded], Awaitable[bool]]


async def _is_ours(record: CallRecord, fact: DialogEnded) -> bool:  # noqa: ARG001
    return False


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
        node: str = "",
    ) -> None:
        """``write_after_s``: how long changes are gathered before they are written.

        ``memory_limit``: records in memory; above it answered ones leave it early, and with
        the store away the oldest decided ones are lost.

        ``on_decided`` hears of a call once, when it has its outcome; ``witness`` is asked then
        what is known of the device that decided it.

        ``node``: our id among others, which are to find our calls by it; empty: there is one.
        """
        self._node = node
        self.ended_elsewhere: EndedElsewhere = _is_ours
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._on_decided = on_decided
        self._witness = witness
        self._keeper = CallKeeper(
            store=store,
            clock=clock,
            write_after_s=write_after_s,
            memory_limit=memory_limit,
            node=node,
        )
        self._live = self._keeper.live
        self._watchers: list[Callable[[CallView], None]] = []
        self._turn_watchers: list[Callable[[CallView], None]] = []
        self._counters: list[Callable[[CallView], None]] = []

    @property
    def degraded(self) -> bool:
        """The store does not take records; they wait in memory."""
        return self._keeper.degraded

    @property
    def in_memory(self) -> int:
        """Calls that go on or are not yet written."""
        return len(self._live)

    def get(self, call: CallId) -> CallRecord | None:
        """The newest record of a call still in memory; others are in the store."""
        live = self._live.get(call)
        return live.snapshot() if live else None

    def outcome(self, call: CallId) -> Outcome | None:
        """What came of a call still in memory; None: it is not decided, or not there."""
        live = self._live.get(call)
        return live.outcome if live else None

    def live(self, tenant: TenantId, *, limit: int) -> tuple[CallRecord, ...]:
        """A tenant's calls that have not ended, newest first."""
        found: list[CallRecord] = []
        for live in reversed(self._live.values()):
            ended = live.state is CallState.ENDED
            if not ended and split_account_key(live.account)[0] == tenant:
                found.append(live.snapshot())
                if len(found) == limit:
                    break
        return tuple(found)

    def ongoing(self) -> tuple[CallView, ...]:
        """All calls that have not ended, in the order in which they came."""
        return tuple(live for live in self._live.values() if live.state is not CallState.ENDED)

    def watch(self, on_change: Callable[[CallView], None]) -> None:
        """Call ``on_change`` at every change; `get` has the record with its timeline."""
        self._watchers.append(on_change)

    def watch_turns(self, on_turn: Callable[[CallView], None]) -> None:
        """Call ``on_turn`` when a call begins and whenever its state changes."""
        self._turn_watchers.append(on_turn)

    def watch_outcomes(self, on_outcome: Callable[[CallView], None]) -> None:
        """Call ``on_outcome`` once for each call, when it has its outcome."""
        self._counters.append(on_outcome)

    def holder(self, account: AccountKey, sip_call_id: str) -> DeviceId | None:
        """The device that is in this dialog, if the call is still in memory.

        Of an incoming call that is the one that answered, of its own the one that calls.
        """
        for live in self._live.values():
            if live.sip_call_id == sip_call_id and live.account == account:
                device = _holder(live)
                if device is not None:
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
        live = LiveCall(replace(record, node=self._node) if self._node else record)
        self._keeper.keep(live)
        if self._node:
            # Its app may ask another node about it as soon as its push is there.
            self._keeper.at_once(record.id)
        call_log.begun(record)
        self._turned(live)

    def note(self, call: CallId, entry: TimelineEntry) -> bool:
        """One more line of the timeline; False when the call is not in memory any more.

        It is added to the record in the store then: a phone that woke too late may come long
        after the call's end has been written.
        """
        live = self._live.get(call)
        if live is None:
            self._keeper.later(call, lambda live: live.add(entry))
            return False
        live.add(entry)
        if live.decided:
            self._keeper.changed(call)
        for on_change in self._watchers:
            on_change(live)
        return True

    def hear(self, call: CallId, device: DeviceId, words: AppWords) -> None:
        """What an app's report says beside what happened: it may explain the call's end.

        Late ones do as well; verdict and fault stay as they are.
        """
        if words == NO_WORDS:
            return
        live = self._live.get(call)
        if live is None:
            self._keeper.later(call, lambda live: live.hear(device, words))
        else:
            live.hear(device, words)
            if live.decided:
                self._keeper.changed(call)
            self._tell(live)

    def move(self, call: CallId, state: CallState, at: Instant) -> None:
        """The call's state has changed."""
        live = self._live.get(call)
        if live is not None:
            self._move(live, state, at)

    def finish(self, call: CallId, result: Outcome, *, can_be_missed: bool = True) -> None:
        """The call is decided; an answered one ends later, with its BYE.

        Of one that cannot be missed ``on_decided`` does not hear.
        """
        self._metrics.call_ended(result)
        live = self._live.get(call)
        if live is None:
            return
        live.decide(result, self._witness)
        call_log.decided(live)
        if can_be_missed and may_be_missed(result):
            self._on_decided(live.snapshot())
        for on_outcome in self._counters:
            on_outcome(live)
        self._tell(live)

    def _move(self, live: LiveCall, state: CallState, at: Instant) -> None:
        before = live.state
        live.move(state, at)
        call_log.moved(before, live)
        if state is CallState.ENDED:
            self._keeper.ended(live.id)
        else:
            self._keeper.changed(live.id)
        self._turned(live)

    def _turned(self, live: LiveCall) -> None:
        for on_turn in self._turn_watchers:
            on_turn(live)
        self._tell(live)

    def _tell(self, live: LiveCall) -> None:
        for on_change in self._watchers:
            on_change(live)

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

    def _hang_up(self, live: LiveCall, fact: DialogEnded, at: Instant) -> None:
        if live.state is CallState.ENDED:
            return
        far_end = "caller" if live.direction is Direction.INCOMING else "pbx"
        ended_by = "device" if fact.by_device else far_end
        # Without an outcome: we were killed before it was written. A BYE follows an answer.
        live.ended_by(ended_by, live.outcome or answered())
        live.add(TimelineEntry(at, "hung_up", detail=fact.reason or ended_by))
        self._move(live, CallState.ENDED, at)

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
        if await self.ended_elsewhere(record, fact) or call in self._live:
            return
        self._live[call] = live = LiveCall(record)
        self._hang_up(live, fact, at)

    async def aclose(self, timeout_s: float = 3.0) -> None:
        """Write what waits, as far as the time reaches."""
        await self._keeper.aclose(timeout_s)
