"""Apps' own requests: from a proven flow to the account's PBX, and nowhere else."""

import uuid
from collections.abc import Callable, Iterable
from typing import Protocol

from ..core.ids import AccountKey, CallId, DeviceId, Instant, ServerTxn
from ..core.message import Message
from ..core.model import Account, Address, Binding, CallRecord, CallState, Direction, Topology
from ..core.own import OwnNames
from ..core.push_privacy import without_push_params
from ..core.trust import (
    app_asker,
    escaped_user,
    foreign_routes,
    is_from,
    other_authorizations,
    strip_from_app,
    wants_privacy,
)
from ..core.uri import MalformedUri, NameAddr, SipUri
from ..ports import Clock
from ..signaling.contract import Rewrite, Signaling
from ..signaling.facts import (
    ForwardResponse,
    ForwardRinging,
    OrderFailed,
    RequestReceived,
    TransactionLost,
)
from .challenger import Challenger
from .directory import Directory
from .pbx_addresses import PbxAddresses

DIALOG_MAKERS = frozenset({"INVITE", "SUBSCRIBE", "REFER"})
"""Methods whose dialogs keep coming through us: they get a Record-Route."""


class CallKeeper(Protocol):
    """Who keeps the records of apps' calls (`runtime.outgoing_calls.OutgoingCalls`)."""

    def begin(self, record: CallRecord, device: DeviceId) -> CallId:
        """An app's INVITE came; returns the call that it belongs to."""

    def sent(self, call: CallId, device: DeviceId, destination: Address) -> None:
        """It left for the PBX."""

    def ringing(self, call: CallId, *, status: int, reason: str) -> None:
        """The first 18x came."""

    def answered(self, call: CallId) -> None:
        """The far end answered; the record ends with `facts.DialogEnded`."""

    def challenged(self, call: CallId, *, status: int, reason: str) -> None:
        """The INVITE was challenged: the next one with its Call-ID goes on."""

    def failed(self, call: CallId, *, status: int, reason: str, local: bool) -> None:
        """The INVITE ended with another final response than 2xx (``local``: made by us)."""

    def vanished(self, call: CallId, reason: str) -> None:
        """The app's transaction is gone."""

    def broken(self, call: CallId, reason: str) -> None:
        """The INVITE could not be sent on."""

    def refused(self, call: CallId, *, status: int, reason: str) -> None:
        """We refused it."""


class Outbound:
    """Forwards apps' requests and follows the calls among them."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        directory: Directory,
        calls: CallKeeper,
        clock: Clock,
        challenger: Challenger,
        addresses: PbxAddresses,
        own: OwnNames,
        service_route: Callable[[AccountKey], tuple[str, ...]] = lambda _: (),
    ) -> None:
        self._signaling = signaling
        self._directory = directory
        self._calls = calls
        self._clock = clock
        self._challenger = challenger
        self._addresses = addresses
        self._own = own
        self._service_route = service_route
        self._running: dict[ServerTxn, CallId] = {}
        self._sent: dict[ServerTxn, tuple[Address, Instant]] = {}

    @property
    def unanswered(self) -> int:
        """Outgoing INVITEs without a final response."""
        return len(self._running)

    def request(
        self, fact: RequestReceived, message: Message, flows: Iterable[Binding]
    ) -> str | None:
        """Take an app's request that came on ``flows``; a refusal's name, or None.

        Whatever comes of it, the transaction has been answered or forwarded.
        """
        found = self._sender(fact, flows)
        if found is None:
            return self._refuse(fact, 403, "From Is Not Yours", "foreign_from")
        account, binding = found
        if not account.enabled:
            self._record_refused(fact, message, found, status=403, reason="Account Disabled")
            return self._refuse(fact, 403, "Account Disabled", "disabled")
        if foreign_routes(message, self._own):
            self._record_refused(fact, message, found, status=403, reason="Route Not Allowed")
            return self._refuse(fact, 403, "Route Not Allowed", "foreign_route")
        if account.topology is Topology.TRUNK and not self._proved(fact, message, account):
            return None
        self._directory.heard(binding.route_key, fact.source, self._clock.now())
        return self._forward(fact, message, account, binding)

    def is_sender(self, fact: RequestReceived, flows: Iterable[Binding]) -> bool:
        """Whether the request's From is the account of one of these flows."""
        return self._sender(fact, flows) is not None

    def ringing(self, fact: ForwardRinging) -> None:
        """A forwarded INVITE makes the far end ring."""
        call = self._running.get(fact.txn)
        if call is not None:
            self._calls.ringing(call, status=fact.status, reason=fact.reason)

    def on_fact(self, fact: ForwardResponse | TransactionLost | OrderFailed) -> bool:
        """What became of a forwarded request; False when it is no INVITE of ours."""
        self._learn(fact)
        call = self._running.pop(fact.txn, None)
        if call is None:
            return False
        match fact:
            case TransactionLost():
                self._calls.vanished(call, fact.reason)
            case OrderFailed():
                self._calls.broken(call, fact.reason)
            case ForwardResponse() if 200 <= fact.status < 300:
                self._calls.answered(call)
            case ForwardResponse() if fact.status in (401, 407) and not fact.local:
                self._calls.challenged(call, status=fact.status, reason=fact.reason)
            case ForwardResponse():
                self._calls.failed(call, status=fact.status, reason=fact.reason, local=fact.local)
        return True

    def _learn(self, fact: ForwardResponse | TransactionLost | OrderFailed) -> None:
        """How the PBX's server is: the next request goes where somebody answers.

        A 503 of its own may concern this call alone.
        """
        destination, sent_at = self._sent.pop(fact.txn, (None, None))
        if destination is None or sent_at is None or not isinstance(fact, ForwardResponse):
            return
        if not fact.local:
            self._addresses.health.heard(destination)
        elif fact.status in (408, 503):
            self._addresses.health.failed(destination, sent_at=sent_at, local=True)

    def _sender(
        self, fact: RequestReceived, flows: Iterable[Binding]
    ) -> tuple[Account, Binding] | None:
        for binding in flows:
            account = self._directory.account(binding.account)
            if account is not None and is_from(account, fact.from_uri, is_us=self._own.is_us):
                return account, binding
        return None

    def _proved(self, fact: RequestReceived, message: Message, account: Account) -> bool:
        """In ``trunk`` nobody behind us asks: we do (407). In ``hold`` the PBX challenges."""
        return self._challenger.proved(fact, message, account, aor=account.aor)

    def _forward(
        self, fact: RequestReceived, message: Message, account: Account, binding: Binding
    ) -> str | None:
        hop = self._addresses.hop(account)
        if hop is None:
            self._record_refused(
                fact, message, (account, binding), status=503, reason="PBX Address Unknown"
            )
            return self._refuse(
                fact, 503, "PBX Address Unknown", "pbx_unresolved", ("Retry-After", "5")
            )
        remove = list(strip_from_app(message))
        add: list[tuple[str, str]] = []
        contacts = message.all("contact")
        cleaned = [without_push_params(value) for value in contacts]
        if cleaned != contacts:
            remove.append("contact")
            add += [("Contact", value) for value in cleaned]
        if account.topology is Topology.TRUNK and (asker := app_asker(account, "")) is not None:
            # Our challenge's answer is nobody else's business.
            remove.append("proxy-authorization")
            others = other_authorizations(message, asker.realm)
            add += [("Proxy-Authorization", value) for value in others]
        if route := self._service_route(account.key):
            # RFC 3608 §6.1. Whatever Route the app gave has led to us (`foreign_routes`).
            remove.append("route")
            add += [("Route", value) for value in route]
        call = None
        self._sent[fact.txn] = hop.destination, self._clock.now()
        if fact.method == "INVITE":
            self._running[fact.txn] = call = self._begin(fact, message, account, binding)
            self._calls.sent(call, binding.device, hop.destination)
        self._signaling.forward(
            fact.txn,
            Rewrite(
                request_uri=self._request_uri(fact.request_uri, account),
                destination=hop.destination,
                local=hop.local,
                add=tuple(add),
                remove=tuple(remove),
                call=call,
                route_key=binding.route_key if fact.method in DIALOG_MAKERS else "",
                device_is_caller=True,
                connect=True,
                server_name=hop.server_name,
                tls_profile=hop.tls_profile,
            ),
        )
        return None

    def _begin(
        self, fact: RequestReceived, message: Message, account: Account, binding: Binding
    ) -> CallId:
        private = wants_privacy(message)
        record = CallRecord(
            id=CallId(str(uuid.uuid4())),
            account=account.key,
            direction=Direction.OUTGOING,
            sip_call_id=fact.call_id,
            caller="" if private else _user(fact.from_uri),
            caller_name="" if private else _display(message.first("from")),
            callee=_user(fact.request_uri),
            started_at=self._clock.now(),
            state=CallState.CALLING,
        )
        return self._calls.begin(record, binding.device)

    def _record_refused(
        self,
        fact: RequestReceived,
        message: Message,
        found: tuple[Account, Binding],
        *,
        status: int,
        reason: str,
    ) -> None:
        if fact.method == "INVITE":
            call = self._begin(fact, message, *found)
            self._calls.refused(call, status=status, reason=reason)

    def _request_uri(self, text: str, account: Account) -> str:
        """The same; at our own address it means the PBX's domain."""
        try:
            uri = SipUri.parse(text)
        except MalformedUri:
            return text
        if not self._own.is_us(uri.host):
            return text
        user = f"{escaped_user(uri)}@" if uri.user else ""
        return f"sip:{user}{account.aor.rpartition('@')[2]}"

    def _refuse(
        self, fact: RequestReceived, status: int, reason: str, name: str, *headers: tuple[str, str]
    ) -> str:
        self._signaling.reply(fact.txn, status, reason, headers=headers)
        return name


def _user(text: str) -> str:
    try:
        uri = SipUri.parse(text)
    except MalformedUri:
        return text.partition(":")[2].partition(";")[0]
    return uri.user or uri.host


def _display(value: str | None) -> str:
    try:
        return NameAddr.parse(value or "").display
    except MalformedUri:
        return ""
