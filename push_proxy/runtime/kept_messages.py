"""MESSAGEs that are accepted: 202 as soon as the store has them.

What is in memory of one is gone then; `runtime.message_carrier` reads it when a device is there.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ..core.held_message import MessageResult
from ..core.ids import AccountKey
from ..core.kept_message import Keeping, KeptMessage, kept_message
from ..core.message import Message
from ..errors import StoreUnavailable
from ..message_ports import KeptMessageStore
from ..observability.metrics import Metrics
from ..signaling.facts import RequestAnswered
from ..tasks import spawn
from .live_message import MessageMeans, MessageRequest
from .message_carrier import MessageCarrier

_log = structlog.get_logger(__name__)
MOST_ARRIVING = 32
"""Of an account's MESSAGEs that wait for the store."""
_FULL_RETRY_S = 600


@dataclass(frozen=True, slots=True)
class _Arrival:
    request: MessageRequest
    kept: KeptMessage
    otherwise: Callable[[], None]


@dataclass(slots=True)
class _Lane:
    """What has come for one account and is not stored yet."""

    arriving: deque[_Arrival] = field(default_factory=deque)
    keeper: asyncio.Task[None] | None = None


class KeptMessages:
    """Accepts MESSAGEs, one after the other for each account: so their order stays."""

    def __init__(
        self,
        *,
        means: MessageMeans,
        store: KeptMessageStore,
        carrier: MessageCarrier,
        metrics: Metrics,
    ) -> None:
        self._means = means
        self._store = store
        self._carrier = carrier
        self._metrics = metrics
        self._lanes: dict[AccountKey, _Lane] = {}

    def start(self) -> None:
        """Hand over what is kept to whoever registers."""
        self._carrier.start()

    async def aclose(self) -> None:
        """Accept no more, and stop handing over."""
        keepers = [lane.keeper for lane in self._lanes.values() if lane.keeper is not None]
        for keeper in keepers:
            keeper.cancel()
        if keepers:
            await asyncio.wait(keepers)
        await self._carrier.aclose()

    def on_answer(self, fact: RequestAnswered) -> bool:
        """A device has answered, or none was there; False when it is none of ours."""
        return self._carrier.on_answer(fact)

    def take(
        self,
        request: MessageRequest,
        message: Message,
        *,
        keep_s: float,
        otherwise: Callable[[], None],
    ) -> None:
        """Accept a MESSAGE as soon as it is stored; ``otherwise`` is called if it cannot be."""
        key, now = request.account.key, self._means.clock.now()
        kept = kept_message(message, request.incoming, account=key, now=now, keep_s=keep_s)
        lane = self._lanes.setdefault(key, _Lane())
        if kept is None or len(lane.arriving) >= MOST_ARRIVING:
            otherwise()
            return
        lane.arriving.append(_Arrival(request, kept, otherwise))
        if lane.keeper is None:
            lane.keeper = spawn(self._keep_all(key, lane), name=f"messages for {key}")

    async def _keep_all(self, key: AccountKey, lane: _Lane) -> None:
        try:
            while lane.arriving:
                await self._keep(lane.arriving.popleft())
        finally:
            del self._lanes[key]

    async def _keep(self, arrival: _Arrival) -> None:
        request, kept = arrival.request, arrival.kept
        if self._carrier.is_withdrawn(kept):
            arrival.otherwise()
            return
        try:
            keeping = await self._store.keep_message(kept)
        except StoreUnavailable as error:
            _log.warning(
                "message held instead of accepted: the store is away",
                account=kept.account,
                error=str(error),
            )
            self._carrier.withdraw(kept)
            arrival.otherwise()
            return
        reply, txn = self._means.signaling.reply, request.fact.txn
        match keeping:
            case Keeping.GONE:
                reply(txn, 404, "Not Found")
            case Keeping.FULL:
                later = (("Retry-After", str(_FULL_RETRY_S)),)
                reply(txn, 480, "Temporarily Unavailable", headers=later)
                self._metrics.message_ended(MessageResult.REFUSED)
                _log.warning("message refused: too many are unread", account=kept.account)
            case Keeping.THERE:
                reply(txn, 202, "Accepted")
            case Keeping.KEPT:
                reply(txn, 202, "Accepted")
                self._metrics.message_ended(MessageResult.KEPT)
                _log.info(
                    "message kept",
                    account=kept.account,
                    message=kept.id,
                    sip_call_id=request.fact.call_id,
                )
                self._carrier.expect(kept, request.incoming)
