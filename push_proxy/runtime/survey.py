"""How a tenant's accounts stand, counted over all of them: bounded in size and in haste."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..core.ids import AccountKey, Instant, TenantId
from ..core.model import Account, Binding, Device
from ..core.registration_status import RegistrationState
from ..ports import Clock
from ..tasks import spawn
from .pbx_watch import PbxState

KEPT_S = 5.0
"""For so long the last count is told again."""
SHOWN_PBXS = 100
_AT_ONCE = 200
"""Accounts counted in one go: between them the loop is free for calls."""


class Directory(Protocol):
    """Who is known: `directory.Directory`."""

    def accounts(self) -> tuple[Account, ...]:
        """All accounts."""

    def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """Devices of an account."""

    def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """Unexpired bindings of an account."""


@dataclass(slots=True)
class PbxCount:
    """One PBX, and how the accounts at it do."""

    name: str
    """As configured, else the registrar that accounts name."""
    state: PbxState | None
    accounts: int = 0
    registrations: Counter[RegistrationState] = field(default_factory=Counter)

    @property
    def trouble(self) -> tuple[bool, int, int]:
        """Greater means worse, then larger."""
        unreachable = self.state is not None and self.state.reachable is False
        down = self.registrations
        failing = down[RegistrationState.RETRYING] + down[RegistrationState.REJECTED]
        return unreachable, failing, self.accounts


@dataclass(slots=True)
class Count:
    """One tenant's numbers."""

    at: Instant
    accounts: int = 0
    devices: int = 0
    wakeable: int = 0
    """Devices with a push target."""
    connected: int = 0
    """Devices that are registered with us now."""
    registrations: Counter[RegistrationState] = field(default_factory=Counter)
    pbxs: list[PbxCount] = field(default_factory=list)
    """The worst and largest `SHOWN_PBXS`."""
    pbxs_total: int = 0


class Survey:
    """Counts when asked, at most every `KEPT_S`, and never two at once for one tenant."""

    def __init__(
        self,
        directory: Directory,
        *,
        registration: Callable[[AccountKey], RegistrationState],
        pbx_state: Callable[[Account], PbxState | None],
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._registration = registration
        self._pbx_state = pbx_state
        self._clock = clock
        self._counts: dict[TenantId, asyncio.Task[Count]] = {}

    async def of(self, tenant: TenantId) -> Count:
        """The tenant's numbers, at most `KEPT_S` old."""
        task = self._counts.get(tenant)
        if task is None or (task.done() and self._old(task)):
            task = spawn(self._count(tenant), name=f"survey of {tenant}")
            self._counts[tenant] = task
        return await asyncio.shield(task)

    def _old(self, task: asyncio.Task[Count]) -> bool:
        failed = task.cancelled() or task.exception() is not None
        return failed or self._clock.now() - task.result().at > KEPT_S

    async def _count(self, tenant: TenantId) -> Count:
        found, pbxs = Count(self._clock.now()), dict[str, PbxCount]()
        for number, account in enumerate(self._directory.accounts()):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            if account.tenant == tenant:
                self._add(account, found, pbxs)
        found.pbxs_total = len(pbxs)
        worst_first = sorted(pbxs.values(), key=lambda each: each.trouble, reverse=True)
        found.pbxs = worst_first[:SHOWN_PBXS]
        return found

    def _add(self, account: Account, found: Count, pbxs: dict[str, PbxCount]) -> None:
        key, state = account.key, self._registration(account.key)
        devices = self._directory.devices(key)
        known = {device.device for device in devices}
        bound = {binding.device for binding in self._directory.bindings(key)}
        found.accounts += 1
        found.devices += len(known | bound)
        found.wakeable += sum(device.has_target for device in devices)
        found.connected += len(bound)
        found.registrations[state] += 1
        name = account.pbx or account.registrar or ""
        if name not in pbxs:
            pbxs[name] = PbxCount(name, self._pbx_state(account))
        pbxs[name].accounts += 1
        pbxs[name].registrations[state] += 1
