"""The call path with SIP, time and push in the test's hands: everything else is the real thing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from push_proxy.core.events import PushOutcome, WakeSettings
from push_proxy.core.ids import (
    AccountId,
    AccountKey,
    CallId,
    DeviceId,
    Instant,
    ServerTxn,
    TenantId,
)
from push_proxy.core.model import Account, Address, Binding, CallRecord, Device
from push_proxy.observability.metrics import Metrics
from push_proxy.ports import AppHealth, Check, Push, PushResult, SharedValues
from push_proxy.providers.registry import Providers
from push_proxy.runtime.calls import Calls
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.pusher import Pusher
from push_proxy.runtime.restoring import Restoring
from push_proxy.runtime.wakes import Wakes
from push_proxy.signaling.contract import StackSettings
from push_proxy.signaling.facts import (
    BranchResponse,
    CancelReceived,
    DialogEnded,
    Fact,
    FlowLost,
    FormerAnswered,
    OrderFailed,
    RequestReceived,
    TransactionLost,
)
from push_proxy.signaling.fake import FakeSignaling, Order, Sent
from push_proxy.store.memory import MemoryStore
from push_proxy.tasks import spawn

PBX = Address("192.0.2.10", 5060)
US = Address("10.0.0.7", 5060)
NODE = "proxy-1"
KEY = AccountKey("acme/101")
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0\r\n"
)
VIDEO = SDP + b"m=video 4002 RTP/AVP 99\r\n"


class PushBox:
    """A push provider that takes what it is told to take, and shows what it got."""

    name = "webhook"

    def __init__(self) -> None:
        self.got: list[Push] = []
        self.outcome = PushOutcome.ACCEPTED
        self.inside: Callable[[Push], object] | None = None
        """Called while the push is under way, before it is answered."""
        self.gate: asyncio.Event | None = None
        """Answers wait for it."""

    def serves(self, app_id: str) -> bool:
        return app_id == "com.example.phone"

    async def send(self, push: Push) -> PushResult:
        self.got.append(push)
        if self.inside is not None:
            self.inside(push)
        if self.gate is not None:
            await self.gate.wait()
        return PushResult(outcome=self.outcome, reason="" if self.outcome == "accepted" else "why")

    def app_for(self, pn_param: str) -> str | None:
        return pn_param if self.serves(pn_param) else None

    def start(self, shared: SharedValues) -> None:
        pass

    def health(self) -> list[AppHealth]:
        return []

    async def check(self) -> AsyncIterator[Check]:
        for app in self.health():
            yield Check(what=app.app_id, ok=True, text="")

    async def aclose(self) -> None:
        pass

    def types(self) -> list[str]:
        return [push.type.value for push in self.got]


class FakeService:
    """One account at one PBX, and its devices."""

    def __init__(self, *, former: "FakeService | None" = None, **settings: Any) -> None:
        """``former``: its life before this one, which was killed; time and store are its."""
        self.former = former
        self.chosen = settings
        self.clock = former.clock if former else ManualClock()
        self.store = former.store if former else MemoryStore(self.clock)
        self.sip = FakeSignaling()
        self.box = PushBox()
        self.metrics = Metrics()
        self.directory = Directory(self.store, self.clock)
        self.providers = Providers([self.box])
        self.calls = Calls(store=self.store, clock=self.clock, metrics=self.metrics)
        self.pusher = Pusher(
            providers=self.providers,
            clock=self.clock,
            metrics=self.metrics,
            learn=lambda push, result: self.learned.append((push, result)),
        )
        self.learned: list[tuple[Push, PushResult]] = []
        self.wakes = Wakes(
            signaling=self.sip,
            directory=self.directory,
            pusher=self.pusher,
            store=self.store,
            calls=self.calls,
            clock=self.clock,
            metrics=self.metrics,
            settings=WakeSettings(**settings),
            node=NODE,
            host=US.host,
        )
        self.restoring = Restoring(
            store=self.store,
            signaling=self.sip,
            directory=self.directory,
            wakes=self.wakes,
            clock=self.clock,
            node=NODE,
            host=US.host,
        )
        self.account = Account(
            tenant=TenantId("acme"),
            account=AccountId("101"),
            aor="sip:101@pbx.example.com",
            pbx="office",
        )

    async def __aenter__(self) -> Self:
        settings = StackSettings(listen=(US,), public_host=US.host, token_key=b"k" * 32)
        await self.sip.start(settings, self._on_fact)
        if self.former is None:
            await self.directory.put_account(self.account)
        else:
            await self.directory.load()
        return self

    async def killed(self) -> "FakeService":
        """It dies without a word; its next life, not yet begun."""
        await self.sip.stop()
        for wake in self.wakes._book.all():
            wake.close()
        self.wakes._held_invites._store = MemoryStore(self.clock)
        return FakeService(former=self, **self.chosen)

    async def rebuilt(self) -> None:
        """The stack rebuilds the transactions that it is asked to rebuild."""
        running = spawn(self.restoring.run(), name="restoring")
        await self.settled()
        for order in self.sip.restores:
            self.sip.tell(
                replace(
                    self._fact(self.sip.next_txn(), order.raw),
                    source=order.source,
                    to_tag=order.to_tag,
                    restored=order.call,
                )
            )
        await running
        self.sip.open()
        await self.settled()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.sip.stop()
        await self.wakes.aclose()
        await self.calls.aclose()
        await self.directory.aclose()
        await self.providers.aclose()

    def _on_fact(self, fact: Fact) -> None:
        match fact:
            case RequestReceived(restored=str()) | TransactionLost(txn=0):
                self.restoring.on_fact(fact)
            case CancelReceived() | BranchResponse() | TransactionLost() | OrderFailed():
                self.wakes.on_fact(fact)
            case FormerAnswered():
                self.wakes.on_fact(fact)
            case RequestReceived():
                self.wakes.invite(fact, self.account)
            case DialogEnded():
                self.wakes.hung_up(CallId(fact.call))
                self.calls.dialog_ended(fact)
            case FlowLost():
                self.directory.flow_lost(fact.remote)
            case _:
                raise AssertionError(f"nobody takes {fact}")

    # what happens in the world

    async def device(self, name: str = "phone", *, token: str = "tok-1", **changes: Any) -> None:
        """The app has registered its push target."""
        device = Device(
            account=KEY,
            device=DeviceId(name),
            provider="webhook",
            app_id="com.example.phone",
            token=token,
            platform="android",
        )
        await self.directory.put_device(replace(device, **changes))

    def invite(self, *, call_id: str = "sip-1", headers: str = "", body: bytes = SDP) -> ServerTxn:
        """An INVITE from the PBX; what follows at once has been done on return."""
        head = (
            "INVITE sip:101@10.0.0.7:5060;pp=tok SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {PBX.host}:{PBX.port};branch=z9hG4bK{call_id}\r\n"
            'From: "Ann" <sip:555@pbx.example.com>;tag=1\r\n'
            "To: <sip:101@pbx.example.com>\r\n"
            f"Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n{headers}"
            f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        txn = self.sip.next_txn()
        self.sip.tell(self._fact(txn, head.encode() + body, call_id=call_id))
        return txn

    def _fact(self, txn: ServerTxn, raw: bytes, *, call_id: str = "sip-1") -> RequestReceived:
        return RequestReceived(
            txn=txn,
            method="INVITE",
            request_uri="sip:101@10.0.0.7:5060;pp=tok",
            source=PBX,
            local=US,
            from_uri="sip:555@pbx.example.com",
            from_tag="1",
            to_uri="sip:101@pbx.example.com",
            call_id=call_id,
            cseq=1,
            raw=raw,
            to_tag="ours",
        )

    def register(self, name: str = "phone", *, port: int = 40000, **changes: Any) -> Binding:
        """The app's REGISTER has been answered 2xx."""
        source = Address("198.51.100.7", port)
        binding = Binding(
            account=KEY,
            device=DeviceId(name),
            contact=f"sip:101@{source.host}:{source.port}",
            source=source,
            local=US,
            call_id=f"reg-{name}",
            cseq=1,
            expires_at=Instant(self.clock.now() + 600),
            route_key=f"{name:0<16}"[:16],
            heard_at=self.clock.now(),
        )
        binding = replace(binding, **changes)
        self.directory.put_binding(binding)
        self.wakes.registered(binding)
        return binding

    # what is seen

    @property
    def last(self) -> Order:
        """The newest order that left."""
        return self.sip.orders[-1]

    def finals(self, txn: ServerTxn) -> list[int]:
        return [status for status in self.sip.sent(txn) if status >= 200]

    def final(self, txn: ServerTxn) -> Sent:
        (sent,) = [
            o for o in self.sip.orders if isinstance(o, Sent) and o.txn == txn and o.status >= 200
        ]
        return sent

    def call_of(self, number: int = 0) -> CallId:
        return self.box.got[number].call

    async def record(self, call: CallId) -> CallRecord:
        record = self.calls.get(call) or await self.store.get_call(call)
        assert record is not None
        return record

    async def settled(self) -> None:
        """Let tasks run until they wait for the test: none of them waits for time or I/O."""
        for _ in range(30):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settled()
