"""Which server a command goes to. Others: `redis_sentinel`, `redis_cluster`."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from redis.exceptions import ReadOnlyError, ResponseError

from ..errors import PushProxyError, StoreUnavailable
from ..tasks import spawn
from .redis_lane import Command
from .redis_server import Server
from .redis_topology import Place, Topology, spelled

_LOOK_AGAIN_S = 0.2


class Route(ABC):
    """Knows the servers."""

    @abstractmethod
    def server(self, command: Command) -> Server:
        """Who has the command's key. Raises `errors.StoreUnavailable` when nobody is known."""

    @abstractmethod
    def masters(self) -> Sequence[tuple[Server, str]]:
        """All that take writes, each with a key of its own."""

    @abstractmethod
    async def open(self) -> None:
        """Find the servers.

        Raises `errors.StoreUnavailable`, or `errors.ConfigurationError` when there is something
        else than the configured topology.
        """

    @abstractmethod
    async def check(self) -> None:
        """Look whether others are in charge by now. Raises `errors.StoreUnavailable`."""

    @abstractmethod
    async def instead(
        self, command: Command, server: Server, why: ResponseError | StoreUnavailable
    ) -> tuple[Server, bool] | None:
        """Who may be asked, now that ``server`` did not do it; and whether with ASKING.

        None: nobody else.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections."""


class OneServer(Route):
    """Always the same one."""

    def __init__(self, topology: Topology, *, timeout_s: float) -> None:
        self._server = Server(topology.url, where=topology.shown, timeout_s=timeout_s)
        self._all = ((self._server, "pp:takes-writes"),)

    def server(self, command: Command) -> Server:  # noqa: ARG002 - whatever the key
        """See `Route.server`."""
        return self._server

    def masters(self) -> Sequence[tuple[Server, str]]:
        """See `Route.masters`."""
        return self._all

    async def open(self) -> None:
        """See `Route.open`."""

    async def check(self) -> None:
        """See `Route.check`."""

    async def instead(
        self,
        command: Command,  # noqa: ARG002 - whatever the key
        server: Server,
        why: ResponseError | StoreUnavailable,
    ) -> None:
        """See `Route.instead`: nobody else is known.

        But a name or a load balancer in front may lead to another server by now: the one that
        our connections stand to has become a replica.
        """
        if isinstance(why, ReadOnlyError):
            await server.reconnect()

    async def aclose(self) -> None:
        """See `Route.aclose`."""
        await self._server.aclose()


class Servers:
    """Servers by their place, made as they are needed; those that left are closed."""

    def __init__(self, topology: Topology, *, called: str, timeout_s: float) -> None:
        self._topology = topology
        self._called = called
        self._timeout_s = timeout_s
        self._known: dict[Place, Server] = {}

    def at(self, place: Place) -> Server:
        """The server there."""
        if (known := self._known.get(place)) is not None:
            return known
        where = f"{self._topology.shown} ({self._called} {spelled(place)})"
        url = self._topology.server_url(place)
        self._known[place] = server = Server(url, where=where, timeout_s=self._timeout_s)
        return server

    def place(self, server: Server) -> Place:
        """Where a server of ours is."""
        return next(place for place, known in self._known.items() if known is server)

    def keep(self, places: set[Place]) -> None:
        """Close all others."""
        for place in [place for place in self._known if place not in places]:
            server = self._known.pop(place)
            spawn(server.leave(), name="farewell to a Redis server")

    async def aclose(self) -> None:
        """Close all."""
        known, self._known = list(self._known.values()), {}
        await asyncio.gather(*(server.aclose() for server in known))


class Looking(ABC):
    """Looks up who is in charge: whoever asks while it is being done shares the answer."""

    def __init__(self) -> None:
        self._task: asyncio.Task[PushProxyError | None] | None = None
        self._next_at = 0.0

    @abstractmethod
    async def _look(self) -> None:
        """Do it. Raises `errors.StoreUnavailable` and `errors.ConfigurationError`."""

    async def look(self, *, at_once: bool = False) -> None:
        """Up to date when this returns; not more often than five times a second.

        Raises as `_look`.
        """
        if self._task is None or self._task.done():
            if time.monotonic() < self._next_at and not at_once:
                return
            self._task = spawn(self._look_once(), name="looking for the Redis master")
        # Shielded: who gives up does not end it for the others.
        if (fault := await asyncio.shield(self._task)) is not None:
            raise fault

    def look_behind(self) -> None:
        """As `look`, without waiting for it: a fault is found by whoever needs the answer."""
        if (self._task is None or self._task.done()) and time.monotonic() >= self._next_at:
            self._task = spawn(self._look_once(), name="looking for the Redis master")

    async def stop(self) -> None:
        """End it."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _look_once(self) -> PushProxyError | None:
        try:
            await self._look()
        except PushProxyError as error:
            return error
        finally:
            self._next_at = time.monotonic() + _LOOK_AGAIN_S
        return None
