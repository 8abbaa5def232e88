"""Which records of calls are in memory, and when the store gets them: many in one write."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

import structlog

from ..core.ids import CallId, Instant
from ..core.model import CallRecord, CallState
from ..errors import StoreUnavailable
from ..ports import Store
from .clock import Timer, TimerClock
from .live_call import LiveCall
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)

ENDS_TOGETHER_S = 0.2
"""Calls that have ended are written at most once in so many seconds: together."""
_AT_ONCE = 64
LateChange = Callable[[LiveCall], None]


class CallKeeper:
    """Keeps changing records until the store has them; those that have ended leave memory then."""

    def __init__(
        self,
        *,
        store: Store,
        clock: TimerClock,
        write_after_s: float,
        memory_limit: int,
        node: str = "",
    ) -> None:
        """``write_after_s``, ``memory_limit``, ``node``: as for `calls.Calls`."""
        self._node = node
        self.live: dict[CallId, LiveCall] = {}
        """In the order in which they came to memory."""
        self._store = store
        self._clock = clock
        self._write_after_s = write_after_s
        self._memory_limit = memory_limit
        self._changed: dict[CallId, None] = {}
        self._changed_timer: Timer | None = None
        self._ended: dict[CallId, None] = {}
        self._ended_timer: Timer | None = None
        self._ended_at = Instant(0.0)
        self._waiting: dict[CallId, None] = {}
        self._late: dict[CallId, list[LateChange]] = {}
        self._writes = WriteBehind("calls")

    @property
    def degraded(self) -> bool:
        """The store does not take records; they wait in memory."""
        return self._writes.degraded

    def keep(self, live: LiveCall) -> None:
        """One more."""
        self.live[live.id] = live
        self.changed(live.id)
        if len(self.live) > self._memory_limit:
            self._make_room()

    def changed(self, call: CallId) -> None:
        """To be written, with what else comes in the next moment."""
        self._changed[call] = None
        if self._changed_timer is None:
            when = Instant(self._clock.now() + self._write_after_s)
            self._changed_timer = self._clock.call_at(when, self._write_changed)

    def at_once(self, call: CallId) -> None:
        """To be written without waiting for more."""
        self._write((call,))

    def ended(self, call: CallId) -> None:
        """To be written soon: it is searched for, and nothing more is to be gathered."""
        self._ended[call] = None
        if self._ended_timer is not None:
            return
        due = Instant(self._ended_at + ENDS_TOGETHER_S)
        if due <= self._clock.now():
            self._write_ended()
        else:
            self._ended_timer = self._clock.call_at(due, self._write_ended)

    def later(self, call: CallId, change: LateChange) -> None:
        """A change of a call that has left memory: done to the record in the store.

        Not while another node has the call in its hands: that one's record would stay here as it
        was then.
        """
        if len(self._late) < self._memory_limit:
            self._late.setdefault(call, []).append(change)
            self._writes.submit(("late", call), partial(self._add_late, call))

    async def aclose(self, timeout_s: float) -> None:
        """Write what waits, as far as the time reaches."""
        self._write(self.live)
        for timer in (self._changed_timer, self._ended_timer):
            if timer is not None:
                timer.cancel()
        await self._writes.aclose(timeout_s)

    def _write_changed(self) -> None:
        self._changed_timer = None
        due, self._changed = self._changed, {}
        self._write(due)

    def _write_ended(self) -> None:
        self._ended_timer, self._ended_at = None, self._clock.now()
        due, self._ended = self._ended, {}
        self._write(due)

    def _write(self, calls: Iterable[CallId]) -> None:
        self._waiting |= dict.fromkeys(calls)
        self._writes.submit("waiting", self._put_waiting)

    async def _put_waiting(self) -> None:
        while self._waiting:
            calls = tuple(islice(self._waiting, _AT_ONCE))
            for call in calls:
                del self._waiting[call]
            found = map(self.live.get, calls)
            dirty = [live for live in found if live is not None and live.dirty]
            if not dirty:
                continue
            try:
                await self._put(dirty)
            except StoreUnavailable:
                self._waiting = dict.fromkeys(calls) | self._waiting
                raise
            # What waits is many calls' after an outage: live ones come in between.
            await asyncio.sleep(0)

    async def _put(self, several: Sequence[LiveCall]) -> None:
        for live in several:
            live.dirty = False
        try:
            await self._store.put_calls([live.snapshot() for live in several])
        except StoreUnavailable:
            for live in several:
                live.dirty = True
            raise
        except Exception:  # noqa: BLE001 - logged
            # One that cannot be written must not keep the others waiting.
            if len(several) > 1:
                for live in several:
                    await self._put([live])
                return
            _log.exception("record of a call given up", call_id=several[0].id)
        for live in several:
            gone = live.state is CallState.ENDED and not live.dirty
            if gone and self.live.get(live.id) is live:
                del self.live[live.id]

    async def _add_late(self, call: CallId) -> None:
        if call not in self.live:
            record = await self._store.get_call(call)
            if record is not None and self._is_ours(record):
                self.live.setdefault(call, LiveCall(record))
        changes, live = self._late.pop(call, ()), self.live.get(call)
        if live is not None:
            for change in changes:
                change(live)
            self._write((call,))

    def _is_ours(self, record: CallRecord) -> bool:
        return record.state is CallState.ENDED or record.node == self._node

    def _make_room(self) -> None:
        """Answered calls are read from the store when they end; what is not there is lost."""
        excess = len(self.live) - self._memory_limit * 9 // 10
        decided = [call for call, live in self.live.items() if live.decided][:excess]
        lost = sum(self.live[call].dirty for call in decided)
        for call in decided:
            del self.live[call]
        if lost:
            _log.error("records of calls lost: the store took none for too long", count=lost)
