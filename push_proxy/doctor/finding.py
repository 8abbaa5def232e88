"""What the doctor finds, and what hops hand to each other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from ..ports import SharedValues
from ..runtime.clock import SystemClock
from ..settings import Settings
from ..store.redis import RedisStore


class State(StrEnum):
    """How it is."""

    OK = "ok"
    HINT = "hint"
    """It may be meant like that."""
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line."""

    hop: str
    what: str
    state: State
    text: str
    """What was found and, unless it is fine, what to do."""


class Chart:
    """What hops write their findings on, and what they know of each other."""

    def __init__(self, settings: Settings, tell: Callable[[Finding], None]) -> None:
        """``tell`` is called with each finding at once."""
        self.settings = settings
        self.clock = SystemClock()
        self.shared: SharedValues | None = None
        """The nodes' common values, once the store has been found fit for use."""
        self.store: RedisStore | None = None
        """The same, for what else nodes share."""
        self.closing: list[Callable[[], Awaitable[None]]] = []
        """What is to be done at the end of the examination."""
        self.hop = ""
        self._tell = tell

    def ok(self, what: str, text: str) -> None:
        """It is fine."""
        self._note(what, State.OK, text)

    def hint(self, what: str, text: str) -> None:
        """It may be meant like that; no failure."""
        self._note(what, State.HINT, text)

    def fail(self, what: str, text: str) -> None:
        """It does not work; ``text`` says what to do."""
        self._note(what, State.FAIL, text)

    def _note(self, what: str, state: State, text: str) -> None:
        self._tell(Finding(hop=self.hop, what=what, state=state, text=text))
