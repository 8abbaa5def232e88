"""The recorder of calls: which messages belong to which call, and what becomes of them.

The stack copies messages into a buffer of its own, which is emptied here now and then; no fact and
no call waits for it. A message belongs to the calls with its SIP Call-ID; REGISTERs
belong to those calls of their account that were waking then.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog

from ..core.ids import AccountKey, CallId, Instant, split_account_key
from ..core.model import Address, Binding, CallRecord, CallState, Direction
from ..errors import ConfigurationError
from ..recording_ports import PackedRecording, RecordingStore
from ..runtime.changes import AccountChanged, BindingChanged, Change
from ..runtime.clock import Timer, TimerClock
from ..runtime.live_call import CallView
from ..runtime.write_behind import WriteBehind
from ..signaling.captured import Captured, CaptureLimits
from ..signaling.contract import Signaling
from .gathering import Bounds, Gathering
from .hep_export import HepExport
from .recording import PBX, RecordedMessage, Recording, UnreadableRecording, pack, unpack
from .registers import Registers

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
_AT_ONCE = 16
_Key = TypeVar("_Key", bound=str)
_UNCLAIMED = 1000
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


@dataclass(slots=True, eq=False)
class _Link:
    """A device has registered: this registration's messages belong to these calls."""

    until: Instant
    host: str
    hop: str
    calls: list[Gathering]


_Matched = tuple[Captured, list[Gathering], str | None]
"""A message, the calls that it belongs to, and its hop if that is known already."""


class Recorder:
    """All calls that are being recorded or wait to be stored."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        directory: Flows,
        store: RecordingStore,
        clock: TimerClock,
        limits: CaptureLimits | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """It is off until `configure`."""
        self._signaling = signaling
        self._directory = directory
        self._store = store
        self._clock = clock
        self._limits = limits or CaptureLimits()
        self._memory_bytes = memory_bytes
        self._rules = RecorderRules()
        self._calls: dict[CallId, Gathering] = {}
        self._by_sip_call: dict[str, list[Gathering]] = {}
        self._by_account: dict[AccountKey, list[Gathering]] = {}
        self._registers = Registers()
        self._links: dict[str, list[_Link]] = {}
        self._unclaimed: list[tuple[Instant, Captured]] = []
        self._complained_at = Instant(0.0)
        self._ended: dict[CallId, Instant] = {}
        self._due: dict[CallId, Gathering] = {}
        self._bytes = 0
        self._timer: Timer | None = None
        self._writes = WriteBehind("recordings")

    @property
    def enabled(self) -> bool:
        """Whether calls are being recorded."""
        return self._rules.enabled

    def configure(self, rules: RecorderRules) -> None:
        """Begin, end, or go on by other rules; calls that go on are recorded from here on."""
        if self._rules.enabled and not rules.enabled:
            self.pull()
        before, self._rules = self._rules, rules
        if before.hep is not None and before.hep is not rules.hep:
            before.hep.close()
        if rules.enabled == before.enabled:
            return
        self._signaling.capture(self._limits if rules.enabled else None, now=self._clock.now())
        if rules.enabled:
            self._schedule()
            return
        self._unclaimed = []
        self._registers.clear()
        self._links.clear()
        for gathering in tuple(self._calls.values()):
            self._close(gathering)

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

    def on_call(self, record: CallView) -> None:
        """A call has begun or changed (`runtime.calls.Calls.watch`)."""
        if not self._rules.enabled:
            return
        gathering = self._calls.get(record.id)
        if gathering is None:
            if record.id in self._due:
                return  # what is told of a call long after its end
            gathering = self._open(record)
        if gathering.waking and record.state in {CallState.ANSWERED, CallState.ENDED}:
            gathering.waking = False
        if record.state is CallState.ENDED:
            self._ended.setdefault(record.id, Instant(self._clock.now() + SETTLE_S))

    def on_change(self, change: Change) -> None:
        """The directory has changed: a device has registered, or an account is gone."""
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
        gathering = self._calls.get(record.id) or self._due.get(record.id)
        if gathering is not None and not gathering.continued:
            return gathering.recording()
        packed = await self._store.get_recording(record.account, record.id)
        stored = None if packed is None else unpack(packed, call=record.id, account=record.account)
        if gathering is None:
            return stored
        return gathering.after(stored)

    # messages

    def pull(self) -> None:
        """Take what the stack has copied."""
        batch = self._signaling.take_captured()
        if batch.lost:
            self._lose(batch.lost)
        now = self._clock.now()
        matched: list[_Matched] = []
        waited, self._unclaimed = self._unclaimed, []
        for pulled_at, message in waited:
            if (calls := self._by_sip_call.get(message.call_id)) is not None:
                matched.append((message, calls, None))
            elif pulled_at > now - CLOSE_S:
                self._unclaimed.append((pulled_at, message))
        for message in batch.messages:
            if message.device_register:
                self._registers.add(message)
                if (links := self._links.get(message.call_id)) is not None:
                    self._match(message, links, matched)
            elif (calls := self._by_sip_call.get(message.call_id)) is not None:
                matched.append((message, calls, None))
            elif len(self._unclaimed) < _UNCLAIMED:
                # Its call may be opened by a fact that is still to be read.
                self._unclaimed.append((now, message))
        if matched:
            self._keep(matched)

    def _lose(self, count: int) -> None:
        for gathering in self._calls.values():
            gathering.missed += count
        if self._clock.now() - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = self._clock.now()
            _log.warning("SIP messages not recorded: too many came at once", count=count)

    def _match(self, message: Captured, links: list[_Link], matched: list[_Matched]) -> None:
        linked = [link for link in links if link.host == message.peer.host]
        calls = [each for link in linked for each in link.calls if each.call in self._calls]
        if calls:
            matched.append((message, calls, linked[0].hop))

    def _keep(self, matched: list[_Matched]) -> None:
        hep = self._rules.hep
        for message, calls, hop in matched:
            if hep is not None:
                hep.send(message)
            if len(calls) > 1 and _of_several_tenants(calls):
                # One tenant must not read what is another's.
                for gathering in calls:
                    gathering.dropped += 1
                continue
            for gathering in calls:
                self._bytes += gathering.add(
                    RecordedMessage(
                        message.at,
                        message.sent,
                        hop or self._hop(gathering, message),
                        message.peer,
                        message.local,
                        message.raw,
                    )
                )

    def _hop(self, gathering: Gathering, message: Captured) -> str:
        peer = message.peer
        hop = gathering.hops.get(peer)
        if hop is None:
            hop = gathering.hops[peer] = self._who(gathering, message)
        return hop

    def _who(self, gathering: Gathering, message: Captured) -> str:
        bindings = self._directory.by_flow(message.peer)
        own = next((each for each in bindings if each.account == gathering.account), None)
        first = not gathering.hops and not message.sent
        if first and not gathering.device_calls:
            return PBX  # also one that stands where a phone has registered from
        if own is not None:
            return own.device
        if bindings:
            # The PBX has forked the call to another account of the same tenant.
            return f"{split_account_key(bindings[0].account)[1]}/{bindings[0].device}"
        return PBX

    # REGISTERs

    def _registered(self, binding: Binding) -> None:
        calls = [each for each in self._by_account.get(binding.account, ()) if each.waking]
        if not calls:
            return
        now, host = self._clock.now(), binding.source.host
        links = self._links.setdefault(binding.call_id, [])
        linked = {gathering for link in links for gathering in link.calls}
        new = [gathering for gathering in calls if gathering not in linked]
        if not new:
            return
        links.append(_Link(Instant(now + LINK_S), host, binding.device, new))
        for gathering in new:
            since = Instant(gathering.since - CLOSE_S)
            earlier = self._registers.of(binding.call_id, since=since, host=host)
            matched: list[_Matched] = [(each, [gathering], binding.device) for each in earlier]
            if matched:
                self._keep(matched)

    # calls

    def _open(self, record: CallView) -> Gathering:
        gathering = Gathering(
            call=record.id,
            account=record.account,
            sip_call_id=record.sip_call_id,
            since=record.started_at,
            device_calls=record.direction is Direction.OUTGOING,
            bounds=self._rules.bounds,
            # One from before a restart, or from before the recorder was switched on.
            continued=record.started_at < self._clock.now() - CLOSE_S,
        )
        self._calls[record.id] = gathering
        self._by_sip_call.setdefault(record.sip_call_id, []).append(gathering)
        self._by_account.setdefault(record.account, []).append(gathering)
        return gathering

    def _forget(self, gathering: Gathering) -> None:
        """No message is its any more."""
        if self._calls.pop(gathering.call, None) is None:
            return
        self._ended.pop(gathering.call, None)
        self._bytes -= gathering.size
        _leave(self._by_sip_call, gathering.sip_call_id, gathering)
        _leave(self._by_account, gathering.account, gathering)

    def _close(self, gathering: Gathering) -> None:
        """It is over: to be stored."""
        self._forget(gathering)
        if gathering.messages or gathering.dropped:
            self._bytes += gathering.size
            if (part := self._due.get(gathering.call)) is not None:
                gathering.resume(part)
            self._due[gathering.call] = gathering
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
        for call in [call for call, due in self._ended.items() if due <= now]:
            self._close(self._calls[call])
        for call_id, links in tuple(self._links.items()):
            if links[0].until > now:
                continue
            # A phone with a call every few seconds must not keep all of them in memory.
            links[:] = [link for link in links if link.until > now]
            if not links:
                del self._links[call_id]
        if self._bytes > self._memory_bytes:
            self._make_room()

    def _make_room(self) -> None:
        """Store parts of answered calls early; with the store away the oldest are lost."""
        excess = self._bytes - self._memory_bytes * 9 // 10
        lost = 0
        for call in tuple(self._due):
            if excess <= 0 or not self._writes.degraded:
                break
            gone = self._due.pop(call)
            self._bytes -= gone.size
            excess -= gone.size
            lost += 1
        if lost:
            _log.error("recordings lost: the store took none for too long", count=lost)
        for gathering in tuple(self._calls.values()):
            if excess <= 0:
                break
            if gathering.messages and not gathering.waking and gathering.call not in self._due:
                excess -= gathering.size
                self._due[gathering.call] = gathering.part()
                self._writes.submit("due", self._write_due)

    # writing

    async def _write_due(self) -> None:
        while self._due:
            some = [self._due[call] for call in tuple(self._due)[:_AT_ONCE]]
            packed = [await self._packed(each) for each in some]
            await self._store.put_recordings(packed, keep_s=self._rules.keep_s)
            for each in some:
                if self._due.get(each.call) is each:
                    del self._due[each.call]
                    self._bytes -= each.size

    async def _packed(self, gathering: Gathering) -> PackedRecording:
        whole = await self._whole(gathering)
        await asyncio.sleep(0)  # a long one takes ten milliseconds: calls come in between
        return PackedRecording(
            account=gathering.account, call=gathering.call, at=gathering.since, packed=pack(whole)
        )

    async def _whole(self, gathering: Gathering) -> Recording:
        if not gathering.continued:
            return gathering.recording()
        try:
            packed = await self._store.get_recording(gathering.account, gathering.call)
            if packed is None:
                return gathering.recording()
            return gathering.after(unpack(packed, call=gathering.call, account=gathering.account))
        except (UnreadableRecording, ConfigurationError) as error:
            # It is written over: else it would stand in front of all others for ever.
            _log.error("part of a recording lost", call_id=gathering.call, error=str(error))
            return gathering.recording()


def _of_several_tenants(calls: list[Gathering]) -> bool:
    first = split_account_key(calls[0].account)[0]
    return any(split_account_key(each.account)[0] != first for each in calls)


def _leave(index: dict[_Key, list[Gathering]], key: _Key, gathering: Gathering) -> None:
    index[key].remove(gathering)
    if not index[key]:
        del index[key]
