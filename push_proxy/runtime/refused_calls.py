"""INVITEs for an account that are refused before anybody is woken: answered, and on record.

Support looks for every call that the PBX says it has sent.
"""

from uuid import uuid4

from ..core.ids import CallId, Instant
from ..core.incoming import IncomingCall, incoming_call
from ..core.message import Message
from ..core.model import (
    Account,
    CallRecord,
    CallState,
    Direction,
    TimelineEntry,
    Verdict,
)
from ..core.outcome import by_rule
from ..core.uri import SipUri
from ..observability.metrics import Metrics
from ..ports import Clock
from ..signaling.contract import Signaling
from ..signaling.facts import RequestReceived
from .calls import Calls

_RETRY_AFTER_S = "5"


def record_of(
    call: CallId, fact: RequestReceived, account: Account, incoming: IncomingCall, at: Instant
) -> CallRecord:
    """The record that a call from the PBX begins with."""
    return CallRecord(
        id=call,
        account=account.key,
        direction=Direction.INCOMING,
        sip_call_id=fact.call_id,
        caller=incoming.number,
        caller_name=incoming.name,
        callee=SipUri.parse(account.aor).user,
        video=incoming.video,
        started_at=at,
    )


class RefusedCalls:
    """Refuses."""

    def __init__(
        self, *, signaling: Signaling, calls: Calls, clock: Clock, metrics: Metrics
    ) -> None:
        self._signaling = signaling
        self._calls = calls
        self._clock = clock
        self._metrics = metrics

    def unavailable(
        self,
        fact: RequestReceived,
        account: Account,
        message: Message,
        *,
        verdict: Verdict,
        why: str,
    ) -> None:
        """503, to be tried again soon: this node takes no call now."""
        self.refuse(
            fact,
            account,
            message,
            verdict=verdict,
            status=503,
            reason="Service Unavailable",
            why=why,
            headers=(("Retry-After", _RETRY_AFTER_S),),
        )

    def refuse(
        self,
        fact: RequestReceived,
        account: Account,
        message: Message,
        *,
        verdict: Verdict,
        status: int,
        reason: str,
        why: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer with ``status``; ``why`` is what the timeline says, such as ``disabled``."""
        self._metrics.sip_refused(why)
        incoming, now = incoming_call(message), self._clock.now()
        call = CallId(str(uuid4()))
        self._calls.open(record_of(call, fact, account, incoming, now))
        self._calls.note(call, TimelineEntry(now, "invite_received"))
        self._calls.note(call, TimelineEntry(now, "not_pushed", detail=why))
        told = ("X-Push-Reason", verdict.value)
        self._signaling.reply(fact.txn, status, reason, headers=(told, *headers))
        self._calls.move(call, CallState.ENDED, now)
        self._calls.finish(call, by_rule(verdict, status=status))
