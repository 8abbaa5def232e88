"""Where a page of dead letters ends, the same for every store."""

from dataclasses import dataclass
from math import isfinite

from ..core.queued_event import DeadLetter
from ..errors import InvalidInput


@dataclass(frozen=True, slots=True, order=True)
class LetterPosition:
    """A place among the dead letters: newest first means descending positions."""

    died_at: float
    letter: str

    def __str__(self) -> str:
        return f"{self.died_at!r}_{self.letter}"


def letter_position(letter: DeadLetter) -> LetterPosition:
    """Where it stands."""
    return LetterPosition(letter.died_at, letter.id)


def parse_letter_cursor(cursor: str | None) -> LetterPosition | None:
    """The position after which a page goes on.

    Raises `errors.InvalidInput` when the cursor is not one of ours.
    """
    if cursor is None:
        return None
    died_at, _, letter = cursor.partition("_")
    try:
        at = float(died_at)
        if not isfinite(at):
            raise ValueError(died_at)
    except ValueError:
        raise InvalidInput(
            "cursor is not one that this service gave; start again without it", field="cursor"
        ) from None
    return LetterPosition(at, letter)
