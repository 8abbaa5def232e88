"""One step of a registration, and what it orders: requests, records, counts."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Protocol

import structlog

from ..cluster.ownership import Ownership
from ..core import registration
from ..core.ids import AccountKey, Instant
from ..core.model import RegistrationRecord
from ..core.next_hop import NextHop
from ..core.registration_answer import Answer
from ..core.registration_state import (
    Action,
    Concluded,
    ForgetRecord,
    Kind,
    Registration,
    SaveRecord,
    SendRegister,
)
from ..core.registration_status import RegistrationState
from ..core.registration_target import state_of
from ..errors import StoreUnavailable
from ..lease_ports import RegistrationStore
from ..signaling.contract import Signaling
from ..tasks import spawn
from .clock import TimerClock
from .live_registration import LiveRegistration, new_chance
from .owned_shards import OwnedShards
from .pbx_addresses import PbxAddresses
from .pbx_bindings import PbxBindings, Place
from .registration_schedule import RegistrationSchedule
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)
_LEASE_WAIT_S = 1.0
"""How soon is looked again whether our lease is good."""


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


class RegistrationSteps:
    """Owner of the machines; `registrations.Registrations` says which ones there are."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        store: RegistrationStore,
        clock: TimerClock,
        addresses: PbxAddresses,
        metrics: RegistrationMeters,
        ownership: Ownership,
        shards: OwnedShards,
    ) -> None:
        self._signaling = signaling
        self._store = store
        self._clock = clock
        self._addresses = addresses
        self._metrics = metrics
        self._ownership = ownership
        self._shards = shards
        self._machines: dict[int, LiveRegistration] = {}
        self._current: dict[AccountKey, int] = {}
        self._former: set[int] = set()
        """Those that only unregister."""
        self._requests: dict[int, int] = {}
        self._order = count(1)
        self._schedule = RegistrationSchedule(clock, self._machines, self._due)
        self._writes = WriteBehind("registrations")
        self._counts: Counter[str] = Counter()
        self._bound = PbxBindings()
        self._failing: dict[str, set[int]] = {}
        self._checks: Checks | None = None
        self._announcing: set[asyncio.Task[None]] = set()

    def _due(self, number: int, machine: LiveRegistration, now: Instant) -> None:
        if not self._shards.may_send(machine.state.account):
            self._schedule.postpone(number, machine, Instant(now + _LEASE_WAIT_S))
            return
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
            self._former.discard(number)
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
                    self._keep(record, machine)
            case ForgetRecord():
                key = machine.state.account
                if self._current.get(key, number) == number:
                    self._forget(key)
            case Concluded(result):
                self._conclude(number, machine, result)

    def _keep(self, record: RegistrationRecord, machine: LiveRegistration) -> None:
        kept = self._signed(record, machine)

        async def write() -> None:
            if not await self._store.put_registration(kept):
                self._displaced(kept.account, kept.fence)

        self._writes.submit(kept.account, write)

    def _signed(self, record: RegistrationRecord, machine: LiveRegistration) -> RegistrationRecord:
        return replace(
            record,
            server=machine.hop.destination if machine.hop else None,
            node=self._ownership.node,
            fence=self._ownership.fence(record.account),
        )

    def _forget(self, key: AccountKey) -> None:
        fence = self._ownership.fence(key)

        async def write() -> None:
            if not await self._store.delete_registration(key, fence=fence):
                self._displaced(key, fence)

        self._writes.submit(key, write)

    def _displaced(self, key: AccountKey, fence: int) -> None:
        """Another node works for this account: whatever we still have of it ends without SIP."""
        _log.info("a registration went on at another node", account=key)
        if self._ownership.fence(key) == fence:
            self._drop(self._of((key,)))

    def _drop(self, numbers: Iterable[int]) -> None:
        """These accounts are not ours any more; nothing is unregistered."""
        for number in numbers:
            machine = self._machines.pop(number)
            self._landed(machine)
            self._bound.put(number, None)
            self._set_failing(number, machine, failing=False)
            self._count(machine, None)
            self._former.discard(number)
            if self._current.get(machine.state.account) == number:
                del self._current[machine.state.account]

    def _of(self, keys: Iterable[AccountKey]) -> set[int]:
        """All that is run for these accounts."""
        wanted = frozenset(keys)
        found = {self._current[key] for key in wanted & self._current.keys()}
        return found | {n for n in self._former if self._machines[n].state.account in wanted}

    def _send(self, number: int, machine: LiveRegistration, action: SendRegister) -> None:
        if not self._shards.may_send(machine.state.account):
            ended = Answer(status=503, reason="Lease of the account ended", local=True, left=False)
            self._answer(number, machine, ended)
            return
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
        if action.first is None:
            self._transmit(request, action, hop)
        else:
            # Older than this: what waits would be written over it.
            self._writes.supersede(action.first.account)
            kept = self._signed(action.first, machine)
            task = spawn(self._transmit_after(kept, request, action), name="REGISTER to be kept")
            self._announcing.add(task)
            task.add_done_callback(self._announcing.discard)

    async def _transmit_after(
        self, kept: RegistrationRecord, request: int, action: SendRegister
    ) -> None:
        """Send it once it is kept that the PBX may have been told so, and that we may tell it."""
        fault = ""
        try:
            if not await self._store.put_registration(kept):
                self._displaced(kept.account, kept.fence)
                return
        except StoreUnavailable:
            fault = "Store away: another node could not go on"
        number = self._requests.get(request)
        machine = None if number is None else self._machines.get(number)
        if number is None or machine is None or machine.hop is None:
            return  # it has become pointless meanwhile
        if not fault and not self._shards.may_send(kept.account):
            fault = "Lease of the account ended"
        if not fault:
            self._transmit(request, action, machine.hop)
            return
        self._landed(machine)
        self._answer(number, machine, Answer(status=503, reason=fault, local=True, left=False))
        self._schedule.go_on(machine.lane)
        self._schedule.arm()

    def _transmit(self, request: int, action: SendRegister, hop: NextHop) -> None:
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
