"""What another node has in memory, and any node is asked for: calls that go on, registrations."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from ..core.events import AppAction, AppEvent
from ..core.evidence import AppWords
from ..core.ids import AccountKey, CallId, DeviceId, TenantId
from ..core.model import CallRecord, CallState, Verdict
from ..core.registration_status import RegistrationStatus
from ..errors import StoreUnavailable
from ..ports import Store
from ..signaling.facts import DialogEnded
from .membership import Membership
from .node import NodeRecord
from .orders import NodeSilent, Orders

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """Where a call stands after what was reported."""

    taken: bool
    state: CallState
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an app reports of a call."""

    call: CallId
    device: DeviceId
    event: AppEvent
    detail: str
    words: AppWords


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What the person did on the push screen."""

    call: CallId
    device: DeviceId
    action: AppAction


class LocalCalls(Protocol):
    """Calls in memory: `runtime.calls.Calls`."""

    def get(self, call: CallId) -> CallRecord | None:
        """The newest record of a call still in memory."""

    def live(self, tenant: TenantId, *, limit: int) -> tuple[CallRecord, ...]:
        """A tenant's calls that have not ended, newest first."""

    def dialog_ended(self, fact: DialogEnded) -> None:
        """A BYE has passed."""


class LocalWakes(Protocol):
    """Wakes that go on: `runtime.wakes.Wakes`."""

    def report(
        self, call: CallId, device: DeviceId, event: AppEvent, detail: str, *, words: AppWords
    ) -> bool:
        """The app reports its progress."""

    def act(self, call: CallId, device: DeviceId, action: AppAction) -> bool:
        """The person declined on the push screen."""


class Elsewhere:
    """Asks the node that has it. A node alone has everything itself."""

    def __init__(
        self,
        *,
        membership: Membership,
        orders: Orders | None,
        store: Store,
        calls: LocalCalls,
        wakes: LocalWakes,
        registration: Callable[[AccountKey], RegistrationStatus],
        owns: Callable[[AccountKey], bool],
    ) -> None:
        """``registration``: how an account of ours is registered; ``owns``: which are ours."""
        self._membership = membership
        self._orders = orders
        self._store = store
        self._calls = calls
        self._wakes = wakes
        self._registration = registration
        self._owns = owns

    def start(self) -> None:
        """Answer other nodes from now on."""
        if self._orders is None:
            return
        self._orders.serve("call", str, self._call)
        self._orders.serve("report", Report, self._report)
        self._orders.serve("act", Act, self._act)
        self._orders.serve("registrations", list[str], self._statuses)
        self._orders.serve("dialog_ended", DialogEnded, self._dialog_ended)
        self._orders.start()

    async def aclose(self) -> None:
        """Answer nobody any more."""
        if self._orders is not None:
            await self._orders.aclose()

    def nodes(self) -> tuple[NodeRecord, ...]:
        """All living nodes, by id; of a node alone, itself."""
        membership = self._membership
        me = replace(membership.me, waiting=membership.waiting())
        alive = {**membership.alive(), me.id: me}
        return tuple(alive[name] for name in sorted(alive))

    def has_other(self, record: CallRecord) -> bool:
        """Whether another node has this call in its hands."""
        return record.state is not CallState.ENDED and not self._membership.is_me(record.node)

    async def newest(self, record: CallRecord) -> CallRecord:
        """The record as the node has it that has the call; as stored, where that is silent."""
        if self._orders is None or not self._lives(record):
            return record
        try:
            found = await self._orders.ask(record.node, "call", record.id, tuple[CallRecord, ...])
        except (NodeSilent, StoreUnavailable) as error:
            _log.info("a call is shown as stored", call_id=record.id, reason=str(error))
            return record
        return next(iter(found), record)

    async def report(self, record: CallRecord, report: Report) -> Fate | None:
        """Tell the node that has the call; None: it is nobody's any more, or its node is dead."""
        if self._orders is None or not self._lives(record):
            return None
        return await self._orders.ask(record.node, "report", report, Fate)

    async def act(self, record: CallRecord, act: Act) -> Fate | None:
        """The same for an action. Raises `orders.NodeSilent` when its node is dead, too."""
        if self._orders is None or not self.has_other(record):
            return None
        if not self._lives(record):
            raise NodeSilent(f"node {record.node}, which has the call, does not answer")
        return await self._orders.ask(record.node, "act", act, Fate)

    async def registration(self, key: AccountKey) -> RegistrationStatus:
        """How an account is registered at its PBX, whichever node sees to it."""
        return (await self.registrations([key]))[key]

    async def registrations(
        self, keys: Sequence[AccountKey]
    ) -> Mapping[AccountKey, RegistrationStatus]:
        """The same of several accounts."""
        known = {key: self._registration(key) for key in keys}
        if self._orders is None or not (foreign := [key for key in keys if not self._owns(key)]):
            return known
        by_node: dict[str, list[AccountKey]] = {}
        try:
            records = await self._store.get_registrations(foreign)
        except StoreUnavailable as error:
            _log.info("registrations of other nodes are not known", error=str(error))
            return known
        for key, record in zip(foreign, records, strict=True):
            if record is not None and self._membership.address(record.node):
                by_node.setdefault(record.node, []).append(key)
        for found in await asyncio.gather(*(self._ask(*each) for each in by_node.items())):
            known |= found
        return known

    async def _ask(
        self, node: str, keys: Sequence[AccountKey]
    ) -> Mapping[AccountKey, RegistrationStatus]:
        assert self._orders is not None  # noqa: S101 - for the type checker
        try:
            answer = dict[str, RegistrationStatus]
            found = await self._orders.ask(node, "registrations", list(keys), answer)
        except (NodeSilent, StoreUnavailable) as error:
            _log.info("a node's registrations are not known", node=node, reason=str(error))
            return {}
        return {AccountKey(key): status for key, status in found.items()}

    async def ended(self, record: CallRecord, fact: DialogEnded) -> bool:
        """A BYE has passed here for a call that another node has: that ends its record."""
        if self._orders is None or not self._lives(record):
            return False
        try:
            await self._orders.ask(record.node, "dialog_ended", fact, bool)
        except (NodeSilent, StoreUnavailable) as error:
            _log.info("a call's end is recorded here", call_id=record.id, reason=str(error))
            return False
        return True

    def _lives(self, record: CallRecord) -> bool:
        return self.has_other(record) and self._membership.address(record.node) is not None

    # asked by others

    async def _call(self, call: str) -> tuple[CallRecord, ...]:
        found = self._calls.get(CallId(call))
        return () if found is None else (found,)

    async def _report(self, told: Report) -> Fate:
        taken = self._wakes.report(
            told.call, told.device, told.event, told.detail, words=told.words
        )
        return await self._fate(told.call, taken=taken)

    async def _act(self, told: Act) -> Fate:
        return await self._fate(
            told.call, taken=self._wakes.act(told.call, told.device, told.action)
        )

    async def _fate(self, call: CallId, *, taken: bool) -> Fate:
        record = self._calls.get(call) or await self._store.get_call(call)
        if record is None:
            return Fate(taken=taken, state=CallState.ENDED, verdict=None)
        verdict = record.outcome.verdict if record.outcome else None
        return Fate(taken=taken, state=record.state, verdict=verdict)

    async def _statuses(self, keys: list[str]) -> dict[str, RegistrationStatus]:
        return {key: self._registration(AccountKey(key)) for key in keys}

    async def _dialog_ended(self, fact: DialogEnded) -> bool:
        if self._calls.get(CallId(fact.call)) is None:
            return False
        self._calls.dialog_ended(fact)
        return True
