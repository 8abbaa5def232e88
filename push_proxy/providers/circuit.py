"""Apps whose pushes would all fail alike: nothing is sent for a while, then one trial."""

from dataclasses import dataclass, replace

from ..core.events import PushOutcome
from ..core.ids import Instant
from ..ports import AppHealth, AppState
from .attempt import Attempt


@dataclass(frozen=True, slots=True)
class _Open:
    reason: str
    outcome: PushOutcome
    until: Instant
    tried: bool = False
    """A trial is on its way."""


class Circuits:
    """One circuit per app. Pure of time: ``now`` is handed in."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._worked: set[str] = set()

    def blocked(self, app_id: str, now: Instant) -> Attempt | None:
        """Why nothing is to be sent for this app now, and for how long (``pause_s``); None: send.

        When its time is over one caller gets None, and the others go on being refused until
        that trial was judged, or has had its time: that may be at any moment (``pause_s`` of 0).
        """
        circuit = self._open.get(app_id)
        if circuit is None:
            return None
        if now >= circuit.until:
            until = Instant(now + _TRIAL_S)
            self._open[app_id] = replace(circuit, until=until, tried=True)
            return None
        pause_s = 0.0 if circuit.tried else circuit.until - now
        return Attempt(circuit.outcome, circuit.reason, pause_s=pause_s)

    def judged(self, app_id: str, attempt: Attempt, now: Instant) -> None:
        """Learn from an answer."""
        if attempt.blocks_s > 0:
            until = Instant(now + attempt.blocks_s)
            self._open[app_id] = _Open(attempt.reason, attempt.outcome, until)
            self._worked.discard(app_id)
        elif attempt.outcome in _PROVES:
            self._open.pop(app_id, None)
            self._worked.add(app_id)

    def health(self, app_id: str, *, credential_ends_at: float | None = None) -> AppHealth:
        """How the app does."""
        circuit = self._open.get(app_id)
        if circuit is not None:
            throttled = circuit.outcome is PushOutcome.UNAVAILABLE
            state = AppState.THROTTLED if throttled else AppState.BLOCKED
        else:
            state = AppState.OK if app_id in self._worked else AppState.UNKNOWN
        return AppHealth(
            app_id=app_id,
            state=state,
            reason=circuit.reason if circuit else "",
            credential_ends_at=credential_ends_at,
        )


_TRIAL_S = 5.0
_PROVES = frozenset({PushOutcome.ACCEPTED, PushOutcome.REJECTED})
"""Answers that no provider gives to wrong credentials: the app's configuration works."""
