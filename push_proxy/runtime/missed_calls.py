"""Calls that nobody took: kept until seen, pushed to the account's devices, told to operators."""

from ..core.missed import missed_call, missed_notice
from ..core.model import CallRecord
from ..core.payload import Privacy
from ..ports import Clock, Notices
from .directory import Directory
from .missed_book import MissedBook
from .missed_pushes import MissedPushes


class MissedCalls:
    """Hears of each call's outcome (`runtime.calls.Calls`)."""

    def __init__(
        self,
        *,
        book: MissedBook,
        pushes: MissedPushes,
        directory: Directory,
        notices: Notices,
        clock: Clock,
        privacy: Privacy,
    ) -> None:
        """``privacy``: what operators' systems are told."""
        self._book = book
        self._pushes = pushes
        self._directory = directory
        self._notices = notices
        self._clock = clock
        self._privacy = privacy

    def on_decided(self, call: CallRecord) -> None:
        """A call has its outcome."""
        now = self._clock.now()
        notice = missed_notice(call, privacy=self._privacy, now=now)
        if notice is None:
            return
        self._notices.tell(notice)
        devices = [device.device for device in self._directory.devices(call.account)]
        missed = missed_call(call, devices=devices, now=now)
        entry = None if missed is None else self._book.keep(missed)
        if entry is not None:
            self._pushes.send(entry, entry.missed.owed)
