"""Calls that take the place of another (RFC 3891): no wake, but a record like any other's."""

import uuid

from ..core.ids import CallId, DeviceId, ServerTxn
from ..core.incoming import incoming_call
from ..core.message import Message
from ..core.model import Account, Binding, CallState, TimelineEntry
from ..core.outcome import answered, given_up, lost, replacement_failed
from ..ports import Clock
from ..signaling.facts import (
    ForwardResponse,
    ForwardRinging,
    OrderFailed,
    RequestReceived,
    TransactionLost,
)
from .calls import Calls
from .refused_calls import record_of


class Replacing:
    """Follows INVITEs with Replaces from the PBX until they are answered or refused."""

    def __init__(self, *, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._running: dict[ServerTxn, tuple[CallId, DeviceId]] = {}

    @property
    def unanswered(self) -> int:
        """Those without a final response."""
        return len(self._running)

    def begin(
        self, fact: RequestReceived, message: Message, account: Account, binding: Binding
    ) -> CallId:
        """The INVITE goes to this device; returns its call."""
        call = CallId(str(uuid.uuid4()))
        now = self._clock.now()
        self._calls.open(record_of(call, fact, account, incoming_call(message), now))
        self._running[fact.txn] = call, binding.device
        replaced = (message.first("replaces") or "").partition(";")[0].strip()
        self._note(call, "invite_received", detail=f"replaces {replaced}")
        self._note(call, "not_pushed", binding.device, "replaces")
        self._note(call, "invite_sent", binding.device, str(binding.source))
        return call

    def ringing(self, fact: ForwardRinging) -> None:
        """The device rings."""
        running = self._running.get(fact.txn)
        if running is not None:
            call, device = running
            self._note(call, "device_ringing", device, f"{fact.status} {fact.reason}".strip())
            self._calls.move(call, CallState.RINGING, self._clock.now())

    def on_fact(self, fact: ForwardResponse | TransactionLost | OrderFailed) -> bool:
        """What became of one; False when it is none of ours."""
        running = self._running.pop(fact.txn, None)
        if running is None:
            return False
        call, device = running
        record = self._calls.get(call)
        rang = record is not None and record.state is CallState.RINGING
        match fact:
            case ForwardResponse() if 200 <= fact.status < 300:
                self._note(call, "answered", device)
                self._calls.move(call, CallState.ANSWERED, self._clock.now())
                self._calls.finish(call, answered())
                return True
            case ForwardResponse():
                event, detail = "device_refused", f"{fact.status} {fact.reason}".strip()
                result = replacement_failed(fact.status, local=fact.local, rang=rang)
            case TransactionLost():
                event, detail, result = "pbx_lost", fact.reason, lost(ringing=rang)
            case _:
                event, detail, result = "proxy_error", fact.reason, given_up(ringing=rang)
        self._note(call, event, device, detail)
        self._calls.move(call, CallState.ENDED, self._clock.now())
        # A transfer that fails is no missed call: who was to be replaced is still there.
        self._calls.finish(call, result, can_be_missed=False)
        return True

    def _note(
        self, call: CallId, event: str, device: DeviceId | None = None, detail: str = ""
    ) -> None:
        self._calls.note(call, TimelineEntry(self._clock.now(), event, device, detail))
