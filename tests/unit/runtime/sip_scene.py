"""The call path's SIP side on a recording stack: real directory, registrar, router, outbound."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from push_proxy.assembly_messages import open_message_path
from push_proxy.core.digest import Challenge, authorization
from push_proxy.core.ids import AccountId, AccountKey, CallId, DeviceId, ServerTxn, TenantId
from push_proxy.core.locating import Located, plain_target
from push_proxy.core.message import Message
from push_proxy.core.model import (
    Account,
    Address,
    AppAuth,
    Binding,
    CallRecord,
    Credentials,
    Device,
    Topology,
)
from push_proxy.core.nonces import Nonces
from push_proxy.core.own import OwnNames
from push_proxy.core.pbx import Endpoint, Pbx
from push_proxy.core.push_params import PushServices
from push_proxy.observability.metrics import Metrics
from push_proxy.ports import PushProvider
from push_proxy.providers.registry import Providers
from push_proxy.runtime.calls import Calls
from push_proxy.runtime.challenger import Challenger
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.outbound import Outbound
from push_proxy.runtime.pbx_addresses import PbxAddresses
from push_proxy.runtime.pbx_names import PbxNames
from push_proxy.runtime.pusher import Pusher
from push_proxy.runtime.registrar import Registrar
from push_proxy.runtime.replacing import Replacing
from push_proxy.runtime.router import Router
from push_proxy.settings import Settings
from push_proxy.signaling.contract import Headers, Rewrite
from push_proxy.signaling.facts import (
    DeviceAwaited,
    DialogEnded,
    Fact,
    FlowLost,
    RequestAnswered,
    RequestReceived,
)
from push_proxy.store.memory import MemoryStore

US = Address("10.0.0.7", 5060)
PBX = Address("192.0.2.10", 5060)
PEER = Address("192.0.2.77", 5099)
PHONE = Address("203.0.113.5", 40000)
STRANGER = Address("198.51.100.66", 5060)
NAMES = {"pbx.example.com": ("192.0.2.10",)}
SERVICES = PushServices(names=("fcm",), app_for=lambda provider, param: f"{provider} {param}")


@dataclass
class Order:
    what: str
    txn: int = 0
    status: int = 0
    headers: dict[str, list[str]] = field(default_factory=dict)
    rewrite: Rewrite | None = None
    args: tuple[object, ...] = ()


class RecordingStack:
    """Notes every order of `signaling.contract.Signaling`."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.requests: list[dict[str, object]] = []

    def reply(
        self, txn: int, status: int, reason: str, *, headers: Headers = (), body: bytes = b""
    ) -> None:
        assert reason
        assert not body
        by_name: dict[str, list[str]] = {}
        for name, value in headers:
            by_name.setdefault(name, []).append(value)
        self.orders.append(Order("reply", txn, status, by_name))

    def forward(self, txn: int, rewrite: Rewrite) -> None:
        self.orders.append(Order("forward", txn, rewrite=rewrite))

    def fork(self, txn: int, branch: int, rewrite: Rewrite) -> None:
        self.orders.append(Order("fork", txn, rewrite=rewrite, args=(branch,)))

    def relay(self, txn: int, branch: int, response: int) -> None:
        self.orders.append(Order("relay", txn, args=(branch, response)))

    def request(self, request: int, **more: object) -> None:
        self.requests.append({"request": request, **more})

    def bind(self, route_key: str, source: Address, local: Address) -> None:
        self.orders.append(Order("bind", args=(route_key, source, local)))

    def unbind(self, route_key: str) -> None:
        self.orders.append(Order("unbind", args=(route_key,)))


class Notices:
    """Stands for wakes, calls, registrations and metrics: notes what it is told."""

    def __init__(self, stack: RecordingStack) -> None:
        self._stack = stack
        self.invites: list[tuple[RequestReceived, Account]] = []
        self.facts: list[Fact] = []
        self.calls: list[CallRecord] = []
        self.fates: list[tuple[object, ...]] = []
        self.stored: dict[tuple[AccountKey, str], DeviceId] = {}
        self.holders: dict[tuple[AccountKey, str], DeviceId] = {}
        self.targets: list[tuple[CallId, Address]] = []
        self.refusals: list[str] = []

    def awaited(self, fact: DeviceAwaited) -> None:
        self.facts.append(fact)

    def invite(self, fact: RequestReceived, account: Account) -> None:
        self.invites.append((fact, account))

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
        assert message.first("call-id")
        assert account.account
        self.refusals.append(why)
        self._stack.reply(fact.txn, status, reason)

    def on_fact(self, fact: Fact) -> None:
        self.facts.append(fact)

    def registered(self, binding: Binding) -> None:
        self._stack.orders.append(Order("registered", args=(binding,)))

    def unregistered(self, account_key: AccountKey, device: DeviceId) -> None:
        self._stack.orders.append(Order("unregistered", args=(account_key, device)))

    def begin(self, record: CallRecord, device: DeviceId) -> CallId:
        assert device
        self.calls.append(record)
        return record.id

    def sent(self, call: CallId, device: DeviceId, destination: Address) -> None:
        assert device
        self.targets.append((call, destination))

    def ringing(self, call: CallId, *, status: int, reason: str) -> None:
        assert isinstance(reason, str)
        self.fates.append((call, "ringing", status))

    def answered(self, call: CallId) -> None:
        self.fates.append((call, "answered"))

    def challenged(self, call: CallId, *, status: int, reason: str) -> None:
        assert isinstance(reason, str)
        self.fates.append((call, "challenged", status))

    def failed(self, call: CallId, *, status: int, reason: str, local: bool) -> None:
        assert isinstance(reason, str)
        self.fates.append((call, status, local))

    def vanished(self, call: CallId, reason: str) -> None:
        self.fates.append((call, "vanished", reason))

    def broken(self, call: CallId, reason: str) -> None:
        self.fates.append((call, "broken", reason))

    def refused(self, call: CallId, *, status: int, reason: str) -> None:
        assert reason
        self.fates.append((call, "refused", status))

    def holder(self, account: AccountKey, sip_call_id: str) -> DeviceId | None:
        return self.holders.get((account, sip_call_id))

    async def stored_holder(self, account: AccountKey, sip_call_id: str) -> DeviceId | None:
        return self.stored.get((account, sip_call_id))

    def hung_up(self, call: CallId) -> None:
        assert call

    def dialog_ended(self, fact: DialogEnded) -> None:
        self.facts.append(fact)

    def on_answer(self, fact: RequestAnswered) -> None:
        self.facts.append(fact)

    def on_flow_lost(self, fact: FlowLost) -> None:
        self.facts.append(fact)

    def sip_refused(self, reason: str) -> None:
        self.refusals.append(reason)


class Names:
    """Stands for DNS: A records alone."""

    async def locate(self, end: Endpoint) -> Located:
        if end.host not in NAMES:
            raise OSError("Name or service not known")
        return Located(plain_target(end, NAMES[end.host]))


class Scene:
    """Everything between the stack and the directory, with time standing still."""

    def __init__(
        self, providers: Sequence[PushProvider] = (), *, settings: Settings | None = None
    ) -> None:
        self.clock = ManualClock(1_800_000_000.0)
        self.store = MemoryStore(self.clock)
        self.directory = Directory(self.store, self.clock)
        self.stack = RecordingStack()
        self.notices = Notices(self.stack)
        self.own = OwnNames.of(["push.example.com"], node_host="10.0.0.7", listening=[US])
        self.pbxes = {
            "office": Pbx(key="office", registrar="sip:pbx.example.com"),
            "trunk": Pbx(
                key="trunk",
                peers=("192.0.2.77", "192.0.2.128/25"),
                tls_names=("trunk.example.com",),
            ),
        }
        self.addresses = PbxAddresses(
            self.directory, self.pbxes, own=self.own, clock=self.clock, names=PbxNames(Names())
        )
        self.challenger = Challenger(
            signaling=self.stack,  # type: ignore[arg-type]
            directory=self.directory,
            clock=self.clock,
            nonces=Nonces(b"n" * 32),
            key=b"k" * 32,
        )
        self.registrar = Registrar(
            signaling=self.stack,  # type: ignore[arg-type]
            directory=self.directory,
            wakes=self.notices,
            clock=self.clock,
            challenger=self.challenger,
            own=self.own,
            services=lambda: SERVICES,
        )
        self.outbound = Outbound(
            signaling=self.stack,  # type: ignore[arg-type]
            directory=self.directory,
            calls=self.notices,
            clock=self.clock,
            challenger=self.challenger,
            addresses=self.addresses,
            own=self.own,
        )
        metrics = Metrics()
        self.pusher = Pusher(
            providers=Providers(providers),
            clock=self.clock,
            metrics=metrics,
            learn=lambda *_: None,
        )
        path = open_message_path(
            settings or Settings(),
            signaling=self.stack,  # type: ignore[arg-type]
            directory=self.directory,
            store=self.store,
            clock=self.clock,
            metrics=metrics,
            pusher=self.pusher,
            own=self.own,
        )
        self.message_path = path
        self.mailboxes = path.mailboxes
        self.kept = Calls(store=self.store, clock=self.clock, metrics=Metrics())
        self.router = Router(
            signaling=self.stack,  # type: ignore[arg-type]
            directory=self.directory,
            clock=self.clock,
            addresses=self.addresses,
            registrar=self.registrar,
            outbound=self.outbound,
            wakes=self.notices,
            calls=self.notices,
            replacing=Replacing(calls=self.kept, clock=self.clock),
            pbx_side=self.notices,
            mailboxes=self.mailboxes,
            messages=path.messages,
            dialog_wakes=self.notices,
            metrics=self.notices,
        )
        self._txn = itertools.count(1)
        self._cseq = itertools.count(1)

    async def start(self) -> Scene:
        await self.addresses.start()
        self.challenger.start()
        self.registrar.start()
        return self

    async def aclose(self) -> None:
        await self.message_path.messages.aclose()
        await self.addresses.aclose()
        await self.kept.aclose()
        await self.directory.aclose()

    async def add(self, account: Account, *devices: str) -> Account:
        await self.directory.put_account(account)
        for name in devices:
            await self.directory.put_device(
                Device(
                    account=account.key,
                    device=DeviceId(name),
                    provider="webhook",
                    app_id="app",
                    token=f"token-{account.account}-{name}",
                )
            )
        return account

    def send(
        self,
        method: str,
        uri: str,
        *headers: str,
        source: Address = PHONE,
        from_: str = "sip:101@pbx.example.com",
        to: str | None = None,
        call_id: str = "call-1",
        cseq: int | None = None,
        peer_names: tuple[str, ...] = (),
    ) -> list[Order]:
        """One request through the router; returns the orders that it caused."""
        txn = next(self._txn)
        number = next(self._cseq) if cseq is None else cseq
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {source.host}:{source.port};branch=z9hG4bK{txn}",
            f"From: <{from_}>;tag=f",
            f"To: <{to or uri}>",
            f"Call-ID: {call_id}",
            f"CSeq: {number} {method}",
            *headers,
            "Content-Length: 0",
        ]
        fact = RequestReceived(
            txn=ServerTxn(txn),
            method=method,
            request_uri=uri,
            source=source,
            local=US,
            from_uri=from_,
            from_tag="f",
            to_uri=to or uri,
            call_id=call_id,
            cseq=number,
            raw=("\r\n".join(lines) + "\r\n\r\n").encode(),
            peer_names=peer_names,
        )
        before = len(self.stack.orders)
        self.router.on_fact(fact)
        return self.stack.orders[before:]

    def register(
        self,
        *headers: str,
        aor: str = "sip:101@pbx.example.com",
        password: str = "secret",
        user: str = "101",
        source: Address = PHONE,
        contact: str | None = "<sip:101@203.0.113.5:40000>",
        call_id: str = "reg-1",
        cseq: int | None = None,
    ) -> list[Order]:
        """REGISTER, the answered challenge, and the orders of the second one."""
        lines = [*headers] + ([f"Contact: {contact}"] if contact else [])
        more = {"source": source, "from_": aor, "to": aor, "call_id": call_id, "cseq": cseq}
        (first,) = self.send("REGISTER", "sip:pbx.example.com", *lines, **more)  # type: ignore[arg-type]
        assert first.status == 401
        proof = self.answer(first, "WWW-Authenticate", "REGISTER", user=user, password=password)
        return self.send(
            "REGISTER", "sip:pbx.example.com", *lines, f"Authorization: {proof}", **more
        )  # type: ignore[arg-type]

    def answer(
        self, order: Order, header: str, method: str, *, user: str = "101", password: str = "secret"
    ) -> str:
        challenge = Challenge.parse(order.headers[header][0])
        assert challenge is not None
        return authorization(
            challenge,
            Credentials(password=password),
            user=user,
            method=method,
            uri="sip:pbx.example.com",
            cnonce="c",
        )


def hold(user: str = "101", **more: object) -> Account:
    values: dict[str, object] = {
        "tenant": TenantId("t"),
        "account": AccountId(f"a{user}"),
        "aor": f"sip:{user}@pbx.example.com",
        "pbx": "office",
        "credentials": Credentials(password="secret"),
        "contact_token": f"tok{user}",
    }
    return Account(**(values | more))  # type: ignore[arg-type]


def trunk(user: str = "201", **more: object) -> Account:
    auth = AppAuth(user=user, realm="apps", credentials=Credentials(password="secret"))
    values: dict[str, object] = {
        "topology": Topology.TRUNK,
        "pbx": "trunk",
        "aor": f"sip:{user}@trunk.example.com",
        "credentials": None,
        "app_auth": auth,
    }
    return hold(user, **(values | more))
