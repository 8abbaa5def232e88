"""Whether the store answers: asked again and again, told when it changes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from ..errors import StoreUnavailable
from ..tasks import spawn

_log = structlog.get_logger(__name__)
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 10.0
WATCH_S = 1.0


class Opened(Protocol):
    """The part of `ports.Store` that is watched."""

    async def open(self) -> None:
        """Connect and check that the store answers."""

    async def ping(self) -> None:
        """Return when the store answers."""


class StoreWatch:
    """Opens the store with back-off, then watches it. ``fault`` is empty while all is well."""

    def __init__(self, store: Opened, *, where: str) -> None:
        self._store = store
        self._where = where
        self._task: asyncio.Task[None] | None = None
        self.fault = "the store has not answered yet"

    async def open(self, then: Callable[[], Awaitable[None]]) -> None:
        """Return when the store is open and ``then`` has read what it needs.

        Tries for ever, and says each time what fails.
        """
        wait_s = FIRST_RETRY_S
        while True:
            try:
                await self._store.open()
                await then()
            except StoreUnavailable as error:
                self.fault = f"{self._where}: {error}"
                _log.error("the store does not answer", error=self.fault, retry_in_s=wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_RETRY_S)
            else:
                self.fault = ""
                return

    def start(self) -> None:
        """Watch from now on."""
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
            except StoreUnavailable as error:
                if not self.fault:
                    _log.error("store ready -> unavailable", where=self._where, error=str(error))
                self.fault = f"{self._where}: {error}"
            else:
                if self.fault:
                    _log.warning("store unavailable -> ready", where=self._where)
                self.fault = ""
