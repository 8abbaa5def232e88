"""Connections to one APNs server: opened before they are needed, shared, watched, replaced."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog
from aioapns.connection import APNsBaseConnectionPool

from ..tasks import spawn
from .apns_connection import ApnsConnection
from .apns_opening import Opener
from .apns_request import ApnsRequest, ApnsTimes, NoAnswer, NoConnection, Unsent
from .apns_verdicts import Answer
from .backoff import Backoff

_log = structlog.get_logger(__name__)

SIZE = 2
MOST = 8
_RESENDS = 5
_YOUNG_S = 5.0
_LATE_S = 0.3
_GOODBYE_S = 0.5


class Bearer(Protocol):
    """The provider token, if there is one."""

    async def ready(self) -> str | None:
        """What new connections use; None: they show a certificate."""

    @property
    def current(self) -> str | None:
        """As `ready`, without waiting."""

    def usable(self, token: str | None) -> bool:
        """Whether connections that began with this token may go on."""


@dataclass(slots=True)
class Route:
    """Where a push went, so that it goes elsewhere the second time."""

    connection: ApnsConnection | None = None
    waits: bool = False
    """For a connection, at this moment."""


@dataclass(slots=True, eq=False)
class _Waiter:
    since: float
    avoid: ApnsConnection | None
    found: asyncio.Future[ApnsConnection]


class ApnsPool(APNsBaseConnectionPool):
    """Requests in the order of their arrival, each on the least loaded connection."""

    connections: list[ApnsConnection]  # type: ignore[assignment]  # the base's, narrowed

    def __init__(
        self,
        opener: Opener,
        bearer: Bearer,
        *,
        times: ApnsTimes,
        size: int = SIZE,
        most: int = MOST,
    ) -> None:
        """``size`` connections are kept, up to ``most`` when streams run out. In a running loop."""
        super().__init__(max_connections=most)
        self._opener = opener
        self._bearer = bearer
        self._times = times
        self._size = size
        self._backoff = Backoff(times.backoff_s, times.longest_backoff_s)
        self._waiters: dict[_Waiter, None] = {}
        self._opening: asyncio.Task[None] | None = None
        self._tried_at = float("-inf")
        self._not_before = 0.0
        self.fault = ""
        """Why the last connection failed; empty: it did not."""
        self._keeping: asyncio.Task[None] = spawn(self._keep(), name="keep APNs connections")
        self._closed = False
        self.review()

    async def exchange(self, request: ApnsRequest, route: Route) -> Answer:
        """Send it, preferably on another connection than ``route``'s, and wait without end.

        What APNs surely has not seen is sent again here. Raises `NoAnswer`.
        """
        for _ in range(_RESENDS):
            route.waits = True
            connection = await self.acquire(avoid=route.connection)
            route.connection, route.waits = connection, False
            with suppress(Unsent):
                return await connection.exchange(request)
        raise NoAnswer("refused_stream")

    async def acquire(self, *, avoid: ApnsConnection | None = None) -> ApnsConnection:
        """A connection with room reserved on it. Raises `NoConnection`."""
        if self._closed:
            raise NoConnection("closing")
        waiter = _Waiter(self.loop.time(), avoid, self.loop.create_future())
        self._waiters[waiter] = None
        self.review()
        try:
            return await waiter.found
        except asyncio.CancelledError:
            found = waiter.found
            if found.done() and not found.cancelled() and found.exception() is None:
                found.result().release()
                self.review()
            raise
        finally:
            self._waiters.pop(waiter, None)

    def review(self, _: object = None) -> None:
        """Something may have changed: drop the lost, serve who waits, open what is missing."""
        for connection in [each for each in self.connections if each.lost.is_set()]:
            self._discard(connection)
        self._replace_old()
        self._serve()
        self._open_if_wanted()

    def _discard(self, connection: ApnsConnection) -> None:
        """It is lost. One that never did anything counts as a failure to connect.

        It may have been a server on its way out: who waits goes on waiting for the next one, but
        not where the next one would fare no better.
        """
        self.connections.remove(connection)
        useless = not connection.answered and not connection.dismissed
        if useless and self.loop.time() - connection.opened_at < _YOUNG_S:
            self._failed(connection.lost_because)
            if connection.lost_because != "disconnected":
                self._fail_waiters(connection.lost_because)

    async def aclose(self) -> None:
        """Close all; who still waits learns that there is no answer."""
        self._closed = True
        self._fail_waiters("closing")
        tasks = [task for task in (self._keeping, self._opening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._opener.aclose()
        connections = tuple(self.connections)
        for connection in connections:
            connection.retire()
            connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await asyncio.gather(*(each.lost.wait() for each in connections))
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(each.lost.wait() for each in connections))

    # ---- inside ----

    async def _keep(self) -> None:
        while True:
            due = self.loop.time() + self._times.tick_s
            await asyncio.sleep(self._times.tick_s)
            now = self.loop.time()
            # After a pause of our own process their answers are there, but not read yet.
            if now - due < _LATE_S:
                self._watch(now)
            self.review()
            if any(now - each.opened_at > _YOUNG_S or each.answered for each in self._usable()):
                self._worked()

    def _watch(self, now: float) -> None:
        for connection in tuple(self.connections):
            connection.watch(now)
        if any(connection.suspect for connection in self.connections):
            for connection in self.connections:
                connection.doubt(now)

    def _usable(self) -> list[ApnsConnection]:
        return [each for each in self.connections if each.usable]

    def _fresh(self) -> list[ApnsConnection]:
        return [each for each in self._usable() if each.bearer == self._bearer.current]

    def _replace_old(self) -> None:
        """Connections of a former token end when there are enough of the new one, or it is over."""
        current = self._bearer.current
        old = [each for each in self.connections if each.bearer != current]
        enough = bool(old) and len(self._fresh()) >= self._size
        for connection in old:
            if enough or not self._bearer.usable(connection.bearer):
                connection.retire()

    def _serve(self) -> None:
        """Whoever came first gets the first room."""
        now = self.loop.time()
        for waiter in tuple(self._waiters):
            if waiter.found.done():
                continue  # cancelled, and about to learn of it
            connection = self._best(waiter, now)
            if connection is not None:
                connection.reserve()
                del self._waiters[waiter]
                waiter.found.set_result(connection)
            elif waiter.avoid is None:
                return

    def _best(self, waiter: _Waiter, now: float) -> ApnsConnection | None:
        with_room = [each for each in self.connections if each.room > 0]
        if others := [each for each in with_room if each is not waiter.avoid]:
            with_room = others
        elif now - waiter.since < self._times.elsewhere_s:
            return None
        current = self._bearer.current
        return min(with_room, key=lambda each: (each.bearer != current, each.load), default=None)

    def _open_if_wanted(self) -> None:
        now = self.loop.time()
        if self._opening is not None or self._closed or now < self._earliest(now):
            return
        if len(self._fresh()) < self._size or self._too_few(now):
            self._tried_at = now
            self._opening = spawn(self._open(), name="connect to APNs")
            self._opening.add_done_callback(self._opened)

    def _too_few(self, now: float) -> bool:
        """Whether pushes wait that another connection would help."""
        if not self._waiters or len(self._usable()) >= self.max_connections:
            return False
        return not self._usable() or now - next(iter(self._waiters)).since >= self._times.patience_s

    def _earliest(self, now: float) -> float:
        if self._waiters and not self._usable():
            demanded = self._tried_at + self._times.demand_s if self.fault else now
            return min(self._not_before, demanded)
        return self._not_before

    async def _open(self) -> None:
        try:
            bearer = await self._bearer.ready()
            connection = await self._opener.open(
                lambda: ApnsConnection(
                    authority=self._opener.host,
                    bearer=bearer,
                    times=self._times,
                    changed=self.review,
                ),
                timeout_s=self._times.connect_s,
            )
        except NoConnection as error:
            self._failed(error.reason)
            self._fail_waiters(error.reason)
            return
        self.connections.append(connection)
        self._not_before = self.loop.time() + self._times.stagger_s
        if connection.lost.is_set():
            return
        _log.info("connected to APNs", host=self._opener.host, connections=len(self.connections))

    def _opened(self, _: asyncio.Task[None]) -> None:
        self._opening = None
        if not self._closed:
            self.review()

    def _failed(self, reason: str) -> None:
        """No connection came of it."""
        pause_s = self._backoff.failed()
        self._not_before = self.loop.time() + pause_s
        if reason != self.fault:
            _log.warning("no connection to APNs", host=self._opener.host, reason=reason)
        self.fault = reason

    def _worked(self) -> None:
        self._backoff.worked()
        self.fault = ""

    def _fail_waiters(self, reason: str) -> None:
        """Unless there is something left to wait for."""
        if self._usable() and not self._closed:
            return
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.found.done():
                waiter.found.set_exception(NoConnection(reason))
                waiter.found.exception()  # seen, even if its waiter has just been cancelled
