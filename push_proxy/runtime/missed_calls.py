"""Tells operators' systems of calls that nobody took."""

from ..core.missed import missed_notice
from ..core.model import CallRecord
from ..core.payload import Privacy
from ..ports import Clock, Notices


class MissedCalls:
    """Hears of each call's outcome (`runtime.calls.Calls`)."""

    def __init__(self, *, notices: Notices, clock: Clock, privacy: Privacy) -> None:
        self._notices = notices
        self._clock = clock
        self._privacy = privacy

    def on_decided(self, call: CallRecord) -> None:
        """A call has its outcome."""
        notice = missed_notice(call, privacy=self._privacy, now=self._clock.now())
        if notice is not None:
            self._notices.tell(notice)
