"""The recorder of calls: which of them are recorded, and what becomes of their messages.

The stack copies messages into a buffer of its own, and sorts them by call when it is told to, now
and then (`CapturedCalls`): no fact and no call waits for it, and no single message comes to Python
unless it is exported. A call's messages leave the stack as one text, at the call's end.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

import structlog

from ..core.ids import AccountKey, CallId, Instant, split_account_key
from ..core.model import Address, Binding, CallRecord, CallState, Direction
from ..errors import ConfigurationError
from ..recording_ports import PackedRecording, RecordingStore
from ..runtime.changes import AccountChanged, BindingChanged, Change
from ..runtime.clock import Timer, TimerClock
from ..runtime.live_call import CallView
from ..runtime.write_behind import WriteBehind
from ..signaling.captured import CapturedCalls, CaptureLimits, captured
from ..signaling.contract import Signaling
from .gathering import Bounds, Due, Gathering, joined
from .hep_export import HepExport
from .recording import PBX, Recording, UnreadableRecording, pack, read, unpack, written

_log = structlog.get_logger(__name__)

PULL_S = 0.5
SETTLE_S = 4.0
"""After a call's end: its last ACK and the BYE's 200 are still to come."""
LINK_S = 10.0
"""REGISTERs of a device that has come for a call are the call's for so long."""
CLOSE_S = 0.5
"""A call is known a moment before or after its INVITE was copied."""
MEMORY_BYTES = 64 * 1024 * 1024
"""Of all calls together; above it parts of answered ones are stored early."""
LONG_BYTES = 65_536
"""Packing so much takes some milliseconds: calls come in between."""
_AT_ONCE = 16
_COMPLAIN_EVERY_S = 10.0


class Flows(Protocol):
    """Who knows which device has registered from where (`runtime.directory.Directory`)."""

    def by_flow(self, source: Address) -> Sequence[Binding]:
        """Bindings whose REGISTER came from this address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderRules:
    """``recorder`` of the configuration."""

    enabled: bool = False
    keep_s: float = 604_800.0
    bounds: Bounds = field(default_factory=Bounds)
    hep: HepExport | None = None


class Recorder:
    """All calls that are being recorded or wait to be stored."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        directory: Flows,
        store: RecordingStore,
        clock: TimerClock,
        ongoing: Callable[[], Iterable[CallView]] = lambda: (),
        limits: CaptureLimits | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """It is off until `configure`. ``ongoing``: the calls that go on then."""
        self._signaling = signaling
        self._directory = directory
        self._store = store
        self._clock = clock
        self._ongoing = ongoing
        self._limits = limits or CaptureLimits()
        self._memory_bytes = memory_bytes
        self._rules = RecorderRules()
        self._captured = CapturedCalls()
        self._told: list[tuple[CallView, CallState] | Change] = []
        """Since the last pull: looked at together, while nobody waits."""
        self._pulled_at = Instant(0.0)
        self._calls: dict[CallId, Gathering] = {}
        self._by_account: dict[AccountKey, list[Gathering]] = {}
        self._complained_at = Instant(0.0)
        self._ended: dict[CallId, Instant] = {}
        self._due: dict[CallId, Due] = {}
        self._timer: Timer | None = None
        self._writes = WriteBehind("recordings")

    @property
    def enabled(self) -> bool:
        """Whether calls are being recorded."""
        return self._rules.enabled

    @property
    def size(self) -> int:
        """What all recordings in memory take."""
        return self._captured.total() + sum(each.size for each in self._due.values())

    def configure(self, rules: RecorderRules) -> None:
        """Begin, end, or go on by other rules; calls that go on are recorded from here on."""
        if self._rules.enabled and not rules.enabled:
            self.pull()
        before, self._rules = self._rules, rules
        if before.hep is not None and before.hep is not rules.hep:
            before.hep.close()
        self._captured.give_out(rules.enabled and rules.hep is not None)
        if rules.enabled == before.enabled:
            return
        now = self._clock.now()
        self._signaling.capture(self._limits if rules.enabled else None, now=now)
        if rules.enabled:
            self._pulled_at = now
            self._schedule()
            for call in self._ongoing():
                self.on_call(call)
            return
        for gathering in tuple(self._calls.values()):
            self._close(gathering)
        self._captured.clear()

    async def aclose(self) -> None:
        """Store what there is, as far as the time reaches."""
        if self._timer is not None:
            self._timer.cancel()
        if self._rules.enabled:
            self.pull()
        for gathering in tuple(self._calls.values()):
            self._close(gathering)
        if self._rules.hep is not None:
            self._rules.hep.close()
        await self._writes.aclose()

    # told by others

    def on_call(self, call: CallView) -> None:
        """A call has begun or come to another state (`runtime.calls.Calls.watch_turns`)."""
        if self._rules.enabled:
            self._told.append((call, call.state))

    def on_change(self, change: Change) -> None:
        """The directory has changed: a device has registered, or an account is gone."""
        if self._rules.enabled:
            self._told.append(change)

    def _hear(self) -> None:
        """Look at all that was told, in its order."""
        told, self._told = self._told, []
        for each in told:
            if isinstance(each, tuple):
                self._turned(*each)
            else:
                self._changed(each)

    def _turned(self, call: CallView, state: CallState) -> None:
        gathering = self._calls.get(call.id)
        if gathering is None:
            if call.id in self._due:
                return  # what is told of a call long after its end
            gathering = self._open(call)
        if state is CallState.ANSWERED:
            gathering.waking = False
        elif state is CallState.ENDED:
            gathering.waking = False
            self._ended.setdefault(call.id, Instant(self._clock.now() + SETTLE_S))

    def _changed(self, change: Change) -> None:
        if isinstance(change, BindingChanged) and change.new is not None:
            self._registered(change.new)
        elif isinstance(change, AccountChanged) and change.new is None and change.old is not None:
            for gathering in tuple(self._by_account.get(change.old.key, ())):
                self._forget(gathering)

    async def find(self, record: CallRecord) -> Recording | None:
        """What is known of this call's SIP; None: nothing.

        Raises `errors.StoreUnavailable` and `recording.UnreadableRecording`.
        """
        if self._rules.enabled:
            self.pull()
        gathering, due = self._calls.get(record.id), self._due.get(record.id)
        live = None if gathering is None else self._captured.text(record.id, False)  # noqa: FBT003
        texts = (*(due.texts if due else ()), *((live,) if live else ()))
        parts = [read(text, call=record.id, account=record.account) for text in texts]
        begun = due or gathering
        if begun is None or begun.continued:
            packed = await self._store.get_recording(record.account, record.id)
            if packed is not None:
                parts.insert(0, unpack(packed, call=record.id, account=record.account))
        if begun is None or not parts:
            return parts[0] if parts else None
        return joined(parts, begun.bounds)

    # messages

    def pull(self) -> None:
        """Have what the stack has copied sorted by call."""
        self._hear()
        now = self._pulled_at = self._clock.now()
        if lost := self._signaling.take_captured(self._captured, now=now):
            self._complain(lost)
        for call, hop, transport, host, port, first, sent in self._captured.met():
            gathering = self._calls.get(CallId(call))
            if gathering is None:
                continue
            who = self._who(gathering, Address(host, port, transport), first=first, sent=sent)
            if who != PBX:  # what a hop is until it is named
                self._captured.name(call, hop, who)
        if self._rules.hep is not None:
            for message in self._captured.given_out():
                self._rules.hep.send(captured(message))

    def _complain(self, lost: int) -> None:
        if self._clock.now() - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = self._clock.now()
            _log.warning("SIP messages not recorded: too many came at once", count=lost)

    def _who(self, gathering: Gathering, peer: Address, *, first: bool, sent: bool) -> str:
        if first and not sent and not gathering.device_calls:
            return PBX  # also one that stands where a phone has registered from
        bindings = self._directory.by_flow(peer)
        own = next((each for each in bindings if each.account == gathering.account), None)
        if own is not None:
            return own.device
        if bindings:
            # The PBX has forked the call to another account of the same tenant.
            return f"{split_account_key(bindings[0].account)[1]}/{bindings[0].device}"
        return PBX

    def _registered(self, binding: Binding) -> None:
        calls = [each.call for each in self._by_account.get(binding.account, ()) if each.waking]
        if calls:
            until = self._clock.now() + LINK_S
            host = binding.source.host
            self._captured.link(binding.call_id, host, binding.device, calls, until)

    # calls

    def _open(self, call: CallView) -> Gathering:
        bounds = self._rules.bounds
        gathering = Gathering(
            call=call.id,
            account=call.account,
            since=call.started_at,
            device_calls=call.direction is Direction.OUTGOING,
            bounds=bounds,
            # One from before a restart, or from before the recorder was switched on.
            continued=call.started_at < self._pulled_at - CLOSE_S,
        )
        tenant = split_account_key(call.account)[0]
        since = call.started_at - CLOSE_S
        self._captured.open(call.id, call.sip_call_id, tenant, since, bounds.messages, bounds.bytes)
        self._calls[call.id] = gathering
        self._by_account.setdefault(call.account, []).append(gathering)
        return gathering

    def _forget(self, gathering: Gathering) -> None:
        """No message is its any more."""
        if self._calls.pop(gathering.call, None) is None:
            return
        self._ended.pop(gathering.call, None)
        self._captured.forget(gathering.call)
        of_account = self._by_account[gathering.account]
        of_account.remove(gathering)
        if not of_account:
            del self._by_account[gathering.account]

    def _close(self, gathering: Gathering) -> None:
        """It is over: to be stored."""
        self._store_later(gathering)
        self._forget(gathering)

    def _store_later(self, gathering: Gathering) -> None:
        """All that there is of it now; it may go on with what follows."""
        call = gathering.call
        text = self._captured.text(call, True) if self._captured.seen(call) else None  # noqa: FBT003
        if text is None:
            return
        before = self._due.get(call)
        self._due[call] = (
            replace(before, texts=(*before.texts, text))
            if before is not None
            else Due(
                call=call,
                account=gathering.account,
                since=gathering.since,
                bounds=gathering.bounds,
                continued=gathering.continued,
                texts=(text,),
            )
        )
        gathering.continued = True
        self._writes.submit("due", self._write_due)

    # time

    def _schedule(self) -> None:
        self._timer = self._clock.call_at(Instant(self._clock.now() + PULL_S), self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._rules.enabled:
            return
        self._schedule()
        self.pull()
        now = self._clock.now()
        # In the order of their ends.
        for call in [call for call, due in self._ended.items() if due <= now]:
            self._close(self._calls[call])
        if self.size > self._memory_bytes:
            self._make_room()

    def _make_room(self) -> None:
        """Store parts of answered calls early; with the store away the oldest are lost."""
        excess = self.size - self._memory_bytes * 9 // 10
        lost = 0
        for call in tuple(self._due):
            if excess <= 0 or not self._writes.degraded:
                break
            excess -= self._due.pop(call).size
            lost += 1
        if lost:
            _log.error("recordings lost: the store took none for too long", count=lost)
        for gathering in tuple(self._calls.values()):
            if excess <= 0:
                break
            if not gathering.waking and gathering.call not in self._due:
                excess -= self._captured.size(gathering.call)
                self._store_later(gathering)

    # writing

    async def _write_due(self) -> None:
        while self._due:
            some = list(islice(self._due.values(), _AT_ONCE))
            packed, size = [], 0
            for each in some:
                packed.append(await self._packed(each))
                size += each.size
                if size >= LONG_BYTES:
                    size = 0
                    await asyncio.sleep(0)
            await self._store.put_recordings(packed, keep_s=self._rules.keep_s)
            for each in some:
                if self._due.get(each.call) is each:
                    del self._due[each.call]

    async def _packed(self, due: Due) -> PackedRecording:
        whole = len(due.texts) == 1 and not due.continued
        text = due.texts[0] if whole else written(await self._joined(due))
        return PackedRecording(account=due.account, call=due.call, at=due.since, packed=pack(text))

    async def _joined(self, due: Due) -> Recording:
        parts = [read(text, call=due.call, account=due.account) for text in due.texts]
        if due.continued:
            try:
                packed = await self._store.get_recording(due.account, due.call)
                if packed is not None:
                    parts.insert(0, unpack(packed, call=due.call, account=due.account))
            except (UnreadableRecording, ConfigurationError) as error:
                # It is written over: else it would stand in front of all others for ever.
                _log.error("part of a recording lost", call_id=due.call, error=str(error))
        return joined(parts, due.bounds)
