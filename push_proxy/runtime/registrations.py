"""All registrations toward PBXs: one timer, the PBXs' pace, and the accounts' wishes."""

import random
import secrets
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

import structlog

from ..core import registration
from ..core.ids import AccountKey, Instant
from ..core.model import Account, RegistrationRecord
from ..core.next_hop import NextHop
from ..core.own import OwnNames
from ..core.pbx import Endpoint, next_hop
from ..core.registration_answer import Answer
from ..core.registration_state import (
    Action,
    Chance,
    Concluded,
    ForgetRecord,
    Kind,
    Registration,
    SaveRecord,
    SendRegister,
    Target,
)
from ..core.registration_status import UNUSED, RegistrationState, RegistrationStatus
from ..core.registration_target import is_wanted, state_of, status_of, target_of
from ..signaling.contract import Signaling
from ..signaling.facts import RequestAnswered
from .changes import AccountChanged, Change
from .clock import Timer, TimerClock
from .directory import Directory
from .pbx_addresses import PbxAddresses
from .pbx_bindings import PbxBindings, Place
from .pbx_lane import PbxLane, urgency
from .registration_records import RegistrationStore, load_records
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)
RENEWED_AT_ONCE, RENEWED_EVERY_S = 250, 0.02


class RegistrationMeters(Protocol):
    """Who counts (`observability.metrics.Metrics`)."""

    def set_registrations(self, counts: Mapping[str, int]) -> None:
        """How many are in each state."""

    def registration_attempted(self, result: str) -> None:
        """An attempt ended."""


@dataclass(slots=True)
class _Machine:
    state: Registration
    account: Account
    lane: str
    current: bool = True
    """False: its account is gone or has moved to another PBX; it only unregisters."""
    queued: bool = False
    scheduled: Instant | None = None
    request: int = 0
    """What is in flight; an answer to anything older is nobody's."""
    hop: NextHop | None = None
    """Where that went."""
    check: bool = False
    """It was chosen to ask whether the PBX still has our Contacts."""
    counted: RegistrationState | None = None


class Checks(Protocol):
    """Who draws conclusions from what a PBX still has (`runtime.pbx_watch.PbxWatch`)."""

    def on_checked(self, place: Place, *, present: bool) -> None:
        """This server was asked for one account's Contacts: ours is among them, or not."""


class Registrations:
    """Owner of every account's registration machine."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        directory: Directory,
        store: RegistrationStore,
        clock: TimerClock,
        addresses: PbxAddresses,
        own: OwnNames,
        metrics: RegistrationMeters,
    ) -> None:
        self._signaling = signaling
        self._directory = directory
        self._store = store
        self._clock = clock
        self._addresses = addresses
        self._own = own
        self._metrics = metrics
        self._machines: dict[int, _Machine] = {}
        self._current: dict[AccountKey, int] = {}
        self._requests: dict[int, int] = {}
        self._lanes: dict[str, PbxLane] = {}
        self._heap: list[tuple[Instant, int, int | str]] = []
        self._order = count(1)
        self._lane_at: dict[str, Instant] = {}
        self._timer: Timer | None = None
        self._armed_at: Instant | None = None
        self._writes = WriteBehind("registrations")
        self._counts: Counter[str] = Counter()
        self._bound = PbxBindings()
        self._renewals: deque[tuple[int, bool]] = deque()
        self._renewal_timer: Timer | None = None
        self._checks: Checks | None = None

    async def start(self) -> None:
        """Go on where a restart interrupted, then follow the accounts' changes.

        Raises `errors.StoreUnavailable`.
        """
        records = await load_records(self._store, self._directory.accounts())
        for account in self._directory.accounts():
            self._update(account, records.get(account.key))
        self._directory.subscribe(self._on_change)
        self._addresses.on_resolved(self._on_resolved)
        self._arm()

    async def aclose(self) -> None:
        """Stop. Nothing is unregistered: a restart goes on with what the PBX has."""
        for timer in (self._timer, self._renewal_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._armed_at = self._renewal_timer = None
        self._renewals.clear()
        await self._writes.aclose()

    def status(self, account: AccountKey) -> RegistrationStatus:
        """How the account stands at its PBX."""
        number = self._current.get(account)
        if number is None:
            return UNUSED
        return status_of(self._machines[number].state, self._clock.now())

    def counts(self) -> Mapping[str, int]:
        """How many registrations are in each state."""
        return dict(self._counts)

    def on_answer(self, fact: RequestAnswered) -> None:
        """The PBX answered, or our stack did for it."""
        number = self._requests.get(fact.request)
        machine = None if number is None else self._machines.get(number)
        if number is None or machine is None or machine.request != fact.request:
            return
        answer = Answer.read(fact.status, fact.reason, local=fact.local, raw=fact.raw)
        self._take(number, machine, answer)
        self._go_on(machine.lane)
        self._arm()

    def reconsider(self, accounts: Iterable[Account]) -> None:
        """Their PBX is configured otherwise now."""
        for account in accounts:
            self._update(account)
        self._arm()

    def service_route(self, account: AccountKey) -> tuple[str, ...]:
        """Service-Route values that the PBX gave when it registered the account (RFC 3608)."""
        number = self._current.get(account)
        return () if number is None else self._machines[number].state.service_route

    # what the watch over PBXs orders

    def report_to(self, checks: Checks) -> None:
        """Tell what servers answer when they are asked for our Contacts."""
        self._checks = checks

    def check(self, place: Place, count: int) -> int:
        """Ask this server for the Contacts of up to ``count`` accounts, each in its turn.

        Returns how many are asked. Accounts that it does not list prove nothing.
        """
        now, asked = self._clock.now(), 0
        for number in self._bound.turn(place, 2 * count):
            machine = self._machines[number]
            state, actions = registration.check(machine.state, now=now)
            if asked < count and state is not machine.state and state.listed:
                machine.check = True
                asked += 1
                self._settle(number, machine, state, actions)
        self._arm()
        return asked

    def renew(self, place: Place, *, lost: bool) -> int:
        """Register again what was bound there, at the PBX's pace; returns how many.

        Unless it is ``lost``, what waits for its turn goes on doing so, and what fails already.
        """
        numbers = self._bound.at(place)
        if not lost:
            machines = self._machines
            numbers = tuple(
                n for n in numbers if not (machines[n].queued or machines[n].state.failures)
            )
        return self._renew(numbers, lost=lost)

    def retry(self, lane: str) -> int:
        """This PBX answers again: what failed there need not wait for its time."""
        return self._renew(
            [n for n, m in self._machines.items() if m.lane == lane and m.state.failures],
            lost=False,
        )

    def abandon(self, place: Place) -> None:
        """This server is gone: what it has not answered goes to another one, at the pace."""
        lane, destination = place
        gone = Answer(status=408, reason="The PBX's server is gone", local=True)
        for number in tuple(self._requests.values()):
            machine = self._machines[number]
            if machine.lane == lane and machine.hop and machine.hop.destination == destination:
                self._landed(machine)
                self._answer(number, machine, gone, elsewhere=True)
        self._go_on(lane)
        self._arm()

    def hold(self, lane: str) -> None:
        """This PBX does not answer: its registrations wait."""
        if lane in self._lanes:
            self._lanes[lane].hold(self._clock.now())

    def release(self, lane: str) -> None:
        """It does."""
        if lane in self._lanes and self._lanes[lane].held:
            self._lanes[lane].release()
            self._lane_at.pop(lane, None)
            self._drain(lane, self._clock.now())
            self._arm()

    def _renew(self, numbers: Sequence[int], *, lost: bool) -> int:
        # In portions: thousands at once would stop calls for a tenth of a second.
        self._renewals.extend((number, lost) for number in numbers)
        if self._renewals and self._renewal_timer is None:
            self._renewal_timer = self._clock.call_at(self._clock.now(), self._renew_some)
        return len(numbers)

    def _renew_some(self) -> None:
        now = self._clock.now()
        for _ in range(min(RENEWED_AT_ONCE, len(self._renewals))):
            number, lost = self._renewals.popleft()
            if (machine := self._machines.get(number)) is not None:
                state, actions = registration.renew(machine.state, now=now, lost=lost)
                self._settle(number, machine, state, actions)
        later = Instant(now + RENEWED_EVERY_S)
        more = bool(self._renewals)
        self._renewal_timer = self._clock.call_at(later, self._renew_some) if more else None
        self._arm()

    # accounts

    def _on_change(self, change: Change) -> None:
        if isinstance(change, AccountChanged):
            if change.new is not None:
                self._update(change.new)
            elif change.old is not None:
                self._leave(change.old.key)
        elif change.old is None or change.new is None:
            # A refreshed binding or a rotated token makes no first device and no last.
            known = change.old or change.new
            account = None if known is None else self._directory.account(known.account)
            if account is not None:
                self._update(account)
        self._arm()

    def _on_resolved(self, end: Endpoint) -> None:
        """DNS may have chosen another transport, which our Contact names."""
        if end.transport is None:
            for account in self._directory.accounts():
                pbx = self._addresses.pbx(account)
                if pbx is not None and next_hop(account, pbx) == end:
                    self._update(account)
            self._arm()

    def _update(self, account: Account, record: RegistrationRecord | None = None) -> None:
        pbx = self._addresses.pbx(account)
        transport = self._addresses.transport(account)
        target = target_of(account, pbx, self._own, transport=transport)
        key = account.key
        # A phone that only registered with us is a device too, as long as it is bound.
        has_device = bool(self._directory.devices(key) or self._directory.bindings(key))
        wanted = target if is_wanted(account, has_device=has_device) else None
        number = self._current.get(account.key)
        if number is not None and _moved(self._machines[number].state.target, target):
            self._leave(account.key)
            number = None
        if number is None:
            if pbx is None or target is None or (wanted is None and record is None):
                return
            number = self._add(account, pbx.key, pbx.registrations_per_second, record, target)
        machine = self._machines[number]
        machine.account = account
        if pbx is not None:
            self._lanes[machine.lane].set_rate(pbx.registrations_per_second)
        state, actions = registration.want(machine.state, wanted, now=self._clock.now())
        self._settle(number, machine, state, actions)

    def _add(
        self,
        account: Account,
        lane: str,
        rate: float,
        record: RegistrationRecord | None,
        target: Target,
    ) -> int:
        now = self._clock.now()
        if lane not in self._lanes:
            self._lanes[lane] = PbxLane(rate, now)
        number = next(self._order)
        self._current[account.key] = number
        if record is None:
            self._machines[number] = _Machine(Registration(account=account.key), account, lane)
            return number
        state = registration.restored(_usable(record), target, now=now, chance=_chance())
        self._machines[number] = _Machine(state, account, lane)
        if state.wanted and record.server is not None:
            self._bound.put(number, (lane, record.server))
        return number

    def _leave(self, key: AccountKey) -> None:
        number = self._current.pop(key, None)
        if number is None:
            return
        machine = self._machines[number]
        machine.current = False
        state, actions = registration.want(machine.state, None, now=self._clock.now())
        self._settle(number, machine, state, actions)

    # time

    def _arm(self) -> None:
        # Each REGISTER leaves an entry for the case that it is not answered: none of those that
        # were may wake us.
        while self._heap and not self._is_awaited(self._heap[0]):
            heappop(self._heap)
        first = self._heap[0][0] if self._heap else None
        if first == self._armed_at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_at = first
        if first is not None:
            self._timer = self._clock.call_at(first, self._tick)

    def _is_awaited(self, entry: tuple[Instant, int, int | str]) -> bool:
        when, _, what = entry
        if isinstance(what, str):
            return self._lane_at.get(what) == when
        machine = self._machines.get(what)
        return machine is not None and machine.scheduled == when

    def _tick(self) -> None:
        now = self._clock.now()
        self._armed_at = None
        lanes: set[str] = set()
        while self._heap and self._heap[0][0] <= now:
            when, _, what = heappop(self._heap)
            if isinstance(what, str):
                if self._lane_at.get(what) == when:
                    del self._lane_at[what]
                    lanes.add(what)
            elif (machine := self._machines.get(what)) is not None and machine.scheduled == when:
                machine.scheduled = None
                if machine.state.doing is not None:
                    self._due(what, machine, now)
                elif not machine.queued:
                    machine.queued = True
                    waits = urgency(machine.state, now, check=machine.check)
                    self._lanes[machine.lane].push(what, waits)
                    lanes.add(machine.lane)
        for name in lanes:
            self._drain(name, now)
        self._arm()

    def _drain(self, name: str, now: Instant) -> None:
        lane = self._lanes[name]
        while (number := lane.pop(now)) is not None:
            machine = self._machines.get(number)
            if machine is not None:
                machine.queued = False
                self._due(number, machine, now)
        if name not in self._lane_at and (at := lane.next_at()) is not None:
            self._lane_at[name] = at
            heappush(self._heap, (at, next(self._order), name))

    def _go_on(self, name: str) -> None:
        """An answer has come: what waited for one may go."""
        if len(self._lanes[name]) and name not in self._lane_at:
            self._drain(name, self._clock.now())

    def _due(self, number: int, machine: _Machine, now: Instant) -> None:
        if machine.state.doing is not None:
            self._landed(machine)
        state, actions = registration.due(machine.state, now=now, chance=_chance())
        self._settle(number, machine, state, actions)

    # what comes of a step

    def _take(self, number: int, machine: _Machine, answer: Answer) -> None:
        """An answer from the network, which also tells how the server is that was asked."""
        hop, sent_at = machine.hop, machine.state.sent_at
        self._landed(machine)
        elsewhere = False
        if hop is not None and sent_at is not None:
            if registration.is_server_failure(answer):
                wait_s = answer.retry_after_s
                self._addresses.health.failed(
                    hop.destination,
                    sent_at=sent_at,
                    local=answer.local,
                    retry_after_s=None if wait_s is None else float(wait_s),
                )
                other = self._addresses.hop(machine.account)
                elsewhere = (
                    other is not None
                    and other.destination != hop.destination
                    and self._addresses.health.is_well(other.destination)
                )
            elif not answer.local:
                self._addresses.health.heard(hop.destination)
        self._answer(number, machine, answer, elsewhere=elsewhere)

    def _answer(
        self, number: int, machine: _Machine, answer: Answer, *, elsewhere: bool = False
    ) -> None:
        state, actions = registration.answered(
            machine.state, answer, now=self._clock.now(), chance=_chance(), elsewhere=elsewhere
        )
        self._settle(number, machine, state, actions)

    def _landed(self, machine: _Machine) -> None:
        """What is in flight is so no more."""
        if self._requests.pop(machine.request, None) is not None:
            self._lanes[machine.lane].unanswered -= 1

    def _settle(
        self, number: int, machine: _Machine, state: Registration, actions: Iterable[Action]
    ) -> None:
        machine.state = state
        for action in actions:
            self._perform(number, machine, action)
        if machine.state is not state:
            return  # an action was answered at once and settled anew
        if state.bound is None:
            self._bound.put(number, None)
        if state.idle and not machine.current:
            self._landed(machine)
            del self._machines[number]
            self._count(machine, None)
            return
        if not machine.queued and state.due_at is not None and state.due_at != machine.scheduled:
            machine.scheduled = state.due_at
            heappush(self._heap, (state.due_at, next(self._order), number))
        self._count(machine, state_of(state, self._clock.now()))

    def _perform(self, number: int, machine: _Machine, action: Action) -> None:
        match action:
            case SendRegister():
                self._send(number, machine, action)
            case SaveRecord(record):
                if machine.current:
                    server = machine.hop.destination if machine.hop else None
                    kept = replace(record, server=server)
                    self._writes.submit(record.account, partial(self._store.put_registration, kept))
            case ForgetRecord():
                key = machine.state.account
                if self._current.get(key, number) == number:
                    self._writes.submit(key, partial(self._store.delete_registration, key))
            case Concluded(result):
                self._conclude(number, machine, result)

    def _send(self, number: int, machine: _Machine, action: SendRegister) -> None:
        hop = self._hop(number, machine, action.kind)
        if hop is None:
            unknown = Answer(
                status=503, reason="PBX address does not resolve", local=True, left=False
            )
            self._answer(number, machine, unknown)
            return
        self._landed(machine)
        machine.request = request = next(self._order)
        machine.hop = hop
        self._requests[request] = number
        self._lanes[machine.lane].unanswered += 1
        target = action.target
        self._signaling.request(
            request,
            method="REGISTER",
            request_uri=target.registrar,
            from_=f"<{target.aor}>;tag={action.call_id[:10]}",
            to=f"<{target.aor}>",
            call_id=action.call_id,
            cseq=action.cseq,
            headers=action.headers,
            destination=hop.destination,
            local=hop.local,
            server_name=hop.server_name,
            tls_profile=hop.tls_profile,
        )

    def _hop(self, number: int, machine: _Machine, kind: Kind) -> NextHop | None:
        """A new binding goes where it is best; about an old one its own server is asked."""
        if kind is not Kind.REGISTER and (place := self._bound.place(number)) is not None:
            for hop in self._addresses.hops(machine.account):
                if hop.destination == place[1]:
                    return hop
            if not machine.current and machine.hop is not None:
                return machine.hop  # its PBX is configured otherwise: it is left where it is
        return self._addresses.hop(machine.account)

    def _conclude(self, number: int, machine: _Machine, result: str) -> None:
        self._metrics.registration_attempted(result)
        state, hop = machine.state, machine.hop
        if hop is not None:
            place = (machine.lane, hop.destination)
            if result == "registered" and state.bound is not None:
                self._bound.put(number, place)
            elif result in {"fetched", "evicted"} and state.listed:
                machine.check = False
                if self._checks is not None:
                    self._checks.on_checked(place, present=result == "fetched")
        if state.rejected:
            _log.warning(
                "PBX refused a registration for good",
                account=state.account,
                status=state.last_status,
                reason=state.last_reason,
            )
        elif result == "evicted":
            _log.warning("PBX dropped our Contact before its time", account=state.account)

    def _count(self, machine: _Machine, now: RegistrationState | None) -> None:
        if machine.counted is now:
            return
        if machine.counted is not None:
            self._counts[machine.counted.value] -= 1
        if now is not None:
            self._counts[now.value] += 1
        machine.counted = now
        self._metrics.set_registrations(self._counts)


def _moved(old: Target | None, new: Target | None) -> bool:
    """Whether the registration is at another place now: it cannot be changed, only left."""
    return old is not None and (new is None or (old.aor, old.registrar) != (new.aor, new.registrar))


def _usable(record: RegistrationRecord) -> RegistrationRecord:
    """Calls come on the connection that registered: it ended with us, so that is due at once."""
    if record.server is not None and record.server.transport == "udp":
        return record
    return replace(record, refresh_at=Instant(0.0))


def _chance() -> Chance:
    return Chance(unit=random.random(), text=secrets.token_hex(8))
