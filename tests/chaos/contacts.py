"""Which accounts the PBX has a Contact of, at a node that lives: looked at all the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from push_proxy.tasks import spawn
from tests.lab.kamailio import Kamailio
from tests.lab.sip_dialog import address_of

EVERY_S = 0.5


@dataclass(slots=True)
class Gaps:
    """For each user: since when it is without, and its longest time without."""

    since_s: dict[str, float] = field(default_factory=dict)
    longest_s: dict[str, float] = field(default_factory=dict)

    def look(self, present: set[str], users: Iterable[str], now: float) -> None:
        """One look at all of them."""
        for user in users:
            if user in present:
                self.since_s.pop(user, None)
            else:
                began = self.since_s.setdefault(user, now)
                self.longest_s[user] = max(self.longest_s.get(user, 0.0), now - began)

    @property
    def worst_s(self) -> float:
        """The longest of all."""
        return max(self.longest_s.values(), default=0.0)


class Contacts:
    """Watches the PBX's registrar until it is closed."""

    def __init__(
        self, pbx: Kamailio, users: Iterable[str], is_alive: Callable[[str], bool]
    ) -> None:
        """``is_alive``: whether the node at this address runs."""
        self._pbx, self._users, self._is_alive = pbx, tuple(users), is_alive
        self.registered = Gaps()
        """No Contact at all."""
        self.reachable = Gaps()
        """No Contact at a node that runs."""
        self.crowded: set[str] = set()
        """Users that have two Contacts at the end."""
        self._task = spawn(self._watch(), name="watch over the PBX's contacts")

    async def aclose(self) -> None:
        """A last look, and no more."""
        self._task.cancel()
        await asyncio.wait([self._task])
        found = await self._look()
        self.crowded = {user for user, hosts in found.items() if len(hosts) > 1}

    async def _watch(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(EVERY_S)

    async def _look(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for user in self._users:
            hosts = [address_of(each.uri)[0] for each in await self._pbx.bindings(user)]
            found[user] = hosts
        now = time.monotonic()
        self.registered.look({user for user, hosts in found.items() if hosts}, self._users, now)
        living = {user for user, hosts in found.items() if any(map(self._is_alive, hosts))}
        self.reachable.look(living, self._users, now)
        return found
