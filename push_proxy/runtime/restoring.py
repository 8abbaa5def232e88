"""After a restart: the calls that a former life of this node held go on, or are not lost at least.

The INVITE was durable before its 100 left. While the sockets still drop what comes, its server
transaction is rebuilt and its wake goes on; then the PBX's CANCEL finds both (ADR 0016).
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

import structlog

from ..core.ids import CallId, DeviceId, ServerTxn
from ..core.message import MalformedMessage, Message, parse
from ..core.model import Account, CallRecord, CallState, HeldInvite
from ..core.next_hop import NextHop
from ..core.restored_wake import lost, restored
from ..core.uri import NameAddr
from ..errors import PushProxyError, StoreUnavailable
from ..patience import patiently
from ..ports import Clock, Store
from ..signaling.contract import Signaling
from ..signaling.facts import RequestReceived, TransactionLost
from .directory import Directory
from .wakes import Wakes

_log = structlog.get_logger(__name__)

REBUILT_WITHIN_S = 2.0
_OVER = frozenset({CallState.ANSWERED, CallState.ENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Former:
    """A call that was held, with all that is known of it."""

    held: HeldInvite
    account: Account
    message: Message
    record: CallRecord | None
    fault: str = ""
    """Why it cannot go on, though its transaction can be answered perhaps; empty: it can."""

    @property
    def rang(self) -> frozenset[DeviceId]:
        """Devices that are known to have rung."""
        timeline = self.record.timeline if self.record else ()
        return frozenset(
            entry.device
            for entry in timeline
            if entry.event == "device_ringing" and entry.device is not None
        )


class Restoring:
    """Takes up what was held when this node died."""

    def __init__(
        self,
        *,
        store: Store,
        signaling: Signaling,
        directory: Directory,
        wakes: Wakes,
        clock: Clock,
        node: str,
        host: str,
        hop: Callable[[Account], NextHop | None] = lambda _: None,
    ) -> None:
        """``node`` and ``host``: as whom this node holds INVITEs; ``hop``: the way to a PBX."""
        self._store = store
        self._signaling = signaling
        self._directory = directory
        self._wakes = wakes
        self._clock = clock
        self._node = node
        self._host = host
        self._hop = hop
        self._rebuilding: dict[CallId, _Former] = {}
        self._rebuilt = asyncio.Event()
        self._no_txn = count(-1, -1)

    async def run(self) -> None:
        """Return when every call that this node held goes on or has ended.

        To be called while the stack is closed. As long as the store is away it is asked again.
        """
        taken_up = await self._take_up_all()
        if not taken_up:
            return
        if self._rebuilding:
            try:
                async with asyncio.timeout(REBUILT_WITHIN_S):
                    # The first may have been rebuilt before the last was even asked for.
                    while self._rebuilding:
                        self._rebuilt.clear()
                        await self._rebuilt.wait()
            except TimeoutError:
                _log.error("transactions were not rebuilt in time", count=len(self._rebuilding))
            for former in tuple(self._rebuilding.values()):
                self._lose(former, "its transaction could not be rebuilt")
            self._rebuilding.clear()
        _log.info("calls from before the restart", count=taken_up, going_on=self._wakes.waiting)

    async def reap(self, found: Iterable[HeldInvite]) -> int:
        """End these calls of nodes that are gone.

        Returns how many there were still. Raises `errors.StoreUnavailable`.
        """
        reaped = 0
        for held in found:
            former = await self._former(held)
            # Of several nodes, and the dead one's next life, one gets it; nothing more is asked of
            # the store after that, which may be away by then.
            got = await self._store.release_invite(held.account, held.call, node=held.node)
            if got and former is not None:
                self._lose(former, f"node {held.node} is gone")
                reaped += 1
        return reaped

    def on_fact(self, fact: RequestReceived | TransactionLost) -> None:
        """A transaction has been rebuilt, or cannot be."""
        former = self._rebuilding.pop(fact.restored, None) if fact.restored else None
        if former is None:
            return
        if isinstance(fact, TransactionLost):
            self._lose(former, fact.reason)
        elif former.fault:
            # Whoever has kept the call all the same is not left waiting.
            told = ("X-Push-Reason", "pbx_lost")
            self._signaling.reply(fact.txn, 480, "Temporarily Unavailable", headers=(told,))
            self._lose(former, former.fault)
        else:
            self._go_on(former, fact)
        if not self._rebuilding:
            self._rebuilt.set()

    async def _take_up_all(self) -> int:
        taken_up: set[CallId] = set()

        async def take_up_others() -> None:
            for held in await self._store.held_of_node(self._node):
                if held.call not in taken_up:
                    await self._take_up(held)
                    taken_up.add(held.call)

        def waits(error: StoreUnavailable, retry_in_s: float) -> None:
            _log.error(
                "calls from before the restart wait for the store, and so does this start",
                error=str(error),
                retry_in_s=retry_in_s,
            )

        await patiently(take_up_others, waits)
        return len(taken_up)

    async def _take_up(self, held: HeldInvite) -> None:
        former = await self._former(held)
        if former is None or not await self._store.update_held(
            held.account, held.call, held.devices
        ):
            # Decided before the end, or another node has ended it meanwhile.
            await self._store.release_invite(held.account, held.call, node=held.node)
            return
        if why := self._out_of_reach(held):
            self._lose(former, why)
            return
        self._rebuilding[held.call] = former
        hop = self._hop(former.account)
        self._signaling.restore(
            held.call,
            raw=held.raw,
            source=held.source,
            local=held.local,
            to_tag=held.to_tag,
            server_name=hop.server_name if hop else "",
            tls_profile=hop.tls_profile if hop else "",
        )

    async def _former(self, held: HeldInvite) -> _Former | None:
        """What is known of the call; None: it had ended, or there is nobody any more to call."""
        account = self._directory.account(held.account)
        if account is None:
            return None
        try:
            message = parse(held.raw)
        except MalformedMessage as error:
            _log.error("a held INVITE cannot be read", call_id=held.call, error=str(error))
            return None
        record = await self._record(held.call)
        if record is not None and record.state in _OVER:
            return None
        fault = _fault(held, message)
        return _Former(held=held, account=account, message=message, record=record, fault=fault)

    async def _record(self, call: CallId) -> CallRecord | None:
        try:
            return await self._store.get_call(call)
        except StoreUnavailable:
            raise
        except PushProxyError as error:
            # The call itself is more than what is known of it; and so are all the others.
            _log.error("the record of a held call cannot be read", call_id=call, error=str(error))
            return None

    def _out_of_reach(self, held: HeldInvite) -> str:
        """Why the PBX's transaction can neither find us nor be answered; empty: it can."""
        if held.host != self._host or held.local not in self._signaling.listening():
            return f"this node was {held.host or '?'} ({held.local}) when it died"
        if self._clock.now() >= held.deadline:
            return "this node was away for too long"
        return ""

    def _go_on(self, former: _Former, fact: RequestReceived) -> None:
        held = former.held
        self._wakes.begin(
            held.call,
            fact,
            former.account,
            former.message,
            received_at=held.received_at,
            first=lambda invite, candidates, settings, now: restored(
                invite, held.devices, candidates, settings, now, rang=former.rang
            ),
            record=former.record,
            kept=held.devices,
        )

    def _lose(self, former: _Former, reason: str) -> None:
        held = former.held
        self._wakes.begin(
            held.call,
            _fact_of(held, former.message, ServerTxn(next(self._no_txn))),
            former.account,
            former.message,
            received_at=held.received_at,
            first=lambda invite, candidates, settings, now: lost(
                invite, held.devices, candidates, settings, now, reason=reason, rang=former.rang
            ),
            record=former.record,
        )


def _fault(held: HeldInvite, message: Message) -> str:
    """Why the PBX has given the call up, as far as one can know.

    Over UDP it does not notice our end. Over TCP and TLS its connection was reset: to a user
    agent, such as a B2BUA, its call has failed with that (RFC 3261 §8.1.3.1), while a proxy, which
    is told by a second Via, keeps its transaction.
    """
    if held.source.transport == "udp" or len(message.values("via")) > 1:
        return ""
    return f"its connection over {held.source.transport.upper()} ended with this node's former life"


def _fact_of(held: HeldInvite, message: Message, txn: ServerTxn) -> RequestReceived:
    """The INVITE as it came then; its transaction is gone."""
    caller, called = (NameAddr.parse(message.first(name) or "") for name in ("from", "to"))
    return RequestReceived(
        txn=txn,
        method=message.method,
        request_uri=message.request_uri,
        source=held.source,
        local=held.local,
        from_uri=caller.uri,
        from_tag=caller.params.get("tag") or "",
        to_uri=called.uri,
        call_id=message.call_id,
        cseq=message.cseq,
        raw=held.raw,
        to_tag=held.to_tag,
    )
