"""Whether the other side of a connection is still there. Pure of time: ``now`` is handed in."""

from enum import Enum

from .apns_request import ApnsTimes


class Due(Enum):
    """What is to be done about a connection."""

    NOTHING = "nothing"
    PING = "ping"
    END = "end"
    """It is dead."""


class Liveness:
    """What was heard of one connection, and what was asked."""

    def __init__(self, times: ApnsTimes, *, now: float) -> None:
        self._times = times
        self._heard_at = now
        self._asked_at: float | None = None
        self._urgent = False

    def heard(self, now: float) -> None:
        """Something came, whatever it was."""
        self._heard_at = now

    def answered(self) -> None:
        """The PING was."""
        self._asked_at = None

    def suspect(self, now: float) -> bool:
        """Whether a PING is unanswered for longer than it should be: nothing new goes there."""
        return self._asked_at is not None and now - self._asked_at >= self._times.suspect_s

    def due(self, now: float, oldest: float | None) -> Due:
        """``oldest``: when the oldest unanswered request was sent; None: there is none."""
        times = self._times
        silent = oldest is not None and self._heard_at <= oldest and now - oldest >= times.silent_s
        if self._asked_at is None:
            if not silent and now - self._heard_at < times.ping_s:
                return Due.NOTHING
            return self._ask(now, urgent=silent)
        limit_s = times.silent_ack_s if self._urgent or silent else times.ack_s
        return Due.END if now - self._asked_at >= limit_s else Due.NOTHING

    def doubt(self, now: float) -> Due:
        """A neighbour does not answer: what took it away may have taken this one, too."""
        if self._asked_at is not None or now - self._heard_at < self._times.suspect_s:
            return Due.NOTHING
        return self._ask(now, urgent=True)

    def _ask(self, now: float, *, urgent: bool) -> Due:
        self._asked_at, self._urgent = now, urgent
        return Due.PING
