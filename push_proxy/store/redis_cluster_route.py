"""The masters of a Redis Cluster: each key's slot belongs to one of them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from ..errors import ConfigurationError, StoreUnavailable
from .redis_lane import Command
from .redis_route import Looking, Route, Servers
from .redis_server import Server, StoreRefused, Unreached
from .redis_topology import Place, Topology, spelled

_log = structlog.get_logger(__name__)
_TRY_AGAIN_S = 0.05
_ASK_S = 0.5
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"})
_STREAM_READS = frozenset({"XREAD", "XREADGROUP"})
_SUBCOMMANDS = frozenset({"XGROUP", "XINFO", "OBJECT", "MEMORY"})
_KEYLESS = frozenset({
    "CLIENT", "CLUSTER", "CONFIG", "DBSIZE", "FLUSHALL", "FLUSHDB", "INFO", "KEYS", "PING",
    "PUBLISH", "SCAN", "SCRIPT", "SUBSCRIBE", "TIME", "WAIT",
})  # fmt: skip
_Answer = tuple[bool, int, dict[Place, list[tuple[int, int]]]]


class ClusterRoute(Looking, Route):
    """Commands go by the slot of their (first) key; all keys of one command share a slot."""

    def __init__(self, topology: Topology, *, timeout_s: float) -> None:
        super().__init__()
        self._topology = topology
        self._ask_s = min(_ASK_S, timeout_s)
        self._servers = Servers(topology, called="node", timeout_s=timeout_s)
        self._owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._masters: dict[Place, str] = {}

    def server(self, command: Command) -> Server:
        """See `Route.server`."""
        slot = slot_of(command)
        if (owner := self._owners[slot]) is None:
            raise StoreUnavailable(
                f"Redis Cluster at {self._topology.shown}: no master has slot {slot}"
            )
        return self._servers.at(owner)

    def masters(self) -> Sequence[tuple[Server, str]]:
        """See `Route.masters`."""
        return [(self._servers.at(place), key) for place, key in self._masters.items()]

    async def open(self) -> None:
        """See `Route.open`."""
        await self.look(at_once=True)
        self._complete()

    async def check(self) -> None:
        """See `Route.check`. The nodes tell of moved slots by themselves."""
        if None in self._owners:
            await self.look()
        self._complete()

    async def instead(
        self, command: Command, server: Server, why: ResponseError | StoreUnavailable
    ) -> tuple[Server, bool] | None:
        """See `Route.instead`."""
        if isinstance(why, MovedError):
            place = self._place(why, server)
            self._owners[why.slot_id] = place
            self.look_behind()
            return self._servers.at(place), False
        if isinstance(why, AskError):
            return self._servers.at(self._place(why, server)), True
        if isinstance(why, TryAgainError):
            # The slot is moving, and some of the keys have.
            await asyncio.sleep(_TRY_AGAIN_S)
            return server, False
        if isinstance(why, Unreached | ReadOnlyError | MasterDownError | ClusterDownError):
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
        await self._servers.aclose()

    def _place(self, why: AskError, server: Server) -> Place:
        # A node that does not know its own name leaves it out: same host as the one that says so.
        return why.host or self._servers.place(server)[0], int(why.port)

    def _complete(self) -> None:
        if missing := self._owners.count(None):
            raise StoreUnavailable(
                f"Redis Cluster at {self._topology.shown}: {missing} of "
                f"{REDIS_CLUSTER_HASH_SLOTS} slots have no master"
            )

    async def _look(self) -> None:
        asked = list({*self._masters, *self._topology.seeds})
        answers = await asyncio.gather(*map(self._ask, asked), return_exceptions=True)
        views = [answer for answer in answers if isinstance(answer, tuple)]
        if not views:
            faults = [answer for answer in answers if isinstance(answer, BaseException)]
            for kind in (ConfigurationError, StoreRefused, StoreUnavailable):
                if (fault := next((f for f in faults if isinstance(f, kind)), None)) is not None:
                    raise fault
            raise faults[0]
        # A node that was cut off shows what was true before.
        _, _, ranges = max(views, key=lambda view: view[:2])
        self._take(ranges)

    async def _ask(self, place: Place) -> _Answer:
        """Whether it is well, its epoch, and which master has which slots."""
        server = self._servers.at(place)
        info, slots = await server.many([("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")], self._ask_s)
        for reply in (info, slots):
            if isinstance(reply, ResponseError):
                if "cluster support disabled" in str(reply):
                    raise ConfigurationError(
                        f"Redis at {server.where} is not in cluster mode: for one server write "
                        "redis://host:port"
                    )
                raise server.judged(reply)
        facts = dict(line.partition(":")[::2] for line in info.decode().split())
        ranges: dict[Place, list[tuple[int, int]]] = {}
        for first, last, (host, port, *_), *_ in slots:
            name = (host or b"").decode()
            owner = (name if name not in {"", "?"} else place[0], int(port))
            ranges.setdefault(owner, []).append((first, last))
        epoch = int(facts.get("cluster_current_epoch", 0))
        return facts.get("cluster_state") == "ok", epoch, ranges

    def _take(self, ranges: dict[Place, list[tuple[int, int]]]) -> None:
        owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for place, parts in ranges.items():
            for first, last in parts:
                owners[first : last + 1] = [place] * (last + 1 - first)
        former, self._owners = set(self._masters), owners
        self._masters = {place: _key_of(place, owners) for place in ranges}
        self._servers.keep({*ranges, *self._topology.seeds})
        if former != set(ranges):
            masters = ", ".join(map(spelled, ranges))
            _log.info("Redis Cluster's masters", where=self._topology.shown, masters=masters)


def slot_of(command: Command) -> int:
    """The slot of a command's keys. Raises `ValueError` when it has none, or a script several."""
    name = str(command[0]).partition(" ")[0].upper()
    if name in _SCRIPTS:
        slots = {_slot(key) for key in command[3 : 3 + int(command[2])]}
        if len(slots) != 1:
            raise ValueError(f"{name} with keys of {len(slots)} slots: give them one hash tag")
        return slots.pop()
    if name in _STREAM_READS:
        words = [str(word).upper() for word in command]
        return _slot(command[words.index("STREAMS") + 1])
    if name in _KEYLESS or len(command) < 2:
        raise ValueError(f"{name} has no key: ask each master")
    return _slot(command[2 if name in _SUBCOMMANDS and " " not in str(command[0]) else 1])


def _slot(key: Any) -> int:
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _key_of(place: Place, owners: Sequence[Place | None]) -> str:
    """A key of that master: each has so many slots that a few tries find one."""
    number = 0
    while owners[_slot(key := f"pp:takes-writes:{number}")] != place:
        number += 1
    return key
