"""A soak: random calls with random faults against the running service, each accounted for."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from push_proxy.demo.service import APP_ID
from push_proxy.errors import PushProxyError
from push_proxy.tasks import spawn
from tests.lab.ports import free_port
from tests.lab.service import LabService, ServiceOptions

from .faults import Faults, RedisProcess
from .kinds import GROUPS, draw
from .levels import Levels, compare, levels_of, quiet_levels_of
from .noise import Noise
from .pbx import BUSY_S, RESTING_S, Pbx
from .pbx import NAME as PBX
from .phones import Phone, TcpPhone, UdpPhone
from .played import Judgement, Played, draw_acts
from .provision import APPS, provision
from .pushes import PushReceiver

SWEEP_S = 0.25
DEADLINE_S = 100.0
"""After the last call: its deadlines, SIP's 32 s for each transaction and our own 40 s for its
end. Only against waiting for ever."""
_PBXS = 4
_SHOWN = 30
_WARMS_UP = 120 * 2**20
"""Memory of the first calls: transactions stay 32 s and the heap keeps the size of its peak."""
_GROWS = 24 * 2**20
"""Memory of all later ones: what is remembered of calls is bounded by number (10,000 each)."""
_REST_S = 0.5
_LATE_S = 3.2


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOptions:
    """What is asked of a soak."""

    seconds: float
    rate: float
    seed: int
    parts: int = 1
    """So many times: calls, then rest until everything is over, and a look at the levels."""
    fault_every_s: float = 12.0


@dataclass(slots=True)
class Report:
    """What came of it."""

    options: SoakOptions
    judgement: Judgement = field(default_factory=Judgement)
    levels: list[Levels] = field(default_factory=list)
    """At the start, and after each part."""
    calls: int = 0
    skipped: int = 0
    """Calls that found all accounts of their group in use."""
    troubles: int = 0
    faults: list[str] = field(default_factory=list)
    cpu_s: float = 0.0


class Soak:
    """One service with its store, PBX, phones and push receiver; all but the store in here."""

    def __init__(
        self, directory: Path, options: SoakOptions, say: Callable[[str], None] = print
    ) -> None:
        self.options = options
        self.say = say
        self.rng = random.Random(options.seed)
        self.calls: dict[bytes, Played] = {}
        self.phones: dict[str, Phone] = {}
        self.pbxs: list[Pbx] = []
        self.tokens: dict[str, int] = defaultdict(int)
        self.report_ = Report(options)
        self.groups: dict[str, list[str]] = {}
        self._idle: dict[str, deque[str]] = {}
        self._open: dict[str, Played] = {}
        self._number = 0
        self._busy_until: list[tuple[float, Played]] = []
        self._apis: set[asyncio.Task[None]] = set()
        self.redis = RedisProcess(directory / "redis")
        self.push_port = free_port()
        pbx_port = free_port()
        self._pbx_port = pbx_port
        self.service = LabService(
            directory,
            ServiceOptions(
                pbxes={
                    "soak": {
                        "registrar": f"sip:127.0.0.1:{pbx_port}",
                        "peers": ["127.0.0.1"],
                        "expires_s": 3600,
                        "qualify_s": 15,
                    }
                },
                listen=("udp", "tcp"),
                wake={
                    "deadline_s": 5,
                    "repush_after_s": 2,
                    "fresh_s": 0,
                    "late_invite_s": 0,
                    "together_s": 2,
                },
                extra={
                    "redis": {"url": self.redis.url},
                    "http": {"requests_per_second": 100_000},
                    "providers": {
                        "webhook": [
                            {"app_id": app, "url": f"http://127.0.0.1:{self.push_port}/"}
                            for app in (APP_ID, *APPS)
                        ]
                    },
                },
            ),
        )
        self.faults = Faults(
            self.rng,
            {
                "provider away": self._provider_away,
                "store frozen": self.redis.freeze,
                "store restarted": self.redis.restart,
                "pbx silent": self._pbx_silent,
            },
        )
        self.noise = Noise(self)
        self._receiver: asyncio.Server | None = None

    async def run(self) -> Report:
        """Everything, from the start of the processes to their end."""
        report = self.report_
        await self.redis.start()
        await self._open_receiver()
        try:
            await self.service.start()
            quiet = await quiet_levels_of(self.service, self.redis.url)
            await self._set_up()
            report.levels.append(await self._rested(0.0))
            self.say(f"start: {report.levels[-1].text()}")
            for part in range(self.options.parts):
                await self._part(self.options.seconds / self.options.parts)
                await self._look(part)
            self._compare(quiet)
        finally:
            await self.service.stop()
            await self._close_receiver()
            await self.redis.process.stop()
            for phone in self.phones.values():
                phone.close()
            for pbx in self.pbxs:
                pbx.close()
        report.troubles = len(self.faults.happened)
        report.faults += report.judgement.faults
        return report

    # what the ends ask

    def finished(self, call: Played) -> None:
        """See `end.World`."""
        if call.over:
            return
        now = time.monotonic()
        call.finish(now)
        late = call.kind.cancels == "waking" or call.kind.acts.declines_by_api
        self._busy_until.append((now + (_LATE_S if late else _REST_S), call))

    def rang(self, call: Played) -> None:
        """See `phones.World`."""
        if call.kind.cancels == "ringing":
            asyncio.get_running_loop().call_later(call.cancel_s, self._give_up, call)

    def deliver(self, push: Mapping[str, Any]) -> None:
        """See `pushes.World`."""
        phone = self.phones.get(f"{push['account']}/{push['device']}")
        call = self.calls.get(str(push["sip_call_id"]).encode())
        if phone is not None and call is not None:
            phone.pushed(call, push["call_id"])

    def report(self, call_id: str, name: str) -> None:
        """See `phones.World`."""
        device = name.partition("/")[2]
        self._api(
            "POST", f"/v1/calls/{call_id}/events", {"event": "push_received", "device": device}
        )

    def decline(self, call_id: str, name: str) -> None:
        """See `phones.World`."""
        device = name.partition("/")[2]
        self._api("POST", f"/v1/calls/{call_id}/actions", {"action": "decline", "device": device})

    def rotate(self, name: str) -> None:
        """See `phones.World`."""
        self.tokens[name] += 1
        self._api("PUT", *self.device(name))

    def device(self, name: str) -> tuple[str, dict[str, Any]]:
        """The path of a device and the body of its PUT, with its newest token."""
        user, _, device = name.partition("/")
        app = APPS[0] if user.startswith("troubled") else APP_ID
        body = {
            "provider": "webhook",
            "app_id": app,
            "token": f"t-{name}-{self.tokens[name]}",
            "instance_id": self.phones[name].instance,
        }
        return f"/v1/accounts/{user}/devices/{device}", body

    def idle_phone(self) -> str | None:
        """One of an account that is in no call."""
        group = self.rng.choice([name for name in self._idle if name not in {"empty", "stream"}])
        user = self.rng.choice(self._idle[group]) if self._idle[group] else None
        return None if user is None else f"{user}/d0"

    def _api(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        task = spawn(self._ask(method, path, body), name=f"{method} {path}")
        self._apis.add(task)
        task.add_done_callback(self._apis.discard)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        try:
            status, answer = await self.service.request(method, path, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.report_.faults.append(f"{method} {path}: {error!r}")
            return
        if status >= 500 and status != 503:
            self.report_.faults.append(f"{method} {path} was answered {status}: {answer}")

    # setting up

    async def _set_up(self) -> None:
        loop = asyncio.get_running_loop()
        for number in range(_PBXS):
            port = self._pbx_port if number == 0 else 0
            _, pbx = await loop.create_datagram_endpoint(
                lambda: Pbx(self, self.service.sip_address), local_addr=("127.0.0.1", port)
            )
            self.pbxs.append(pbx)
        for group, per_call in GROUPS.items():
            count = max(6, round(per_call * self.options.rate))
            names = [f"{group}{number}" for number in range(count)]
            self.groups[group] = names
            self._idle[group] = deque(names)
            devices = {"pair": 2, "together": 2, "empty": 0}.get(group, 1)
            for name in names:
                for device in range(devices):
                    await self._phone(f"{name}/d{device}", stream=group == "stream")
        await provision(self)
        await self._refresh_awake()
        deadline = time.monotonic() + 20
        while not self._all_ready():
            if time.monotonic() > deadline:
                raise PushProxyError("phones or accounts did not get registered before the calls")
            self._sweep(time.monotonic())
            await asyncio.sleep(SWEEP_S)

    async def _refresh_awake(self) -> None:
        """They do it again after minutes: in a long soak else while it rests, and each REGISTER
        is a transaction for 32 s.
        """
        for name, phone in self.phones.items():
            if name.startswith(("awake", "caller")):
                phone.register()
                await asyncio.sleep(0.01)

    def _all_ready(self) -> bool:
        awake = all(
            phone.registered_at
            for name, phone in self.phones.items()
            if name.startswith(("awake", "caller"))
        )
        return awake and all(user in self.pbxs[0].contacts for user in self._idle["held"])

    async def _phone(self, name: str, *, stream: bool) -> None:
        loop = asyncio.get_running_loop()
        if stream:
            self.phones[name] = TcpPhone(self, name, self.service.sip_address)
            return
        _, phone = await loop.create_datagram_endpoint(
            lambda: UdpPhone(self, name, self.service.sip_address), local_addr=("127.0.0.1", 0)
        )
        self.phones[name] = phone

    # calls

    async def _part(self, seconds: float) -> None:
        self.pbxs[0].grants_s = BUSY_S
        troubles = spawn(self.faults.run(every_s=self.options.fault_every_s), name="faults")
        noise = spawn(self.noise.run(), name="noise")
        began = time.monotonic()
        due = began
        while (now := time.monotonic()) < began + seconds:
            while due <= now:
                self._call()
                due += self.rng.expovariate(self.options.rate)
            self._sweep(now)
            await asyncio.sleep(min(SWEEP_S, max(0.0, due - time.monotonic())))
        self.pbxs[0].grants_s = RESTING_S
        for task in (troubles, noise):
            task.cancel()
        await asyncio.wait([troubles, noise])
        await self._mend()
        await self._refresh_awake()
        self.say(f"{self.report_.calls} calls placed, {len(self._open)} of them still open")

    def _call(self) -> None:
        kind = draw(self.rng)
        if not self._idle[kind.group]:
            self.report_.skipped += 1
            return
        user = self._idle[kind.group].popleft()
        self._place(kind, user)
        if kind.twice:
            asyncio.get_running_loop().call_later(0.05, self._place, kind, user)

    def _place(self, kind: Any, user: str) -> None:
        rng = self.rng
        self._number += 1
        acts = {f"{user}/d0": draw_acts(kind.acts, rng)}
        if kind.second is not None:
            acts[f"{user}/d1"] = draw_acts(kind.second, rng)
        acts[PBX] = draw_acts(kind.acts, rng)
        call = Played(
            kind=kind,
            user=user,
            call_id=f"soak-{self.options.seed}-{self._number}",
            acts=acts,
            # Before the earliest phone of the kinds that are cancelled while waking: 0.3 * 1.5 s.
            cancel_s=rng.uniform(0, 0.4) if kind.cancels == "waking" else rng.uniform(0, 0.2),
            talk_s=rng.uniform(0, 0.3),
        )
        self.calls[call.call_id.encode()] = call
        self._open[call.call_id] = call
        self.report_.calls += 1
        if kind.outgoing:
            phone = self.phones[f"{user}/d0"]
            phone.call_out(call)
            return
        pbx = self.pbxs[self._number % _PBXS]
        if kind.group == "held":
            pbx = self.pbxs[0]
        pbx.call(call)
        if kind.cancels == "waking":
            asyncio.get_running_loop().call_later(call.cancel_s, self._give_up, call)

    def _give_up(self, call: Played) -> None:
        for end in (*self.pbxs, *(self.phones[n] for n in call.acts if n != PBX)):
            end.give_up(call)

    def _sweep(self, now: float) -> None:
        for end in (*self.pbxs, *self.phones.values()):
            end.repeat(now)
        for call in self._open.values():
            for name in {ring.device for ring in call.rings.values()}:
                for end in self.pbxs if name == PBX else (self.phones[name],):
                    end.repeat_answers(call)
        waiting = []
        for due, call in self._busy_until:
            if due > now:
                waiting.append((due, call))
            else:
                self._release(call)
        self._busy_until = waiting

    def _release(self, call: Played) -> None:
        self._open.pop(call.call_id, None)
        if any(other.user == call.user for other in self._open.values()):
            return
        for name in call.acts:
            if name != PBX and name in self.phones:
                self.phones[name].forget(call)
        if call.kind.provider == "410":
            spawn(self._new_token(call), name=f"new token of {call.user}")
            return
        self._idle[call.kind.group].append(call.user)

    async def _new_token(self, call: Played) -> None:
        name = f"{call.user}/d0"
        self.tokens[name] += 1
        await self.insist("PUT", *self.device(name))
        self._idle[call.kind.group].append(call.user)

    async def insist(self, method: str, path: str, body: Any = None) -> Any:
        """As often as the store's absence makes it necessary."""
        while True:
            status, answer = await self.service.request(method, path, body)
            if status < 300:
                return answer
            if status != 503:
                raise PushProxyError(f"{method} {path} was answered {status}: {answer}")
            await asyncio.sleep(0.2)

    # faults

    async def _provider_away(self) -> None:
        await self._close_receiver()
        try:
            await asyncio.sleep(self.rng.uniform(1, 4))
        finally:
            await self._open_receiver()

    async def _pbx_silent(self) -> None:
        for pbx in self.pbxs:
            pbx.silent = True
        try:
            await asyncio.sleep(self.rng.uniform(1, 4))
        finally:
            for pbx in self.pbxs:
                pbx.silent = False

    async def _open_receiver(self) -> None:
        loop = asyncio.get_running_loop()
        self._receiver = await loop.create_server(
            lambda: PushReceiver(self), "127.0.0.1", self.push_port
        )

    async def _close_receiver(self) -> None:
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None
        for connection in list(PushReceiver.open):
            connection.abort()

    async def _mend(self) -> None:
        if not self.redis.process.running:
            await self.redis.start()
        if self._receiver is None:
            await self._open_receiver()
        await self.service.wait_ready()

    # afterwards

    async def _look(self, part: int) -> None:
        await self._judge()
        report = self.report_
        self.say(f"{report.calls} calls judged: {len(report.judgement.faults)} faults")
        for fault in report.judgement.faults[:_SHOWN]:
            self.say(f"  {fault}")
        report.levels.append(await self._rested(DEADLINE_S))
        self.say(f"part {part + 1}: {report.calls} calls; {report.levels[-1].text()}")

    async def _rested(self, within_s: float) -> Levels:
        """The levels as soon as nothing is left, or after so long."""
        deadline = time.monotonic() + within_s
        while True:
            text = str(await self.service.expect("GET", "/metrics"))
            busy = any(
                f'push_proxy_live{{kind="{kind}"}} 0.0' not in text
                for kind in ("sip_transactions", "ended_calls", "call_records")
            )
            if not busy or time.monotonic() >= deadline:
                return await levels_of(self.service, self.redis.url)
            self._sweep(time.monotonic())
            await asyncio.sleep(0.25)

    async def _judge(self) -> None:
        """Wait for the ends of all calls, then compare them with their records."""
        deadline = time.monotonic() + DEADLINE_S / 2
        while (self._open or self._apis) and time.monotonic() < deadline:
            self._sweep(time.monotonic())
            await asyncio.sleep(SWEEP_S)
        await asyncio.sleep(1.5)  # records are written within a second
        records: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        first = min((call.at for call in self.calls.values()), default=time.monotonic())
        since = datetime.fromtimestamp(time.time() - (time.monotonic() - first) - 1, UTC)
        stamp = since.isoformat(timespec="seconds").replace("+00:00", "Z")
        cursor = ""
        while True:
            query = f"/v1/calls?limit=500&since={stamp}" + (f"&cursor={cursor}" if cursor else "")
            page = await self.insist("GET", query)
            for record in page["calls"]:
                records[record["sip_call_id"]].append(record)
            if not (cursor := page["next_cursor"] or ""):
                break
        for call in self.calls.values():
            during = self.faults.during(call.at, call.over_at or time.monotonic())
            self.report_.judgement.judge(call, records.pop(call.call_id, []), during)
        self.report_.faults += [f"record of a call that nobody made: {name}" for name in records]
        self.calls.clear()
        self._open.clear()

    def _compare(self, quiet: Levels) -> None:
        report = self.report_
        # What the first part leaves is caches and the heap of its peak; the next ones add nothing.
        several = len(report.levels) > 2
        base = report.levels[1] if several else report.levels[0]
        report.faults += compare(
            base,
            report.levels[-1],
            quiet=quiet,
            calls=report.calls,
            phones=len(self.phones),
            allowance=_GROWS if several else _WARMS_UP,
        )
