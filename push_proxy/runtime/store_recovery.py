"""Giving back to the store what it has lost, from what this node has in memory.

A server that came back empty gets everything: accounts, devices, bindings, API keys and the
service's secrets. One that was restarted or followed another as master may have lost its last
moments (an append-only file that is flushed once a second, a replica that lagged behind): what
changed here lately is compared, and written again where the store has less.

History is not in memory: calls that have ended, missed calls, kept messages, recordings,
events on their way. Deletions that the store forgot come back with it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from ..core.ids import DeviceId
from ..core.model import Account, Binding, Device
from ..errors import Conflict, NotFound, PreconditionFailed
from ..ports import AccountState, Clock
from ..recovery_ports import KnownState, LosableStore

_log = structlog.get_logger(__name__)
AT_ONCE = 50
LATELY_S = 60.0
"""No server that is set up as the operator's guide says loses more than that."""


@dataclass(slots=True)
class Given:
    """What was written back."""

    accounts: int = 0
    devices: int = 0
    bindings: int = 0

    def __bool__(self) -> bool:
        return bool(self.accounts or self.devices or self.bindings)


class StoreRecovery:
    """See the module's text. Every method raises `errors.StoreUnavailable`: call it again."""

    def __init__(self, store: LosableStore, known: KnownState, clock: Clock) -> None:
        self._store = store
        self._known = known
        self._clock = clock
        self._lives: Mapping[str, str] = store.lives

    async def emptied(self) -> None:
        """The store has lost everything, or a part: it gets all that we have."""
        accounts = self._known.accounts()
        _log.error(
            "the store has lost what it held: writing back what is in memory; call history, "
            "missed calls, kept messages, recordings and waiting events are lost",
            accounts=len(accounts),
        )
        given = await self._give(accounts, since=0.0)
        await self._store.refound()
        self._lives = self._store.lives
        _log.warning(
            "the store has back what this node knew",
            accounts=given.accounts,
            devices=given.devices,
            bindings=given.bindings,
        )

    async def look(self) -> None:
        """After a successful ping: other server processes may lack what was written last."""
        lives = self._store.lives
        if self._lives and lives != self._lives:
            since = self._clock.now() - LATELY_S
            given = await self._give(self._touched(since), since=since)
            if given:
                _log.warning(
                    "the store was restarted, or another server took over, without what was "
                    "written last: written again",
                    accounts=given.accounts,
                    devices=given.devices,
                    bindings=given.bindings,
                )
        self._lives = lives

    def _touched(self, since: float) -> list[Account]:
        """Accounts of which something has changed since then."""
        return [
            account
            for account in self._known.accounts()
            if account.updated_at >= since
            or any(device.updated_at >= since for device in self._known.devices(account.key))
            or any(binding.heard_at >= since for binding in self._known.bindings(account.key))
        ]

    async def _give(self, accounts: Sequence[Account], *, since: float) -> Given:
        given = Given()
        for begin in range(0, len(accounts), AT_ONCE):
            some = accounts[begin : begin + AT_ONCE]
            stored = await self._store.states(some)
            await asyncio.gather(
                *(
                    self._give_one(account, state, since=since, given=given)
                    for account, state in zip(some, stored, strict=True)
                )
            )
        return given

    async def _give_one(
        self, account: Account, state: AccountState, *, since: float, given: Given
    ) -> None:
        try:
            anew = await self._give_account(account, since=since)
            devices = await self._give_devices(account, state.devices, since=since)
            bindings = await self._give_bindings(account, state.bindings, since=since)
        except (Conflict, NotFound, PreconditionFailed) as error:
            # Another node was faster, or knows better.
            _log.info("not written back", account=account.key, reason=str(error))
        else:
            given.accounts += anew
            given.devices += devices
            given.bindings += bindings

    async def _give_account(self, account: Account, *, since: float) -> bool:
        stored = await self._store.account_there(account.key)
        if stored is None and account.updated_at < since:
            raise NotFound("it was deleted by another node")
        have = stored.version if stored else 0
        if since and have >= account.version:
            return False
        # Written also where nothing is missing: its indexes may have been on another server.
        newer = stored if stored and stored.version > account.version else account
        await self._store.put_account(newer, expected_version=have)
        return stored is None or have < account.version

    async def _give_devices(
        self, account: Account, stored: Iterable[Device], *, since: float
    ) -> int:
        there = {device.device: device for device in stored}
        count = 0
        for device in self._known.devices(account.key):
            have = there.get(device.device)
            missing = have is None or have.version < device.version
            if (missing and device.updated_at >= since) or (not since and not missing):
                newer = device if missing or have is None else have
                await self._store.put_device(newer, expected_version=None)
                count += missing
        return count

    async def _give_bindings(
        self, account: Account, stored: Iterable[Binding], *, since: float
    ) -> int:
        there: dict[DeviceId, Binding] = {binding.device: binding for binding in stored}
        count = 0
        for binding in self._known.bindings(account.key):
            have = there.get(binding.device)
            if binding.heard_at >= since and (have is None or have.expires_at < binding.expires_at):
                await self._store.put_binding(binding)
                count += 1
        return count
