"""Service-Route values of accounts that other nodes register, for calls of apps that we have.

The registrar gives them to whoever registers (RFC 3608); an app's call may leave from any node.
They are read from the store when an app registers here, which is before it calls.
"""

import asyncio
from collections.abc import Callable
from itertools import islice

import structlog

from ..cluster.ownership import Ownership
from ..core.ids import AccountKey
from ..errors import StoreUnavailable
from ..lease_ports import RegistrationStore
from ..tasks import spawn
from .changes import BindingChanged, Change
from .directory import Directory
from .registration_records import AT_ONCE

_log = structlog.get_logger(__name__)
Routes = tuple[str, ...]


class ServiceRoutes:
    """What calls of an account have to pass at its PBX."""

    def __init__(
        self,
        *,
        own: Callable[[AccountKey], Routes],
        ownership: Ownership,
        directory: Directory,
        store: RegistrationStore,
    ) -> None:
        """``own``: of accounts that are registered here."""
        self._own = own
        self._ownership = ownership
        self._directory = directory
        self._store = store
        self._others: dict[AccountKey, Routes] = {}
        self._wanted: dict[AccountKey, None] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow the apps that register here."""
        self._directory.subscribe(self._on_change)

    def aclose(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()

    def of(self, account: AccountKey) -> Routes:
        """Its Service-Route values, topmost first; none: it has none, or nothing is known."""
        if self._ownership.owns(account):
            return self._own(account)
        return self._others.get(account, ())

    def _on_change(self, change: Change) -> None:
        if not isinstance(change, BindingChanged) or change.remote:
            return
        if change.new is None:
            if change.old is not None and not self._directory.bindings(change.old.account):
                self._others.pop(change.old.account, None)
        elif not self._ownership.owns(change.new.account):
            self._wanted[change.new.account] = None
            if self._task is None or self._task.done():
                self._task = spawn(self._read(), name="Service-Routes of other nodes")

    async def _read(self) -> None:
        while some := tuple(islice(self._wanted, AT_ONCE)):
            for account in some:
                del self._wanted[account]
            try:
                records = await self._store.get_registrations(some)
            except StoreUnavailable as error:
                # Asked again when the app registers again; what was known stays.
                _log.info("Service-Routes are not known here", error=str(error))
                return
            for account, record in zip(some, records, strict=True):
                if record is not None and record.service_route:
                    self._others[account] = record.service_route
                else:
                    self._others.pop(account, None)
