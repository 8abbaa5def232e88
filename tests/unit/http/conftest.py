"""The API in process, over the in-memory store and the real directory."""

import dataclasses
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from push_proxy.advice.texts import load_texts
from push_proxy.cluster.elsewhere import Elsewhere
from push_proxy.cluster.membership import Membership
from push_proxy.core.app_log import AppLog
from push_proxy.core.events import AppAction, AppEvent, PushOutcome
from push_proxy.core.evidence import AppWords
from push_proxy.core.ids import (
    AccountId,
    AccountKey,
    CallId,
    DeviceId,
    Instant,
    TenantId,
    account_key,
)
from push_proxy.core.message_summary import Mailbox
from push_proxy.core.missed import MissedCall
from push_proxy.core.model import Address, Binding, CallRecord, Direction, Verdict
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.core.payload import Push
from push_proxy.core.queued_event import DeadLetter, QueuedEvent
from push_proxy.core.registration_status import UNUSED, RegistrationStatus
from push_proxy.events.dead_letters import DeadLetters
from push_proxy.events.pace import Pace
from push_proxy.http.app import create_app
from push_proxy.http.backend import Readiness, ReadyState
from push_proxy.http.bootstrap import load_keys
from push_proxy.http.callers import Callers
from push_proxy.http.deps import HttpDeps
from push_proxy.ports import AppHealth, PushResult
from push_proxy.recorder.recording import RecordedMessage, Recording
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.live_feed import LiveFeed
from push_proxy.runtime.missed_book import MissedBook
from push_proxy.runtime.pbx_watch import PbxState
from push_proxy.runtime.survey import Survey
from push_proxy.runtime.verdict_counts import VerdictCounts
from push_proxy.runtime.wake_history import WakeHistory
from push_proxy.runtime.wake_latency import WakeLatencies
from push_proxy.settings_file import check
from push_proxy.store.memory import MemoryStore

TENANT = TenantId("acme")
TEXTS = load_texts(None)
KEYS = {
    "all": ("acme", ["accounts", "devices", "calls"]),
    "accounts": ("acme", ["accounts"]),
    "devices": ("acme", ["devices"]),
    "calls": ("acme", ["calls"]),
    "other": ("other", ["accounts", "devices", "calls"]),
}
ACCOUNT = {
    "aor": "sip:101@pbx.example.com",
    "registrar": "sip:pbx.example.com",
    "password": "secret-of-101",
}
DEVICE = {"provider": "webhook", "app_id": "com.example.phone", "token": "token-of-d1"}


class Clock:
    """Time that the test owns."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> Instant:
        return Instant(self.time)


class Registrations:
    """What the PBX said, as the test wants it."""

    def __init__(self) -> None:
        self.known: dict[AccountKey, RegistrationStatus] = {}

    def status(self, account: AccountKey) -> RegistrationStatus:
        return self.known.get(account, UNUSED)


class Wakes:
    """Records what apps report, and answers what the test wants."""

    def __init__(self) -> None:
        self.open = True
        self.told: list[tuple[Any, ...]] = []

    def report(
        self, call: CallId, device: DeviceId, event: AppEvent, detail: str, *, words: AppWords
    ) -> bool:
        self.told.append((call, device, event, detail))
        self.words = words
        return self.open

    def act(self, call: CallId, device: DeviceId, action: AppAction) -> bool:
        self.told.append((call, device, action))
        return self.open


class Outboxes:
    """Knows every webhook but ``gone``."""

    def __init__(self) -> None:
        self.woken: list[tuple[str, int]] = []

    def has(self, webhook: str) -> bool:
        return webhook != "gone"

    def wake(self, webhook: str, added: int) -> None:
        self.woken.append((webhook, added))


class LiveCalls(dict[CallId, CallRecord]):
    """Calls still in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: list[Any] = []

    def live(self, tenant: TenantId, *, limit: int) -> tuple[CallRecord, ...]:
        mine = [one for one in self.values() if one.account.startswith(f"{tenant}/")]
        return tuple(reversed(mine))[:limit]

    def watch(self, on_change: Any) -> None:
        self.watchers.append(on_change)


class Recordings(dict[CallId, Recording]):
    """The SIP of calls."""

    enabled = True

    def add(self, record: CallRecord) -> None:
        """One message."""
        peer, local = Address("192.0.2.10", 5060), Address("192.0.2.1", 5070)
        message = RecordedMessage(record.started_at, False, "pbx", peer, local, b"INVITE")
        self[record.id] = Recording(call=record.id, account=record.account, messages=(message,))

    async def find(self, record: CallRecord) -> Recording | None:
        return self.get(record.id)


class Api:
    """The app, everything behind it, and clients that hold a key."""

    def __init__(self, section: Mapping[str, Any], stack: AsyncExitStack) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.directory = Directory(self.store, self.clock)
        self.registrations = Registrations()
        self.wakes = Wakes()
        self.recordings = Recordings()
        self.calls = LiveCalls()
        self.live = LiveFeed(self.calls, self.clock)
        self.verdicts = VerdictCounts(self.clock)
        self.wake_latencies = WakeLatencies(self.clock)
        self.wake_history = WakeHistory(
            store=self.store,
            directory=self.directory,
            notices=Mock(),
            clock=self.clock,
            metrics=Mock(),
            latencies=self.wake_latencies,
        )
        self.health: tuple[tuple[str, AppHealth], ...] = ()
        self.readiness = Readiness(ReadyState.READY)
        self.served = {("webhook", "com.example.phone")}
        self.pushes: list[Push] = []
        self.push_result = PushResult(outcome=PushOutcome.ACCEPTED, reason="200")
        self.pbx_states: dict[AccountKey, PbxState] = {}
        self.listening: tuple[Address, ...] = (Address("0.0.0.0", 5070),)
        keys = [
            {
                "name": name,
                "tenant": tenant,
                "scopes": scopes,
                "key_sha256": hashlib.sha256(name.encode()).hexdigest(),
            }
            for name, (tenant, scopes) in KEYS.items()
        ]
        self.settings = check(
            {
                "sip": {"public_address": "push.example.com", "node_address": "192.0.2.1"},
                "http": {"api_keys": keys, **section},
                "pbxes": {
                    "office": {"registrar": "sip:pbx.example.com"},
                    "peered": {"peers": ["192.0.2.10"]},
                },
                "providers": {
                    "webhook": [{"app_id": "com.example.phone", "url": "http://127.0.0.1:9/"}]
                },
            }
        )
        self._stack = stack
        self.outboxes = Outboxes()
        self.letters = DeadLetters(
            self.store, clock=self.clock, pace=Pace(), meters=Mock(), outboxes=self.outboxes
        )

    async def start(self, *, load: bool = True) -> None:
        if load:
            await self.directory.load()
            self._stack.push_async_callback(self.directory.aclose)
        callers = Callers(self.directory)
        await load_keys(callers, self.settings, self.store, "first key")
        self.deps = HttpDeps(
            current_settings=lambda: self.settings,
            store=self.store,
            accounts=self.directory,
            clock=self.clock,
            callers=callers,
            registrations=self.registrations,
            calls=self.calls,
            wakes=self.wakes,
            elsewhere=Elsewhere(
                membership=Membership(
                    Membership.first_record("n1", Address("127.0.0.1", 5060), clock=self.clock),
                    store=None,
                    clock=self.clock,
                ),
                orders=None,
                store=self.store,
                calls=self.calls,  # type: ignore[arg-type]
                wakes=self.wakes,
                # Looked up late: a test breaks it.
                registration=lambda key: self.registrations.status(key),  # noqa: PLW0108
                owns=lambda _: True,
            ),
            readiness=lambda: self.readiness,
            metrics=lambda: b"push_proxy_build_info 1\n",
            serves=lambda provider, app: (provider, app) in self.served,
            mailbox=self.mailbox,
            missed_calls=MissedBook(self.store),
            recorder=self.recordings,
            wake_history=self.wake_history,
            wake_latencies=self.wake_latencies,
            sip_listening=lambda: self.listening,
            pbx_state=lambda account: self.pbx_states.get(account.key),
            push=self.push,
            dead_letters=self.letters,
            texts=lambda: TEXTS,
            live=self.live,
            verdicts=self.verdicts,
            survey=Survey(
                self.directory,
                registration=lambda key: self.registrations.status(key).state,
                pbx_state=lambda account: self.pbx_states.get(account.key),
                clock=self.clock,
            ),
            provider_health=lambda: self.health,
        )
        self.app = create_app(self.deps)
        self.client = await self.new_client()

    async def push(self, push: Push) -> PushResult:
        self.pushes.append(push)
        return self.push_result

    async def mailbox(self, key: AccountKey) -> Mailbox | None:
        return await self.store.get_mailbox(key)

    async def new_client(self, **options: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False, **options)
        client = httpx.AsyncClient(transport=transport, base_url="http://api.test")
        return await self._stack.enter_async_context(client)

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = "all", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        headers |= more.pop("headers", {})
        if isinstance(body, bytes):
            headers.setdefault("Content-Type", "text/plain")
            more["content"] = body
        elif body is not None:
            more["json"] = body
        return await self.client.request(method, path, headers=headers, **more)

    async def account(self, name: str = "101", **fields: Any) -> httpx.Response:
        body = {**ACCOUNT, "aor": f"sip:{name}@pbx.example.com", **fields}
        return await self.call("PUT", f"/v1/accounts/{name}", body)

    async def device(self, account: str = "101", name: str = "d1", **fields: Any) -> httpx.Response:
        body = {**DEVICE, "token": f"token of {account} {name}", **fields}
        return await self.call("PUT", f"/v1/accounts/{account}/devices/{name}", body)

    async def device_key(self, account: str = "101", name: str = "d1") -> str:
        made = await self.call("POST", f"/v1/accounts/{account}/devices/{name}/key")
        return str(made.json()["device_key"])

    def bind(self, device: str = "d1", **fields: Any) -> Binding:
        now = self.clock.now()
        binding = Binding(
            account=account_key(TENANT, AccountId("101")),
            device=DeviceId(device),
            contact="sip:101@192.0.2.50:5062",
            source=Address("192.0.2.50", 5062),
            local=Address("192.0.2.1", 5070),
            call_id="c1",
            cseq=1,
            expires_at=Instant(now + 300),
            heard_at=now,
        )
        binding = dataclasses.replace(binding, **fields)
        self.directory.put_binding(binding)
        return binding

    async def call_record(self, name: str = "call-1", **fields: Any) -> CallRecord:
        record = CallRecord(
            id=CallId(name),
            account=account_key(TENANT, AccountId("101")),
            direction=Direction.INCOMING,
            sip_call_id="abc@192.0.2.9",
            caller="+4144",
            started_at=self.clock.now(),
        )
        record = dataclasses.replace(record, **fields)
        await self.store.put_call(record)
        return record

    async def missed_call(self, name: str = "call-1", **fields: Any) -> MissedCall:
        missed = MissedCall(
            call=CallId(name),
            account=account_key(TENANT, AccountId("101")),
            sip_call_id="abc@192.0.2.9",
            caller="+4144",
            verdict=Verdict.NO_ANSWER,
            started_at=Instant(self.clock.now() - 20),
            missed_at=self.clock.now(),
        )
        missed = dataclasses.replace(missed, **fields)
        await self.store.put_missed_call(missed)
        return missed

    async def app_log(
        self, name: str = "log-1", content: bytes = b"a line\n", **fields: Any
    ) -> AppLog:
        """Of the device d1."""
        log = AppLog(id=name, at=self.clock.now(), size=len(content))
        log = dataclasses.replace(log, **fields)
        key = account_key(TENANT, AccountId("101"))
        await self.store.put_app_log(key, DeviceId("d1"), log, zlib.compress(content))
        return log

    async def dead_letter(
        self,
        name: str = "e1",
        *,
        account: str = "acme/101",
        webhook: str = "hook",
        died_at: float = 1_000_100.0,
    ) -> str:
        """Its id."""
        notice = Notice(
            type=NoticeType.DEVICE_MOVED,
            at=Instant(1_000_000.5),
            account=AccountKey(account),
            device=DeviceId("phone"),
            data={"to_account": "102", "id": "forged"},
        )
        event = QueuedEvent(
            id=name, notice=notice, queued_at=notice.at, attempts=4, last_error="http_404"
        )
        letter = DeadLetter(
            event=event, webhook=webhook, host="hooks.example", died_at=Instant(died_at)
        )
        await self.letters.bury(letter)
        return letter.id


@pytest.fixture
def http_section() -> dict[str, Any]:
    """The configuration's ``http`` section beside the keys."""
    return {"auth_failures_per_minute": 10_000}


@pytest.fixture
async def api(http_section: dict[str, Any]) -> AsyncIterator[Api]:
    async with AsyncExitStack() as stack:
        made = Api(http_section, stack)
        await made.start()
        yield made
