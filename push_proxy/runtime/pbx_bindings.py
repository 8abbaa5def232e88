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
        """It is bound there, as was just heard; None: nowhere."""
        before = self._of.get(number)
        if before is None and place is None:
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
        """Up to ``count`` of them: those that were heard of or had their turn longest ago.

        Whoever has registered since a PBX's restart would say that it has lost nothing.
        """
        ring = self._places.get(place, {})
        chosen = tuple(islice(ring, count))
        for number in chosen:
            del ring[number]
            ring[number] = None
        return chosen
