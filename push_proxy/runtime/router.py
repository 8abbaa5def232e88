"""The only way in from the SIP stack: who is asking, and who takes it from here.

Order of admission: a REGISTER proves itself; an app is known by its registered
flow; a PBX by its address or its certificate; everybody else is a stranger and gets the same
answer whether or not what they ask for exists.
"""

import asyncio
from typing import Protocol

import structlog

from ..core.ids import AccountKey, CallId, DeviceId
from ..core.message import MalformedMessage, Message, parse
from ..core.message_summary import is_summary
from ..core.model import Account, Binding
from ..core.trust import called_account, strip_toward_app
from ..observability.logs import StackLogs
from ..ports import Clock
from ..signaling.contract import Signaling
from ..signaling.facts import (
    BranchResponse,
    CancelReceived,
    DeviceAwaited,
    DeviceHeard,
    DialogEnded,
    Fact,
    FlowLost,
    FormerAnswered,
    ForwardResponse,
    ForwardRinging,
    OrderFailed,
    RequestAnswered,
    RequestReceived,
    StackLog,
    TransactionLost,
)
from ..tasks import spawn
from .directory import Directory
from .draining import Intake
from .outbound import DIALOG_MAKERS, Outbound
from .pbx_addresses import PbxAddresses
from .registrar import Registrar
from .replacing import Replacing
from .toward_device import toward_device

_log = structlog.get_logger(__name__)

_NEW_WORK = frozenset({"INVITE", "MESSAGE"})
_GOING_S = "5"


class InviteTaker(Protocol):
    """Who wakes devices (`runtime.wakes.Wakes`)."""

    def invite(self, fact: RequestReceived, account: Account) -> None:
        """An INVITE from the account's PBX."""

    def joins(self, fact: RequestReceived, account: AccountKey) -> bool:
        """Whether it is the INVITE of a call that goes on; then it has been taken for that."""

    def refuse(
        self,
        fact: RequestReceived,
        account: Account,
        message: Message,
        *,
        status: int,
        reason: str,
        why: str,
    ) -> None:
        """One that wakes nobody, for ``why``: answered with ``status``, and on record."""

    def turn_away(self, fact: RequestReceived, account: Account, message: Message) -> None:
        """One that comes while we go, and that nobody else takes: 503, and on record."""

    def on_fact(
        self, fact: CancelReceived | BranchResponse | FormerAnswered | TransactionLost | OrderFailed
    ) -> None:
        """What became of it."""

    def hung_up(self, call: CallId) -> None:
        """A BYE passed in this call's dialog."""


class RestoredTaker(Protocol):
    """Who goes on with what a former life of ours held (`runtime.restoring.Restoring`)."""

    def on_fact(self, fact: RequestReceived | TransactionLost) -> None:
        """Its transaction stands again, or cannot be rebuilt."""


class DialogKeeper(Protocol):
    """Who keeps calls' records (`runtime.calls.Calls`)."""

    def holder(self, account: AccountKey, sip_call_id: str) -> DeviceId | None:
        """The device that is in this dialog, if the call is in memory."""

    async def stored_holder(self, account: AccountKey, sip_call_id: str) -> DeviceId | None:
        """The same of a call from before a restart."""

    def dialog_ended(self, fact: DialogEnded) -> None:
        """A BYE passed."""


class PbxSide(Protocol):
    """Who sends requests of our own (`runtime.pbx_watch.PbxWatch`)."""

    def on_answer(self, fact: RequestAnswered) -> None:
        """The final response."""

    def on_flow_lost(self, fact: FlowLost) -> None:
        """A connection that we had opened has ended."""


class MessageTaker(Protocol):
    """Who brings MESSAGEs to devices (`runtime.messages.Messages`)."""

    def message(self, fact: RequestReceived, message: Message, account: Account) -> None:
        """A MESSAGE from the account's PBX."""

    def on_fact(self, fact: BranchResponse | TransactionLost | OrderFailed) -> bool:
        """What became of one; False when it is none of its own."""

    def on_answer(self, fact: RequestAnswered) -> bool:
        """A final response; False when it is to no request of its own."""


class DialogWaker(Protocol):
    """Who wakes phones within their dialogs (`runtime.dialog_wakes.DialogWakes`)."""

    def awaited(self, fact: DeviceAwaited) -> None:
        """A request in a dialog goes to a device, or waits for it."""


class MailKeeper(Protocol):
    """Who hands on what PBXs say about voice mail (`runtime.mailboxes.Mailboxes`)."""

    def notify(self, fact: RequestReceived, message: Message, account: Account) -> None:
        """A NOTIFY about the account's mailbox, to be answered."""

    def on_answer(self, fact: RequestAnswered) -> bool:
        """A final response; False when it is to no request of its own."""


class NodeAsker(Protocol):
    """Who asks other nodes whether they live (`runtime.node_probe.NodeProbe`)."""

    def on_answer(self, fact: RequestAnswered) -> bool:
        """A final response; False when it is to no request of its own."""


class Refusals(Protocol):
    """Who counts refusals (`observability.metrics.Metrics`)."""

    def sip_refused(self, reason: str) -> None:
        """A request was refused; ``reason`` is one of a few words."""


class Router:
    """Sends each fact to its owner."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        *,
        signaling: Signaling,
        directory: Directory,
        clock: Clock,
        addresses: PbxAddresses,
        registrar: Registrar,
        outbound: Outbound,
        wakes: InviteTaker,
        calls: DialogKeeper,
        replacing: Replacing,
        pbx_side: PbxSide,
        mailboxes: MailKeeper,
        messages: MessageTaker,
        dialog_wakes: DialogWaker,
        metrics: Refusals,
        restored: RestoredTaker | None = None,
        node_asker: NodeAsker | None = None,
    ) -> None:
        self._signaling = signaling
        self._directory = directory
        self._clock = clock
        self._addresses = addresses
        self._registrar = registrar
        self._outbound = outbound
        self._wakes = wakes
        self._calls = calls
        self._replacing = replacing
        self._pbx_side = pbx_side
        self._mailboxes = mailboxes
        self._messages = messages
        self._dialog_wakes = dialog_wakes
        self._metrics = metrics
        self._restored = restored
        self._askers: list[MailKeeper | MessageTaker | NodeAsker] = [mailboxes, messages]
        if node_asker is not None:
            self._askers.append(node_asker)
        self.intake = Intake()
        self._stack_logs = StackLogs()
        self.stack_ended = asyncio.Event()
        """The SIP thread has died: nothing comes in or goes out any more."""

    def on_fact(self, fact: Fact) -> None:
        """Take one fact. Never raises: one bad message must not stop the others."""
        try:
            self._dispatch(fact)
        except Exception:  # noqa: BLE001 - logged, and the sender gets its answer
            _log.exception("a SIP fact could not be handled", fact=type(fact).__name__)
            if isinstance(fact, RequestReceived):
                self._refuse(fact, 500, "Server Internal Error", "internal_error")

    def _dispatch(self, fact: Fact) -> None:  # noqa: C901, PLR0912 - a case per fact
        match fact:
            case RequestReceived(restored=str()) | TransactionLost(txn=0):
                if self._restored is not None:
                    self._restored.on_fact(fact)
            case RequestReceived():
                self._request(fact)
            case BranchResponse():
                if not self._messages.on_fact(fact):
                    self._wakes.on_fact(fact)
            case CancelReceived() | FormerAnswered():
                self._wakes.on_fact(fact)
            case TransactionLost() | OrderFailed():
                takers = (self._outbound, self._replacing, self._messages)
                if not any(taker.on_fact(fact) for taker in takers):
                    self._wakes.on_fact(fact)
            case ForwardResponse():
                if not self._outbound.on_fact(fact):
                    self._replacing.on_fact(fact)
            case ForwardRinging():
                self._outbound.ringing(fact)
                self._replacing.ringing(fact)
            case RequestAnswered():
                if not any(asker.on_answer(fact) for asker in self._askers):
                    self._pbx_side.on_answer(fact)
            case DialogEnded():
                self._wakes.hung_up(CallId(fact.call))
                self._calls.dialog_ended(fact)
            case DeviceHeard():
                self._directory.heard(fact.route_key, fact.source, self._clock.now())
            case DeviceAwaited():
                self._dialog_wakes.awaited(fact)
            case FlowLost():
                if fact.outgoing:
                    self._pbx_side.on_flow_lost(fact)
                else:
                    self._directory.flow_lost(fact.remote)
            case StackLog():
                self._stack_logs.take(fact)
                if fact.level == 0:
                    self.stack_ended.set()

    def _request(self, fact: RequestReceived) -> None:
        if fact.method == "REGISTER":
            self._registrar.register(fact)
            return
        flows = self._directory.by_flow(fact.source)
        from_pbx = self._addresses.is_pbx(fact.source.host, fact.peer_names)
        if not flows and not from_pbx:
            self._refuse(fact, 403, "Forbidden", "stranger")
            return
        try:
            message = parse(fact.raw)
        except MalformedMessage as error:
            self._refuse(fact, 400, str(error)[:80], "malformed")
            return
        if from_pbx and not self._is_app(fact, flows):
            self._from_pbx(fact, message)
        elif self.intake.closed and fact.method in _NEW_WORK:
            self._turn_away(fact)
        elif (refusal := self._outbound.request(fact, message, flows)) is not None:
            self._metrics.sip_refused(refusal)

    def _is_app(self, fact: RequestReceived, flows: tuple[Binding, ...]) -> bool:
        """An app beside the PBX on one host, or behind it: a PBX may pass REGISTERs on to us."""
        is_pbx_itself = bool(fact.peer_names) or self._addresses.is_pbx_itself(fact.source)
        if not flows or not is_pbx_itself:
            return bool(flows)
        return self._outbound.is_sender(fact, flows)

    def _from_pbx(self, fact: RequestReceived, message: Message) -> None:
        host, names = fact.source.host, fact.peer_names
        account = called_account(
            fact.request_uri,
            fact.to_uri,
            by_contact_token=self._directory.by_contact_token,
            by_user=self._directory.by_user,
            serves=lambda candidate: self._addresses.is_pbx_of(candidate, host, names),
        )
        if account is None:
            self._refuse(fact, 404, "Not Found", "unknown_account")
        elif not account.enabled:
            self._refuse_for(fact, message, account, 404, "Not Found", "disabled")
        elif self.intake.closed and fact.method in _NEW_WORK:
            self._from_pbx_while_going(fact, message, account)
        elif fact.method == "INVITE":
            self._invite(fact, message, account)
        elif fact.method == "NOTIFY" and is_summary(message):
            # Asterisk sends it after every REGISTER of ours and repeats it until it is answered.
            self._mailboxes.notify(fact, message, account)
        elif fact.method == "MESSAGE":
            self._messages.message(fact, message, account)
        else:
            self._to_awake_device(fact, message, account)

    def _from_pbx_while_going(
        self, fact: RequestReceived, message: Message, account: Account
    ) -> None:
        """A call that goes on keeps its INVITE's repetitions; a new one belongs elsewhere."""
        if fact.method == "INVITE" and self._wakes.joins(fact, account.key):
            return
        if fact.method == "INVITE" and self.intake.alone:
            self._wakes.turn_away(fact, account, message)
        else:
            self._turn_away(fact)

    def _turn_away(self, fact: RequestReceived) -> None:
        self._metrics.sip_refused("draining")
        headers = (("Retry-After", _GOING_S),)
        self._signaling.reply(fact.txn, 503, "Service Unavailable", headers=headers)

    def _invite(self, fact: RequestReceived, message: Message, account: Account) -> None:
        """A call wakes devices; one that replaces another is for the device in that one."""
        replaced = message.first("replaces")
        if replaced is None:
            self._wakes.invite(fact, account)
            return
        called = replaced.partition(";")[0].strip()
        device = self._calls.holder(account.key, called)
        count = len(self._directory.bindings(account.key))
        if device is None and count == 0:
            # No dialog of ours to replace (RFC 3891 §3).
            gone = "Call/Transaction Does Not Exist"
            self._refuse_for(fact, message, account, 481, gone, "replaces_nothing")
        elif device is None and count > 1:
            look = self._replace_stored(fact, message, account, called)
            spawn(look, name=f"device in the call that {fact.call_id} replaces")
        else:
            # If it is none of the device's calls, that one says 481 itself.
            self._to_awake_device(fact, message, account, device)

    async def _replace_stored(
        self, fact: RequestReceived, message: Message, account: Account, called: str
    ) -> None:
        try:
            device = await self._calls.stored_holder(account.key, called)
            self._to_awake_device(fact, message, account, device)
        except Exception:  # noqa: BLE001 - logged, and the caller gets its answer
            _log.exception("a call that replaces another could not be handled")
            self._signaling.reply(fact.txn, 500, "Server Internal Error")

    def _to_awake_device(
        self,
        fact: RequestReceived,
        message: Message,
        account: Account,
        device: DeviceId | None = None,
    ) -> None:
        """Requests that wake nobody: to this device, else to the one heard last, if reachable."""
        bindings = [
            binding
            for binding in self._directory.bindings(account.key)
            if device in (None, binding.device) and self._directory.has_flow(binding)
        ]
        if bindings:
            self._forward(fact, message, account, max(bindings, key=lambda b: b.heard_at))
        else:
            self._refuse_for(fact, message, account, 480, "Temporarily Unavailable", "asleep")

    def _forward(
        self, fact: RequestReceived, message: Message, account: Account, binding: Binding
    ) -> None:
        call = None
        if fact.method == "INVITE":
            call = self._replacing.begin(fact, message, account, binding)
        self._signaling.forward(
            fact.txn,
            toward_device(
                binding,
                account,
                self._directory.way(binding),
                strip=strip_toward_app(message),
                add=(("X-Push-ID", call),) if call else (),
                call=call,
                record_route=fact.method in DIALOG_MAKERS,
            ),
        )

    def _refuse_for(
        self,
        fact: RequestReceived,
        message: Message,
        account: Account,
        status: int,
        reason: str,
        why: str,
    ) -> None:
        """A call is on record, whatever came of it; other requests are only counted."""
        if fact.method == "INVITE":
            self._wakes.refuse(fact, account, message, status=status, reason=reason, why=why)
        else:
            self._refuse(fact, status, reason, why)

    def _refuse(self, fact: RequestReceived, status: int, reason: str, name: str) -> None:
        self._metrics.sip_refused(name)
        self._signaling.reply(fact.txn, status, reason)
