"""Calls of nodes that do not come back: ended on record by whoever owns their accounts now.

A node that is started again within seconds goes on with its calls itself, so it is given time.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import structlog

from ..core.ids import AccountKey
from ..errors import StoreUnavailable
from ..tasks import spawn
from .restoring import Restoring

_log = structlog.get_logger(__name__)

_TIMES = 5


class Members(Protocol):
    """Who knows which nodes live (`cluster.membership.Membership`)."""

    def is_alive(self, node: str) -> bool:
        """Whether this node lives."""


class Reaping:
    """Follows which nodes have gone."""

    def __init__(
        self,
        *,
        restoring: Restoring,
        members: Members,
        owns: Callable[[AccountKey], bool],
        lease_s: float,
    ) -> None:
        """``lease_s``: after twice that a node's accounts have other owners."""
        self._restoring = restoring
        self._members = members
        self._owns = owns
        self._lease_s = lease_s
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def aclose(self) -> None:
        """Stop."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def moved(self, nodes: Iterable[str]) -> None:
        """These nodes came, went, or have another address now."""
        for node in nodes:
            if not self._members.is_alive(node) and node not in self._tasks:
                self._tasks[node] = spawn(self._reap(node), name=f"calls of node {node}")
                self._tasks[node].add_done_callback(partial(self._reaped, node))

    def _reaped(self, node: str, _: asyncio.Task[None]) -> None:
        self._tasks.pop(node, None)

    async def _reap(self, node: str) -> None:
        """More than once: shards may change hands for a while."""
        await asyncio.sleep(2 * self._lease_s)
        for _ in range(_TIMES):
            if self._members.is_alive(node):
                return
            try:
                count = await self._restoring.reap(node, owns=lambda h: self._owns(h.account))
            except StoreUnavailable as error:
                _log.info("calls of a node that is gone wait", node=node, error=str(error))
            else:
                if count:
                    _log.warning("calls lost with a node that is gone", node=node, count=count)
            await asyncio.sleep(self._lease_s)
