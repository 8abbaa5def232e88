"""All registrations toward PBXs: what the accounts wish, and what the PBXs answer."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from ..cluster.ownership import Ownership, Sole
from ..core import registration
from ..core.ids import AccountKey, Instant
from ..core.model import Account, Binding, Device, RegistrationRecord
from ..core.own import OwnNames
from ..core.pbx import Endpoint
from ..core.registration_answer import Answer
from ..core.registration_state import Registration, Target
from ..core.registration_status import UNUSED, RegistrationState, RegistrationStatus
from ..core.registration_target import is_wanted, state_of, status_of, target_of
from ..core.shards import shard_of
from ..lease_ports import RegistrationStore
from ..patience import patiently
from ..signaling.contract import Signaling
from ..signaling.facts import RequestAnswered
from .changes import AccountChanged, BindingChanged, Change, DeviceChanged
from .clock import TimerClock
from .directory import Directory
from .live_registration import LiveRegistration, new_chance
from .owned_shards import OwnedShards
from .pbx_addresses import PbxAddresses
from .pbx_bindings import Place
from .registration_steps import Checks, RegistrationMeters, RegistrationSteps
from .renewals import Renewals

_FINISH_S, _LOOK_S = 2.0, 0.05
"""How long what is on its way for a shard may take before another node takes the shard."""


class Registrations(RegistrationSteps):
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
        ownership: Ownership | None = None,
    ) -> None:
        ownership = ownership or Sole()
        RegistrationSteps.__init__(
            self,
            signaling=signaling,
            store=store,
            clock=clock,
            addresses=addresses,
            metrics=metrics,
            ownership=ownership,
            shards=OwnedShards(ownership, store, self._take_on),
        )
        self._directory = directory
        self._own = own
        self._renewals = Renewals(clock, self._renew_one, self._schedule.arm)
        self._rates: dict[str, float] = {}
        self._share = 1.0

    async def start(self) -> None:
        """Go on where a restart interrupted, then follow the accounts' changes.

        Waits for the store.
        """
        for account in self._directory.accounts():
            self._shards.put(account)
        self._directory.subscribe(self._on_change)
        self._addresses.on_resolved(self._on_resolved)
        await patiently(self._shards.open)
        self._schedule.arm()

    async def aclose(self) -> None:
        """Stop. Nothing is unregistered: a restart goes on with what the PBX has."""
        self._shards.aclose()
        for task in self._announcing:
            task.cancel()
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

    # shards

    def gained(self, shards: frozenset[int]) -> None:
        """See `cluster.ownership.ShardWork.gained`."""
        self._shards.gained(shards)

    async def leave(self, shards: frozenset[int]) -> frozenset[AccountKey]:
        """See `cluster.ownership.ShardWork.leave`."""
        self._shards.leave(shards)
        now = self._clock.now()
        numbers = self._numbers(shards)
        keys = {machine.state.account for machine in numbers.values()}
        registered = frozenset(
            machine.state.account
            for machine in numbers.values()
            if machine.current and machine.state.is_registered(now)
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_S):
                while any(  # noqa: ASYNC110 - both end in several places
                    m.request in self._requests for m in numbers.values()
                ) or any(self._writes.waits(key) for key in keys):
                    await asyncio.sleep(_LOOK_S)
        return registered

    def lost(self, shards: frozenset[int]) -> None:
        """See `cluster.ownership.ShardWork.lost`."""
        self._shards.close(shards)
        self._drop(self._numbers(shards))
        self._schedule.arm()

    def forgotten(self, shards: frozenset[int]) -> None:
        """See `cluster.ownership.ShardWork.forgotten`."""
        for number, machine in self._numbers(shards).items():
            for action in registration.recorded(machine.state):
                self._perform(number, machine, action)

    def cost_s(self, shard: int) -> float:
        """See `cluster.ownership.ShardWork.cost_s`."""
        per_lane: Counter[str] = Counter()
        for key in self._shards.accounts(shard):
            if (number := self._current.get(key)) is not None:
                per_lane[self._machines[number].lane] += 1
        return max((many / self._rates[lane] for lane, many in per_lane.items()), default=0.0)

    def set_share(self, share: float) -> None:
        """See `cluster.ownership.ShardWork.set_share`."""
        self._share = share
        for lane, rate in self._rates.items():
            self._schedule.set_rate(lane, rate * share)
        self._schedule.arm()

    def _numbers(self, shards: frozenset[int]) -> dict[int, LiveRegistration]:
        keys = [key for shard in shards for key in self._shards.accounts(shard)]
        former = (self._machines[number].state.account for number in self._former)
        gone = [key for key in former if shard_of(key) in shards]
        return {number: self._machines[number] for number in self._of([*keys, *gone])}

    @property
    def _shared(self) -> bool:
        """Whether others may go on in our place."""
        return bool(self._ownership.node)

    # accounts

    def _on_change(self, change: Change) -> None:
        if isinstance(change, AccountChanged):
            if change.new is not None:
                self._shards.put(change.new)
                self._update(change.new)
            elif change.old is not None:
                self._shards.remove(change.old.key)
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

    def _take_on(self, key: AccountKey, record: RegistrationRecord | None) -> None:
        if (account := self._directory.account(key)) is not None:
            self._update(account, record)
            self._schedule.arm()

    def _update(self, account: Account, record: RegistrationRecord | None = None) -> None:
        if not self._shards.runs(account.key):
            return
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
            self._rates[pbx.key] = pbx.registrations_per_second
            self._schedule.set_rate(pbx.key, pbx.registrations_per_second * self._share)
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
                Registration(account=account.key, known=() if self._shared else None),
                account,
                lane,
            )
            return number
        now = self._clock.now()
        state = registration.restored(
            _usable(record, self._ownership.node),
            target,
            now=now,
            chance=new_chance(),
            shared=self._shared,
        )
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
        self._former.add(number)
        state, actions = registration.want(machine.state, None, now=self._clock.now())
        self._settle(number, machine, state, actions)


def _usable(record: RegistrationRecord, node: str) -> RegistrationRecord:
    """Calls come on the connection that registered: it ended with us, so that is due at once.

    So it is when another node registered it: some PBXs call the address that a REGISTER came from.
    """
    by_us = record.node in {"", node}
    if by_us and record.server is not None and record.server.transport == "udp":
        return record
    return replace(record, refresh_at=Instant(0.0))


def _is_reason(known: Device | Binding | None) -> bool:
    """Whether calls can reach its phone by it: a reason to be registered."""
    return known.has_target if isinstance(known, Device) else known is not None
