"""Which of our registrations are bound at which server of a PBX."""

from itertools import islice

from ..core.model import Address

Place = tuple[str, Address]
"""A PBX's key and one of its servers."""


class PbxBindings:
    """Registrations by number, by the place where they are bound; each step costs the same."""

    def __init__(self) -> None:
        self._places: dict[Place, dict[int, None]] = {}
        self._of: dict[int, Place] = {}

    def put(self, number: int, place: Place | None) -> None:
        """It is bound there now; None: nowhere."""
        before = self._of.get(number)
        if before == place:
            return
        if before is not None:
            ring = self._places[before]
            del ring[number]
            if not ring:
                del self._places[before]
        if place is None:
            del self._of[number]
        else:
            self._of[number] = place
            self._places.setdefault(place, {})[number] = None

    def at(self, place: Place) -> tuple[int, ...]:
        """All that are bound there."""
        return tuple(self._places.get(place, ()))

    def place(self, number: int) -> Place | None:
        """Where it is bound, as far as we know."""
        return self._of.get(number)

    def anyone(self, place: Place) -> int | None:
        """One of them."""
        return next(iter(self._places.get(place, ())), None)

    def turn(self, place: Place, count: int) -> tuple[int, ...]:
        """Up to ``count`` of them: those whose turn was longest ago."""
        ring = self._places.get(place, {})
        chosen = tuple(islice(ring, count))
        for number in chosen:
            del ring[number]
            ring[number] = None
        return chosen
