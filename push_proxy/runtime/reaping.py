"""Calls of nodes that do not come back: ended on record by whoever owns their accounts now.

A node that is started again within seconds goes on with its calls itself, so it is given time.
One that is cut off from the store looks dead there, while its phones ring: so it is asked itself,
and as long as it answers its calls are left to it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

import structlog

from ..cluster.node import NodeRecord
from ..core.ids import AccountKey
from ..core.model import Address, HeldInvite
from ..errors import StoreUnavailable
from ..tasks import spawn
from .restoring import Restoring

_log = structlog.get_logger(__name__)

_LONGEST_PAUSE_S = 60.0


class Members(Protocol):
    """Who knows which nodes live (`cluster.membership.Membership`)."""

    def alive(self) -> Mapping[str, NodeRecord]:
        """All living nodes by id, this one among them."""

    async def look(self) -> None:
        """Learn now who lives. Raises `errors.StoreUnavailable`."""


class Traces(Protocol):
    """What nodes have left behind: a part of `ports.Store`."""

    async def node_names(self) -> tuple[str, ...]:
        """The ids of all nodes that live or have lived."""

    async def forget_node(self, node: str) -> bool:
        """One that neither lives nor holds anything is a node no more; False: it is."""

    async def held_of_node(
        self, node: str, *, accounts: Callable[[AccountKey], bool] = ...
    ) -> tuple[HeldInvite, ...]:
        """What it held when it died, of these accounts."""


class Probe(Protocol):
    """Who asks nodes whether they live (`runtime.node_probe.NodeProbe`)."""

    async def answers(self, node: Address) -> bool:
        """Whether something takes SIP there."""


class Reaping:
    """Follows which nodes have gone."""

    def __init__(
        self,
        *,
        restoring: Restoring,
        members: Members,
        store: Traces,
        probe: Probe,
        owns: Callable[[AccountKey], bool],
        lease_s: float,
    ) -> None:
        """``lease_s``: after twice that a node's accounts have other owners."""
        self._restoring = restoring
        self._members = members
        self._store = store
        self._probe = probe
        self._owns = owns
        self._lease_s = lease_s
        self._addresses: dict[str, Address] = {}
        """Where nodes took SIP when they were last seen."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._back: set[str] = set()
        """Nodes that came back while they were followed; they may have gone again."""
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """See to the nodes that were gone before we came, as well."""
        self._learn()
        self._looking = spawn(self._look_back(), name="nodes that were gone before")

    def aclose(self) -> None:
        """Stop."""
        for task in (*self._tasks.values(), *filter(None, [self._looking])):
            task.cancel()
        self._tasks.clear()

    def moved(self, nodes: Iterable[str]) -> None:
        """These nodes came, went, or have another address now."""
        self._learn()
        alive = self._members.alive()
        for node in nodes:
            if node in self._tasks and node in alive:
                self._back.add(node)
            elif node not in self._tasks and node not in alive:
                self._tasks[node] = spawn(self._follow(node), name=f"calls of node {node}")
                self._tasks[node].add_done_callback(partial(self._followed, node))

    def _learn(self) -> None:
        self._addresses |= {name: node.sip for name, node in self._members.alive().items()}

    async def _look_back(self) -> None:
        """Nobody who lives has seen those go, when all were down at once."""
        while True:
            try:
                names = await self._store.node_names()
            except StoreUnavailable as error:
                _log.info("nodes that are gone wait", error=str(error))
                await asyncio.sleep(self._lease_s)
            else:
                self.moved(names)
                return

    def _followed(self, node: str, _: asyncio.Task[None]) -> None:
        self._tasks.pop(node, None)

    async def _follow(self, node: str) -> None:
        """Until it is back, or nothing is left of it."""
        while True:
            self._back.discard(node)
            await asyncio.sleep(2 * self._lease_s)
            if await self._is_settled(node):
                return

    async def _is_settled(self, node: str) -> bool:
        """False: it came back and has gone again, so it is given time anew.

        Not done at once: shards change hands, and links come back.
        """
        pause_s = self._lease_s
        while node not in self._back:
            try:
                if await self._see_to(node):
                    self._addresses.pop(node, None)
                    return True
            except StoreUnavailable as error:
                _log.info("calls of a node that is gone wait", node=node, error=str(error))
            except Exception:  # noqa: BLE001 - logged; nobody else sees to its calls
                _log.exception("calls of a node that is gone could not be ended", node=node)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return node in self._members.alive()

    async def _see_to(self, node: str) -> bool:
        """Whether nothing is left of it."""
        held = await self._store.held_of_node(node, accounts=self._owns)
        if held and not await self._lives(node, held):
            # It may have been started again while it was asked.
            await self._members.look()
            if node in self._members.alive():
                return False
            if count := await self._restoring.reap(held):
                _log.warning("calls lost with a node that is gone", node=node, count=count)
        return await self._store.forget_node(node)

    async def _lives(self, node: str, held: Sequence[HeldInvite]) -> bool:
        """Whether it answers where it was seen last; if we never saw it, where its calls came in.

        Where another node is now, it is not.
        """
        seen = self._addresses.get(node)
        places = {seen} if seen else {_place(each) for each in held if each.host}
        places -= {other.sip for other in self._members.alive().values()}
        answers = await asyncio.gather(*(self._probe.answers(place) for place in places))
        if any(answers):
            _log.warning(
                "a node answers, but not by way of the store: its calls are left to it",
                node=node,
                calls=len(held),
            )
        return any(answers)


def _place(held: HeldInvite) -> Address:
    return Address(held.host, held.local.port, held.local.transport)
