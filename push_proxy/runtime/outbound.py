"""Apps' own requests: from a proven flow to the account's PBX, and nowhere else."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ..core.ids import CallId, Instant, ServerTxn
from ..core.message import Message
from ..core.model import Account, Binding, CallRecord, CallState, Direction, Topology
from ..core.own import OwnNames
from ..core.register import without_push_params
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
from ..signaling.facts import ForwardResponse, OrderFailed, RequestReceived, TransactionLost
from .challenger import Challenger
from .directory import Directory
from .pbx_addresses import PbxAddresses

DIALOG_MAKERS = frozenset({"INVITE", "SUBSCRIBE", "REFER"})
"""Methods whose dialogs keep coming through us: they get a Record-Route."""


class OutgoingCalls(Protocol):
    """Who keeps the records of calls (`runtime.calls.Calls`)."""

    def outgoing(self, record: CallRecord) -> None:
        """An app calls out: its INVITE left for the PBX."""

    def outgoing_answered(self, call: CallId, *, at: Instant) -> None:
        """The far end answered; the record ends with `facts.DialogEnded`."""

    def outgoing_challenged(self, call: CallId, *, status: int, reason: str, at: Instant) -> None:
        """The INVITE was challenged: it was no call yet."""

    def outgoing_failed(
        self, call: CallId, *, status: int, reason: str, local: bool, at: Instant
    ) -> None:
        """The INVITE ended with another final response than 2xx (``local``: made by us)."""


@dataclass(frozen=True, slots=True)
class _Running:
    call: CallId


class Outbound:
    """Forwards apps' requests and follows the calls among them."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        directory: Directory,
        calls: OutgoingCalls,
        clock: Clock,
        challenger: Challenger,
        addresses: PbxAddresses,
        own: OwnNames,
    ) -> None:
        self._signaling = signaling
        self._directory = directory
        self._calls = calls
        self._clock = clock
        self._challenger = challenger
        self._addresses = addresses
        self._own = own
        self._running: dict[ServerTxn, _Running] = {}

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
            return self._refuse(fact, 403, "Account Disabled", "disabled")
        if foreign_routes(message, self._own):
            return self._refuse(fact, 403, "Route Not Allowed", "foreign_route")
        if account.topology is Topology.TRUNK and not self._proved(fact, message, account):
            return None
        self._directory.heard(binding.route_key, fact.source, self._clock.now())
        return self._forward(fact, message, account, binding)

    def is_sender(self, fact: RequestReceived, flows: Iterable[Binding]) -> bool:
        """Whether the request's From is the account of one of these flows."""
        return self._sender(fact, flows) is not None

    def on_fact(self, fact: ForwardResponse | TransactionLost | OrderFailed) -> bool:
        """What became of a forwarded INVITE; False when it is none of ours."""
        running = self._running.pop(fact.txn, None)
        if running is None:
            return False
        now = self._clock.now()
        if not isinstance(fact, ForwardResponse):
            self._calls.outgoing_failed(
                running.call, status=0, reason=fact.reason, local=True, at=now
            )
        elif 200 <= fact.status < 300:
            self._calls.outgoing_answered(running.call, at=now)
        elif fact.status in (401, 407) and not fact.local:
            self._calls.outgoing_challenged(
                running.call, status=fact.status, reason=fact.reason, at=now
            )
        else:
            self._calls.outgoing_failed(
                running.call, status=fact.status, reason=fact.reason, local=fact.local, at=now
            )
        return True

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
        destination = self._addresses.destination(account, self._own)
        if destination is None:
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
        call = self._open(fact, message, account) if fact.method == "INVITE" else None
        self._signaling.forward(
            fact.txn,
            Rewrite(
                request_uri=self._request_uri(fact.request_uri, account),
                destination=destination,
                local=self._own.local_for(destination.host),
                add=tuple(add),
                remove=tuple(remove),
                call=call,
                route_key=binding.route_key if fact.method in DIALOG_MAKERS else "",
                device_is_caller=True,
            ),
        )
        return None

    def _open(self, fact: RequestReceived, message: Message, account: Account) -> CallId:
        call = CallId(str(uuid.uuid4()))
        self._running[fact.txn] = _Running(call)
        self._calls.outgoing(
            CallRecord(
                id=call,
                account=account.key,
                direction=Direction.OUTGOING,
                sip_call_id=fact.call_id,
                caller="" if wants_privacy(message) else _user(fact.from_uri),
                caller_name="" if wants_privacy(message) else _display(message.first("from")),
                callee=_user(fact.request_uri),
                started_at=self._clock.now(),
                state=CallState.RINGING,
            )
        )
        return call

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
