"""Writes that need not be awaited: done in the background, retried until the store takes them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from itertools import islice
from weakref import WeakKeyDictionary

import structlog

from ..errors import StoreUnavailable
from ..tasks import spawn

_log = structlog.get_logger(__name__)

AT_ONCE = 64
TOGETHER_S = 4.0
"""So long all of them together wait at the end for a store that does not come back."""
LEAST_S = 0.1
_spent: WeakKeyDictionary[asyncio.AbstractEventLoop, float] = WeakKeyDictionary()
Job = Callable[[], Awaitable[None]]


class WriteBehind:
    """Jobs by key; a newer job for a key replaces one that has not run yet.

    A key's jobs are done one after the other, the oldest keys first, several keys at a time: one
    by one, what a PBX's restart changes for 20,000 accounts would take minutes. Memory is bounded
    by the number of keys: however long the store is away, only the newest value of each waits.
    """

    def __init__(self, name: str, *, retry_s: float = 0.5, retry_max_s: float = 5.0) -> None:
        self._name = name
        self._retry_s, self._retry_max_s = retry_s, retry_max_s
        self._jobs: dict[Hashable, Job] = {}
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._degraded = False

    @property
    def degraded(self) -> bool:
        """The store refused the last attempt; jobs wait."""
        return self._degraded

    @property
    def waiting(self) -> int:
        """Jobs not yet done."""
        return len(self._jobs)

    def waits(self, key: Hashable) -> bool:
        """Whether a job of this key is not yet done."""
        return key in self._jobs

    def submit(self, key: Hashable, job: Job) -> None:
        """Do ``job`` soon; it replaces an undone job of the same key."""
        self._jobs[key] = job
        self._idle.clear()
        self._work.set()
        if self._task is None or self._task.done():
            self._task = spawn(self._run(), name=f"write behind: {self._name}")

    def supersede(self, key: Hashable) -> None:
        """What is kept now makes the undone job of this key needless."""
        self._jobs.pop(key, None)
        if not self._jobs:
            self._idle.set()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until every job is done; False when the time is over first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self, timeout_s: float = 3.0) -> None:
        """Finish what can be finished in time; what is lost is logged.

        A stop has a dozen of these one after the other: those that wait in vain share
        `TOGETHER_S`, for a store that is away is away for all of them.
        """
        loop = asyncio.get_running_loop()
        spent, began = _spent.get(loop, 0.0), loop.time()
        if not await self.drained(max(LEAST_S, min(timeout_s, TOGETHER_S - spent))):
            _spent[loop] = spent + loop.time() - began
            _log.error(
                "writes lost: the store did not take them before the end",
                what=self._name,
                count=len(self._jobs),
            )
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        pause_s = self._retry_s
        while True:
            while not self._jobs:
                self._idle.set()
                self._work.clear()
                await self._work.wait()
            some = list(islice(self._jobs.items(), AT_ONCE))
            refusals = await asyncio.gather(*(self._try(key, job) for key, job in some))
            refusal = next(filter(None, refusals), None)
            if refusal is None:
                self._note_success(len(some))
                pause_s = self._retry_s
            else:
                self._note_failure(refusal)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, self._retry_max_s)

    async def _try(self, key: Hashable, job: Job) -> StoreUnavailable | None:
        """Do one; why the store did not take it, in which case it goes on waiting."""
        try:
            await job()
        except StoreUnavailable as error:
            return error
        except Exception:  # noqa: BLE001 - logged below
            # One value that cannot be written must not keep all the others waiting.
            _log.exception("write given up", what=self._name, job=str(key))
        if self._jobs.get(key) is job:
            del self._jobs[key]
        return None

    def _note_failure(self, error: StoreUnavailable) -> None:
        if not self._degraded:
            _log.warning(
                "store unavailable: changes wait in memory", what=self._name, error=str(error)
            )
        self._degraded = True

    def _note_success(self, written: int) -> None:
        if self._degraded:
            _log.info(
                "store is back: writing what waited",
                what=self._name,
                written=written,
                left=len(self._jobs),
            )
        self._degraded = False
