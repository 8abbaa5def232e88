"""INVITEs for an account that are refused before anybody is woken: answered, and on record.

Support looks for every call that the PBX says it has sent.
"""

from uuid import uuid4

from ..core.ids import CallId, Instant
from ..core.incoming import IncomingCall
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
from ..ports import Clock
from ..signaling.contract import Signaling
from ..signaling.facts import RequestReceived
from .calls import Calls


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

    def __init__(self, *, signaling: Signaling, calls: Calls, clock: Clock) -> None:
        self._signaling = signaling
        self._calls = calls
        self._clock = clock

    def refuse(
        self,
        fact: RequestReceived,
        account: Account,
        incoming: IncomingCall,
        *,
        verdict: Verdict,
        status: int,
        reason: str,
        why: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer with ``status``; ``why`` is what the timeline says, such as ``disabled``."""
        now = self._clock.now()
        call = CallId(str(uuid4()))
        self._calls.open(record_of(call, fact, account, incoming, now))
        self._calls.note(call, TimelineEntry(now, "invite_received"))
        self._calls.note(call, TimelineEntry(now, "not_pushed", detail=why))
        told = ("X-Push-Reason", verdict.value)
        self._signaling.reply(fact.txn, status, reason, headers=(told, *headers))
        self._calls.move(call, CallState.ENDED, now)
        self._calls.finish(call, by_rule(verdict, status=status))
