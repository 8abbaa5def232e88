"""Which phones on TCP and TLS can be reached: their connections come and go, bindings stay."""

from collections.abc import Iterable

from ..core.ids import Instant
from ..core.model import Address, Binding
from .index import Place

RETURN_WITHIN_S = 60.0
"""A phone whose connection has ended makes another within this time, if it can."""


class Connections:
    """Connections that a binding came on and that still stand. None outlives the process."""

    def __init__(self, started_at: Instant) -> None:
        self._started_at = started_at
        self._standing: set[Address] = set()
        self._lost_at: dict[Place, Instant] = {}

    def bound(self, binding: Binding) -> None:
        """A REGISTER came on its connection."""
        if binding.source.transport != "udp":
            self._standing.add(binding.source)
        self._lost_at.pop((binding.account, binding.device), None)

    def unbound(self, place: Place) -> None:
        """The binding is gone."""
        self._lost_at.pop(place, None)

    def lost(self, remote: Address, places: Iterable[Place], now: Instant) -> None:
        """A connection has ended; ``places`` are those bound on it."""
        if remote in self._standing:
            self._standing.remove(remote)
            self._lost_at.update(dict.fromkeys(places, now))

    def stands(self, source: Address) -> bool:
        """Whether something can be sent there: always over UDP, as far as we know."""
        return source.transport == "udp" or source in self._standing

    def returns_soon(self, binding: Binding, now: Instant) -> bool:
        """Whether the phone lost its connection, or we started, a moment ago.

        Later than that it is not about to make another one: it is switched off or out of reach.
        """
        lost_at = self._lost_at.get((binding.account, binding.device), self._started_at)
        return now - lost_at < RETURN_WITHIN_S
