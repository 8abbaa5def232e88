"""Whether the store answers: asked again and again, told when it changes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from ..errors import StoreUnavailable
from ..patience import patiently
from ..recovery_ports import StoreEmptied
from ..tasks import spawn

_log = structlog.get_logger(__name__)
WATCH_S = 1.0


class Opened(Protocol):
    """The part of `ports.Store` that is watched."""

    async def open(self) -> None:
        """Connect and check that the store answers."""

    async def ping(self) -> None:
        """Return when the store answers."""


class Recovery(Protocol):
    """What is done for a store that has lost something: `store_recovery.StoreRecovery`."""

    async def emptied(self) -> None:
        """Give everything back. Raises `errors.StoreUnavailable`."""

    async def look(self) -> None:
        """Give back the last moments, if need be. Raises `errors.StoreUnavailable`."""


class StoreWatch:
    """Opens the store with back-off, then watches it. ``fault`` is empty while all is well."""

    def __init__(self, store: Opened, *, where: str) -> None:
        self._store = store
        self._where = where
        self._task: asyncio.Task[None] | None = None
        self._recovery: Recovery | None = None
        self.fault = "the store has not answered yet"

    async def open(self, then: Callable[[], Awaitable[None]]) -> None:
        """Return when the store is open and ``then`` has read what it needs.

        Tries for ever, and says each time what fails.
        """

        async def ask() -> None:
            await self._store.open()
            await then()

        def waits(error: StoreUnavailable, retry_in_s: float) -> None:
            self.fault = f"{self._where}: {error}"
            _log.error("the store does not answer", error=self.fault, retry_in_s=retry_in_s)

        await patiently(ask, waits)
        self.fault = ""

    def start(self, recovery: Recovery | None = None) -> None:
        """Watch from now on."""
        self._recovery = recovery
        self._task = spawn(self._watch(), name="watch of the store")

    async def aclose(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self._store.ping()
                if self._recovery is not None:
                    await self._recovery.look()
            except StoreEmptied as error:
                self._note(error)
                await self._recover()
            except StoreUnavailable as error:
                self._note(error)
            except Exception:  # noqa: BLE001 - logged; nobody else would see the store go or come
                _log.exception("a look at the store failed", where=self._where)
            else:
                if self.fault:
                    _log.warning("store unavailable -> ready", where=self._where)
                self.fault = ""

    async def _recover(self) -> None:
        if self._recovery is None:
            return
        # What fails is tried again: the next look finds it empty still.
        try:
            await self._recovery.emptied()
        except StoreUnavailable as error:
            _log.error("not everything could be written back yet", error=str(error))
        except Exception:  # noqa: BLE001 - logged
            _log.exception("writing back failed", where=self._where)

    def _note(self, error: StoreUnavailable) -> None:
        if not self.fault:
            _log.error("store ready -> unavailable", where=self._where, error=str(error))
        self.fault = f"{self._where}: {error}"
