"""While a call waits its account's bindings are read anew every second: news may be late."""

import asyncio
from collections.abc import Callable, Collection

import structlog

from ..core.ids import AccountKey
from ..errors import StoreUnavailable
from ..tasks import spawn
from .directory import Directory

_log = structlog.get_logger(__name__)
EVERY_S = 1.0


class WakeLooks:
    """Runs among several nodes only: of a node alone memory is right."""

    def __init__(self, directory: Directory, waiting: Callable[[], Collection[AccountKey]]) -> None:
        """``waiting``: the accounts whose calls wait for a phone."""
        self._directory = directory
        self._waiting = waiting
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on."""
        if self._directory.nodes.name:
            self._task = spawn(self._run(), name="bindings of waiting calls")

    def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            if not (accounts := self._waiting()):
                continue
            try:
                await self._directory.look_for(accounts)
            except StoreUnavailable as error:
                _log.debug("bindings of waiting calls are not read", error=str(error))
            except Exception:  # noqa: BLE001 - logged; later calls need it, too
                _log.exception("reading the bindings of waiting calls failed")
