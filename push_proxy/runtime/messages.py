"""MESSAGEs from PBXs: held for a device that wakes, or accepted and kept (docs/messages.md)."""

import asyncio
from functools import partial
from uuid import uuid4

import structlog

from ..core.events import (
    DeviceRegistered,
    DeviceUnregistered,
    GivingUp,
    TokenRotated,
    WakeSettings,
)
from ..core.held_message import Hold, HoldEvent, MessageEnded, MessageResult, start
from ..core.ids import AccountKey, CallId, ServerTxn
from ..core.incoming import incoming_call
from ..core.kept_message import MessagePolicy, MessageRules
from ..core.message import Message
from ..core.model import Account, Binding, push_target
from ..observability.metrics import Metrics
from ..signaling.facts import (
    BranchResponse,
    OrderFailed,
    RequestAnswered,
    RequestReceived,
    TransactionLost,
)
from .branch_events import branch_event
from .candidates import candidates_for, settings_for
from .changes import BindingChanged, Change, DeviceChanged
from .kept_messages import KeptMessages
from .live_message import LiveMessage, MessageMeans, MessageRequest

_log = structlog.get_logger(__name__)

MOST_HELD = 2000
MOST_HELD_BYTES = 16 * 2**20
MOST_OF_ACCOUNT = 32
"""Of an account's MESSAGEs held at a time: whoever writes to one account keeps out no other."""


class Messages:
    """All MESSAGEs that have no final response."""

    def __init__(
        self,
        *,
        means: MessageMeans,
        kept: KeptMessages,
        metrics: Metrics,
        rules: MessageRules,
        wake: WakeSettings,
    ) -> None:
        """``wake``: the service's; an account's own come over them."""
        self.rules = rules
        """A reload may change them; what waits goes by the former ones."""
        self._means = means
        self._kept = kept
        self._metrics = metrics
        self._wake = wake
        self._held: dict[ServerTxn, LiveMessage] = {}
        self._of_account: dict[AccountKey, dict[ServerTxn, LiveMessage]] = {}
        self._bytes = 0

    def start(self) -> None:
        """Follow who registers, and who goes."""
        self._means.directory.subscribe(self._on_change)
        self._kept.start()

    @property
    def waiting(self) -> int:
        """MESSAGEs without a final response."""
        return len(self._held)

    def end_all(self) -> None:
        """The service stops: every MESSAGE that is held gets its final response now."""
        for live in tuple(self._held.values()):
            live.tell(GivingUp("stopped"))

    async def aclose(self) -> None:
        """Stop all timers, and what is on its way to devices. What is kept stays kept."""
        for live in self._held.values():
            live.close()
        self._held.clear()
        self._of_account.clear()
        await self._kept.aclose()

    def message(self, fact: RequestReceived, message: Message, account: Account) -> None:
        """A MESSAGE from the account's PBX."""
        request = MessageRequest(fact=fact, account=account, incoming=incoming_call(message))
        hold = partial(self._hold, request)
        if self.rules.policy is MessagePolicy.ACCEPT:
            self._kept.take(request, message, keep_s=self.rules.keep_s, otherwise=hold)
        else:
            hold()

    def on_fact(self, fact: BranchResponse | TransactionLost | OrderFailed) -> bool:
        """What became of one; False when it is none of ours."""
        live = self._held.get(fact.txn)
        if live is None:
            return False
        if (event := branch_event(fact)) is not None:
            live.tell(event)
        return True

    def on_answer(self, fact: RequestAnswered) -> bool:
        """A device has answered a kept one; False when it is none of ours."""
        return self._kept.on_answer(fact)

    def _hold(self, request: MessageRequest) -> None:
        account, now = request.account, self._means.clock.now()
        if not self._has_room(request):
            self._refuse(request)
            return
        wake = settings_for(account, self._wake)
        hold_s = wake.deadline_s
        if expires_s := request.incoming.expires_s:
            hold_s = min(hold_s, expires_s)
        hold = Hold(message=CallId(str(uuid4())), received_at=now, hold_s=hold_s)
        candidates = candidates_for(
            account, self._means.directory, self._means.pusher, fresh_s=wake.fresh_s, now=now
        )
        live = LiveMessage(request, hold, means=self._means, ended=self._ended)
        txn = request.fact.txn
        self._held[txn] = live
        self._of_account.setdefault(account.key, {})[txn] = live
        self._bytes += len(request.fact.raw)
        live.begin(start(hold, candidates, now))

    def _has_room(self, request: MessageRequest) -> bool:
        return (
            len(self._held) < MOST_HELD
            and self._bytes + len(request.fact.raw) <= MOST_HELD_BYTES
            and len(self._of_account.get(request.account.key, ())) < MOST_OF_ACCOUNT
        )

    def _refuse(self, request: MessageRequest) -> None:
        headers = (("Retry-After", "30"), ("X-Push-Reason", "overloaded"))
        self._means.signaling.reply(
            request.fact.txn, 480, "Temporarily Unavailable", headers=headers
        )
        self._metrics.message_ended(MessageResult.REFUSED)
        _log.warning("message refused: too many wait", account=request.account.key)

    def _ended(self, live: LiveMessage, end: MessageEnded) -> None:
        fact, account = live.request.fact, live.request.account
        live.close()
        del self._held[fact.txn]
        self._bytes -= len(fact.raw)
        of_account = self._of_account[account.key]
        del of_account[fact.txn]
        if not of_account:
            del self._of_account[account.key]
        self._metrics.message_ended(end.result)
        _log.info(
            f"message {end.result}",
            account=account.key,
            device=end.device,
            reason=end.reason,
            sip_call_id=fact.call_id,
            waited_s=round(self._means.clock.now() - live.hold.received_at, 3),
        )

    def _on_change(self, change: Change) -> None:
        match change:
            case BindingChanged(new=Binding() as binding):
                # Not before the REGISTER's 200, which the registrar gives after this.
                event = DeviceRegistered(binding)
                asyncio.get_running_loop().call_soon(self._tell, binding.account, event)
            case BindingChanged(old=Binding() as binding, new=None):
                self._tell(binding.account, DeviceUnregistered(binding.device))
            case DeviceChanged(old=old, new=new) if old is not None and new is not None:
                if new.has_target and push_target(old) != push_target(new):
                    self._tell(new.account, TokenRotated(new.device))

    def _tell(self, account: AccountKey, event: HoldEvent) -> None:
        for live in tuple(self._of_account.get(account, {}).values()):
            live.tell(event)
