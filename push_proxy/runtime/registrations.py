"""All registrations toward PBXs: what the accounts wish, and what the PBXs answer."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Protocol

import structlog

from ..core import registration
from ..core.ids import AccountKey, Instant
from ..core.model import Account, Binding, Device, RegistrationRecord
from ..core.next_hop import NextHop
from ..core.own import OwnNames
from ..core.pbx import Endpoint
from ..core.registration_answer import Answer
from ..core.registration_state import (
    Action,
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
from .changes import AccountChanged, BindingChanged, Change, DeviceChanged
from .clock import TimerClock
from .directory import Directory
from .live_registration import LiveRegistration, new_chance
from .pbx_addresses import PbxAddresses
from .pbx_bindings import PbxBindings, Place
from .registration_records import RegistrationStore, load_records
from .registration_schedule import RegistrationSchedule
from .renewals import Renewals
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)


class RegistrationMeters(Protocol):
    """Who counts (`observability.metrics.Metrics`)."""

    def set_registrations(self, counts: Mapping[str, int]) -> None:
        """How many are in each state."""

    def registration_attempted(self, result: str) -> None:
        """An attempt ended."""


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
        self._machines: dict[int, LiveRegistration] = {}
        self._current: dict[AccountKey, int] = {}
        self._requests: dict[int, int] = {}
        self._order = count(1)
        self._schedule = RegistrationSchedule(clock, self._machines, self._due)
        self._renewals = Renewals(clock, self._renew_one, self._schedule.arm)
        self._writes = WriteBehind("registrations")
        self._counts: Counter[str] = Counter()
        self._bound = PbxBindings()
        self._failing: dict[str, set[int]] = {}
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
        self._schedule.arm()

    async def aclose(self) -> None:
        """Stop. Nothing is unregistered: a restart goes on with what the PBX has."""
        self._renewals.aclose()
        self._schedule.aclose()
        await self._writes.aclose()

    def status(self, account: AccountKey) -> RegistrationStatus:
        """How the account stands at its PBX."""
        number = self._current.get(account)
        if number is None:
            return UNUSED
        return status_of(self._machines[number].state, self._clock.now())

    def state(self, account: AccountKey) -> RegistrationState:
        """Where it stands, without why."""
        number = self._current.get(account)
        if number is None:
            return RegistrationState.UNUSED
        return state_of(self._machines[number].state, self._clock.now())

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
        self._schedule.go_on(machine.lane)
        self._schedule.arm()

    def reconsider(self, accounts: Iterable[Account]) -> None:
        """Their PBX is configured otherwise now."""
        for account in accounts:
            self._update(account)
        self._schedule.arm()

    def service_route(self, account: AccountKey) -> tuple[str, ...]:
        """Service-Route values that the PBX gave when it registered the account (RFC 3608)."""
        number = self._current.get(account)
        return () if number is None else self._machines[number].state.service_route

    # what the watch over PBXs orders

    def report_to(self, checks: Checks) -> None:
        """Tell what servers answer when they are asked for our Contacts."""
        self._checks = checks

    def someone(self, place: Place) -> str | None:
        """The AOR of an account that is bound at this server."""
        number = self._bound.anyone(place)
        return None if number is None else self._machines[number].account.aor

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
        self._schedule.arm()
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
        return self._renew(tuple(self._failing.get(lane, ())), lost=False)

    def abandon(self, place: Place) -> None:
        """This server is gone: what it has not answered goes to another one, at the pace."""
        lane, destination = place
        gone = Answer(status=408, reason="The PBX's server is gone", local=True)
        for number in tuple(self._requests.values()):
            machine = self._machines[number]
            if machine.lane == lane and machine.hop and machine.hop.destination == destination:
                self._landed(machine)
                self._answer(number, machine, gone, elsewhere=True)
        self._schedule.go_on(lane)
        self._schedule.arm()

    def hold(self, lane: str) -> None:
        """This PBX does not answer: its registrations wait."""
        self._schedule.hold(lane)

    def release(self, lane: str) -> None:
        """It does."""
        self._schedule.release(lane)

    def _renew(self, numbers: Sequence[int], *, lost: bool) -> int:
        self._renewals.add(numbers, lost=lost)
        return len(numbers)

    def _renew_one(self, number: int, lost: bool) -> None:  # noqa: FBT001 - a callback
        if (machine := self._machines.get(number)) is not None:
            now = self._clock.now()
            state, actions = registration.renew(machine.state, now=now, lost=lost)
            self._settle(number, machine, state, actions)

    # accounts

    def _on_change(self, change: Change) -> None:
        if isinstance(change, AccountChanged):
            if change.new is not None:
                self._update(change.new)
            elif change.old is not None:
                self._leave(change.old.key)
        elif isinstance(change, DeviceChanged | BindingChanged) and (
            _is_reason(change.old) != _is_reason(change.new)
        ):
            # A refreshed binding or a rotated token makes no first device and no last.
            known = change.old or change.new
            account = None if known is None else self._directory.account(known.account)
            if account is not None:
                self._update(account)
        self._schedule.arm()

    def _on_resolved(self, end: Endpoint) -> None:
        """DNS may have chosen another transport, which our Contact names."""
        if end.transport is not None:
            return
        for account in self._addresses.accounts_at(end):
            number = self._current.get(account.key)
            if number is None:
                continue
            if self._machines[number].state.target == self._target(account):
                break  # it is the same for all of them
            self._update(account)
        self._schedule.arm()

    def _target(self, account: Account) -> Target | None:
        """What it would register now."""
        pbx, transport = self._addresses.pbx(account), self._addresses.transport(account)
        return target_of(account, pbx, self._own, transport=transport)

    def _update(self, account: Account, record: RegistrationRecord | None = None) -> None:
        pbx, target = self._addresses.pbx(account), self._target(account)
        key = account.key
        # A phone that only registered with us is a device too, as long as it is bound; one whose
        # push token is dead cannot be woken.
        has_device = bool(self._directory.bindings(key)) or any(
            device.has_target for device in self._directory.devices(key)
        )
        wanted = target if is_wanted(account, has_device=has_device) else None
        number = self._current.get(account.key)
        if number is not None and self._has_moved(number, account, target):
            self._leave(account.key)
            number = None
        if number is None:
            if pbx is None or target is None or (wanted is None and record is None):
                return
            number = self._add(account, pbx.key, record, target)
        machine = self._machines[number]
        machine.account = account
        if pbx is not None:
            self._schedule.set_rate(pbx.key, pbx.registrations_per_second)
            if machine.lane != pbx.key:
                self._change_lane(number, machine, pbx.key)
        state, actions = registration.want(machine.state, wanted, now=self._clock.now())
        self._settle(number, machine, state, actions)

    def _has_moved(self, number: int, account: Account, target: Target | None) -> bool:
        """Whether it has to leave where it is; another name of the same server is the same place.

        There the removal of the old binding could overtake the new one, which it equals.
        """
        machine, place = self._machines[number], self._bound.place(number)
        if not machine.has_moved(target):
            return False
        if place is None or not machine.would_equal(target):
            return True
        return all(hop.destination != place[1] for hop in self._addresses.hops(account))

    def _change_lane(self, number: int, machine: LiveRegistration, lane: str) -> None:
        """Its PBX is another by name alone: what waits, waits there, at that one's pace."""
        self._set_failing(number, machine, failing=False)
        if (place := self._bound.place(number)) is not None:
            self._bound.put(number, (lane, place[1]))
        if machine.request in self._requests:
            self._schedule.landed(machine.lane)
            self._schedule.sent(lane)
        machine.lane, machine.queued, machine.scheduled = lane, False, None

    def _add(
        self,
        account: Account,
        lane: str,
        record: RegistrationRecord | None,
        target: Target,
    ) -> int:
        number = next(self._order)
        self._current[account.key] = number
        if record is None:
            self._machines[number] = LiveRegistration(
                Registration(account=account.key), account, lane
            )
            return number
        now = self._clock.now()
        state = registration.restored(_usable(record), target, now=now, chance=new_chance())
        self._machines[number] = LiveRegistration(state, account, lane)
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

    # what comes of a step

    def _due(self, number: int, machine: LiveRegistration, now: Instant) -> None:
        if machine.state.doing is not None:
            self._landed(machine)
        state, actions = registration.due(machine.state, now=now, chance=new_chance())
        self._settle(number, machine, state, actions)

    def _take(self, number: int, machine: LiveRegistration, answer: Answer) -> None:
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
        self, number: int, machine: LiveRegistration, answer: Answer, *, elsewhere: bool = False
    ) -> None:
        state, actions = registration.answered(
            machine.state, answer, now=self._clock.now(), chance=new_chance(), elsewhere=elsewhere
        )
        self._settle(number, machine, state, actions)

    def _landed(self, machine: LiveRegistration) -> None:
        """What is in flight is so no more."""
        if self._requests.pop(machine.request, None) is not None:
            self._schedule.landed(machine.lane)

    def _settle(
        self, number: int, machine: LiveRegistration, state: Registration, actions: Iterable[Action]
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
            self._set_failing(number, machine, failing=False)
            self._count(machine, None)
            return
        self._set_failing(number, machine, failing=state.failures > 0)
        self._schedule.put(number, machine)
        self._count(machine, state_of(state, self._clock.now()))

    def _set_failing(self, number: int, machine: LiveRegistration, *, failing: bool) -> None:
        if failing:
            self._failing.setdefault(machine.lane, set()).add(number)
        elif (found := self._failing.get(machine.lane)) is not None and number in found:
            found.remove(number)
            if not found:
                del self._failing[machine.lane]

    def _perform(self, number: int, machine: LiveRegistration, action: Action) -> None:
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

    def _send(self, number: int, machine: LiveRegistration, action: SendRegister) -> None:
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
        self._schedule.sent(machine.lane)
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

    def _hop(self, number: int, machine: LiveRegistration, kind: Kind) -> NextHop | None:
        """A new binding goes where it is best; about an old one its own server is asked."""
        if kind is not Kind.REGISTER and (place := self._bound.place(number)) is not None:
            for hop in self._addresses.hops(machine.account):
                if hop.destination == place[1]:
                    return hop
            if not machine.current and machine.hop is not None:
                return machine.hop  # its PBX is configured otherwise: it is left where it is
        return self._addresses.hop(machine.account)

    def _conclude(self, number: int, machine: LiveRegistration, result: str) -> None:
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

    def _count(self, machine: LiveRegistration, now: RegistrationState | None) -> None:
        if machine.counted is now:
            return
        if machine.counted is not None:
            self._counts[machine.counted.value] -= 1
        if now is not None:
            self._counts[now.value] += 1
        machine.counted = now
        self._metrics.set_registrations(self._counts)


def _usable(record: RegistrationRecord) -> RegistrationRecord:
    """Calls come on the connection that registered: it ended with us, so that is due at once."""
    if record.server is not None and record.server.transport == "udp":
        return record
    return replace(record, refresh_at=Instant(0.0))


def _is_reason(known: Device | Binding | None) -> bool:
    """Whether calls can reach its phone by it: a reason to be registered."""
    return known.has_target if isinstance(known, Device) else known is not None
