"""A master that sentinels name: looked up anew whenever it fails, and once a second."""

import asyncio
from collections.abc import Sequence

import structlog
from redis.exceptions import MasterDownError, ReadOnlyError, ResponseError

from ..errors import ConfigurationError, StoreUnavailable
from .redis_lane import Command
from .redis_route import Looking, Route, Servers
from .redis_server import Server, StoreRefused, Unreached
from .redis_topology import Place, Topology, spelled

_log = structlog.get_logger(__name__)
_ASK_S = 0.5
_Answer = tuple[int, Place]


class SentinelRoute(Looking, Route):
    """All commands go to the master; replicas are never read, for they lag behind."""

    def __init__(self, topology: Topology, *, timeout_s: float) -> None:
        super().__init__()
        self._topology = topology
        ask_s = min(_ASK_S, timeout_s)
        self._sentinels = [
            Server(
                topology.sentinel_url(place),
                where=f"{topology.shown} (sentinel {spelled(place)})",
                timeout_s=ask_s,
            )
            for place in topology.seeds
        ]
        self._servers = Servers(topology, called="master", timeout_s=timeout_s)
        self._master: Place | None = None
        self._heard = True

    def server(self, command: Command) -> Server:  # noqa: ARG002 - whatever the key
        """See `Route.server`."""
        if self._master is None:
            raise StoreUnavailable(
                f"Redis at {self._topology.shown}: no sentinel has named a master yet"
            )
        return self._servers.at(self._master)

    def masters(self) -> Sequence[tuple[Server, str]]:
        """See `Route.masters`."""
        return ((self.server(()), "pp:takes-writes"),)

    async def open(self) -> None:
        """See `Route.open`."""
        await self.look(at_once=True)

    async def check(self) -> None:
        """See `Route.check`: one that was demoted unnoticed may still take our writes."""
        for sentinel in self._sentinels:
            sentinel.listen_again()
        await self.look()

    async def instead(
        self, command: Command, server: Server, why: ResponseError | StoreUnavailable
    ) -> tuple[Server, bool] | None:
        """See `Route.instead`."""
        if isinstance(why, Unreached | ReadOnlyError | MasterDownError):
            await self.look()
        elif isinstance(why, StoreUnavailable):
            # It may have been done: not to be repeated.
            self.look_behind()
            return None
        found = self.server(command)
        return None if found is server else (found, False)

    async def aclose(self) -> None:
        """See `Route.aclose`."""
        await self.stop()
        await asyncio.gather(
            self._servers.aclose(), *(sentinel.aclose() for sentinel in self._sentinels)
        )

    async def _look(self) -> None:
        answers = await asyncio.gather(*map(self._ask, self._sentinels), return_exceptions=True)
        named = [answer for answer in answers if isinstance(answer, tuple)]
        faults = [answer for answer in answers if isinstance(answer, BaseException)]
        if not named:
            self._nobody(faults)
            return
        self._heard = True
        # A sentinel that was away may still name the former one, of an older epoch.
        _, place = max(named, key=lambda answer: answer[0])
        if place == self._master:
            return
        if self._master is None:
            _log.info("Redis master found", where=self._topology.shown, master=spelled(place))
        else:
            _log.warning(
                "Redis master has moved",
                where=self._topology.shown,
                former=spelled(self._master),
                master=spelled(place),
            )
        self._master = place
        self._servers.keep({place})

    async def _ask(self, sentinel: Server) -> _Answer:
        """Its epoch and the master it names."""
        service = self._topology.service
        address, state = await sentinel.many(
            [
                # Names a promoted replica a moment before the state does.
                ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service),
                ("SENTINEL", "MASTER", service),
            ]
        )
        for reply in (address, state):
            if isinstance(reply, ResponseError):
                raise self._refusal(sentinel, reply)
        if address is None:
            raise ConfigurationError(f"{sentinel.where} knows no master {service!r}")
        fields = dict(zip(state[::2], state[1::2], strict=False))
        return int(fields.get(b"config-epoch", 0)), (address[0].decode(), int(address[1]))

    def _refusal(self, sentinel: Server, error: ResponseError) -> Exception:
        if "unknown command" in str(error):
            return ConfigurationError(
                f"{sentinel.where} is no sentinel: for Redis itself write redis://host:port"
            )
        if "No such master" in str(error):
            return ConfigurationError(
                f"{sentinel.where} knows no master {self._topology.service!r}: the name stands "
                "after the hosts in redis.url"
            )
        return sentinel.judged(error)

    def _nobody(self, faults: Sequence[BaseException]) -> None:
        """No sentinel answered. A known master goes on being asked."""
        if self._master is None:
            for kind in (ConfigurationError, StoreRefused, StoreUnavailable):
                if (fault := next((f for f in faults if isinstance(f, kind)), None)) is not None:
                    raise fault
            raise faults[0]
        if self._heard:
            _log.warning(
                "no sentinel answers: a failover would not be noticed",
                where=self._topology.shown,
                error=str(faults[0]),
            )
        self._heard = False
