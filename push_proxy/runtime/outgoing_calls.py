"""The records of apps' own calls: what the forwarding of their INVITEs tells, as a story.

A challenged INVITE (401, 407) and the authenticated one that follows are one call.
"""

from dataclasses import dataclass
from functools import partial

from ..core import outgoing
from ..core.ids import AccountKey, CallId, DeviceId, Instant
from ..core.model import Address, CallRecord, CallState, Outcome, TimelineEntry
from .calls import Calls
from .clock import Timer, TimerClock


@dataclass(slots=True)
class _Challenged:
    call: CallId
    status: int
    timer: Timer


class OutgoingCalls:
    """Follows apps' calls until they are answered or have failed; their BYE is `Calls`'."""

    def __init__(self, *, calls: Calls, clock: TimerClock, challenge_s: float = 32.0) -> None:
        """``challenge_s``: how long a challenged app has for its next INVITE."""
        self._calls = calls
        self._clock = clock
        self._challenge_s = challenge_s
        self._challenged: dict[tuple[AccountKey, str], _Challenged] = {}

    def begin(self, record: CallRecord, device: DeviceId) -> CallId:
        """The app's INVITE came; returns the call that it belongs to."""
        call = record.id
        waiting = self._challenged.pop((record.account, record.sip_call_id), None)
        if waiting is None:
            self._calls.open(record)
        else:
            waiting.timer.cancel()
            call = waiting.call
        self._note(call, "invite_received", device=device)
        return call

    def sent(self, call: CallId, device: DeviceId, destination: Address) -> None:
        """The INVITE left for the PBX."""
        self._note(call, "invite_sent", str(destination), device=device)

    def ringing(self, call: CallId, *, status: int, reason: str) -> None:
        """The PBX says that the far end rings (or lets the app hear it: 183)."""
        self._note(call, "ringing", f"{status} {reason}".strip())
        self._calls.move(call, CallState.RINGING, self._clock.now())

    def answered(self, call: CallId) -> None:
        """The far end answered; the record ends with `facts.DialogEnded`."""
        self._note(call, "answered")
        self._calls.move(call, CallState.ANSWERED, self._clock.now())
        self._calls.finish(call, outgoing.answered())

    def challenged(self, call: CallId, *, status: int, reason: str) -> None:
        """The PBX wants to know who calls: the app's next INVITE with this Call-ID goes on."""
        record = self._calls.get(call)
        if record is None:
            return
        self._note(call, "challenged", f"{status} {reason}".strip())
        key = (record.account, record.sip_call_id)
        if key in self._challenged:
            self._give_up(key)  # the app sent two at once: only one can go on
        due = Instant(self._clock.now() + self._challenge_s)
        timer = self._clock.call_at(due, partial(self._give_up, key))
        self._challenged[key] = _Challenged(call, status, timer)

    def failed(self, call: CallId, *, status: int, reason: str, local: bool) -> None:
        """Another final response than 2xx (``local``: made by us)."""
        result = outgoing.failed(status, local=local, rang=self._rang(call))
        self._end(call, "failed", f"{status} {reason}".strip(), result)

    def vanished(self, call: CallId, reason: str) -> None:
        """The app's transaction is gone."""
        self._end(call, "app_lost", reason, outgoing.vanished(rang=self._rang(call)))

    def broken(self, call: CallId, reason: str) -> None:
        """We could not send the INVITE on."""
        self._end(call, "proxy_error", reason, outgoing.broken())

    def refused(self, call: CallId, *, status: int, reason: str) -> None:
        """We refused the INVITE; nothing has left."""
        self._end(call, "refused", f"{status} {reason}", outgoing.refused(status))

    def aclose(self) -> None:
        """Nobody comes back with an answer to a challenge any more."""
        for key in tuple(self._challenged):
            self._give_up(key)

    def _give_up(self, key: tuple[AccountKey, str]) -> None:
        waiting = self._challenged.pop(key)
        waiting.timer.cancel()
        result = outgoing.failed(waiting.status, local=False, rang=False)
        self._end(waiting.call, "failed", "the app did not answer the challenge", result)

    def _rang(self, call: CallId) -> bool:
        record = self._calls.get(call)
        return record is not None and record.state is CallState.RINGING

    def _end(self, call: CallId, event: str, detail: str, result: Outcome) -> None:
        self._note(call, event, detail)
        self._calls.move(call, CallState.ENDED, self._clock.now())
        self._calls.finish(call, result)

    def _note(
        self, call: CallId, event: str, detail: str = "", *, device: DeviceId | None = None
    ) -> None:
        self._calls.note(call, TimelineEntry(self._clock.now(), event, device, detail))
