"""Calls at a steady rate to sleeping phones behind Kamailio, each accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from push_proxy.tasks import spawn
from tests.lab.cluster import Node
from tests.lab.phone import Caller, Phone
from tests.lab.process import poll_until
from tests.lab.sip_agent import UnexpectedSipError
from tests.lab.sip_call import IncomingCall

from .scene import REALM, Scene

FINAL_S = 40.0
"""A caller waits so long for a final response."""
REGISTER_S = 1.0
"""A phone waits so long for a node before it tries the next one."""
_TALK_S = 0.4


@dataclass(slots=True)
class Call:
    """One call: when, in whose hands, and what became of it."""

    user: str
    began_s: float
    """Monotonic clock, as all times here."""
    sip_call_id: str = ""
    node: str = ""
    """The node that pushed for it; empty: nobody did."""
    phone_at: str = ""
    """The node that the phone registered at last."""
    status: int = 0
    """The caller's final response; 0: none came."""
    decided_s: float = 0.0
    ended_s: float = 0.0
    branches: list[str] = field(default_factory=list)
    """Of the INVITEs that the phone saw for it, each once."""
    double: bool = False
    """Two of them were unfinished at the same time."""
    hung_up: bool = False
    """BYE and its 200 crossed."""

    @property
    def connected(self) -> bool:
        """The caller got 200."""
        return self.status == 200

    @property
    def said(self) -> str:
        """It, for people."""
        hands = f"by {self.node or '-'}, phone at {self.phone_at or '-'}"
        return f"{self.sip_call_id} to {self.user} {hands}"

    @property
    def took_s(self) -> float:
        """INVITE to final response."""
        return self.decided_s - self.began_s


class Line:
    """An account with its sleeping phone, and a desk phone that calls it."""

    def __init__(self, scene: Scene, number: int, rng: random.Random) -> None:
        self.user = str(1000 + number)
        self.account = f"line{number}"
        self._scene, self._rng = scene, rng
        pbx = scene.pbx
        self.caller = Caller(
            f"sip:desk{self.user}@{REALM}",
            proxy=pbx.address,
            password=pbx.password(f"desk{self.user}"),
            host=scene.address,
        )
        self.phone = Phone(
            self.aor,
            proxy=scene.nodes[0].sip_address,
            password=pbx.password(self.user),
            host=scene.address,
            instance=f"urn:x-chaos:{self.user}",
        )
        self.call: Call | None = None
        self._waking: asyncio.Task[None] | None = None

    @property
    def aor(self) -> str:
        """Its address of record."""
        return f"sip:{self.user}@{REALM}"

    async def place(self, call: Call) -> None:
        """One whole call, from INVITE to the 200 of BYE."""
        self.call = call
        await self.caller.wake()
        self.caller.agent.endure()
        try:
            outgoing = self.caller.call(self.aor)
            call.sip_call_id = outgoing.invite.call_id
            response = await outgoing.final(within=FINAL_S)
            call.status, call.decided_s = response.status, time.monotonic()
            if response.status < 300:
                dialog = outgoing.dialog(response)
                dialog.ack(response)
                await asyncio.sleep(_TALK_S)
                call.hung_up = (await dialog.bye(within=12)).status == 200
        except UnexpectedSipError:
            call.decided_s = call.decided_s or time.monotonic()
        finally:
            call.ended_s = time.monotonic()
            # A push that comes from now on wakes nobody: its socket would stay.
            self.call = None
            await self._sleep()
            self.caller.sleep()

    def pushed(self, node: str) -> None:
        """A call push for it came from this node."""
        call = self.call
        if call is None:
            return
        call.node = node
        if self._waking is None or self._waking.done():
            self._waking = spawn(self._wake(call), name=f"phone {self.user}")

    async def _wake(self, call: Call) -> None:
        """Register at any node that answers, and take the call."""
        await self.phone.wake()
        self.phone.agent.endure()
        nodes = self._rng.sample(self._scene.nodes, len(self._scene.nodes))
        while call.ended_s == 0.0:
            for node in nodes:
                if await self._registers_at(node):
                    call.phone_at = node.node
                    await self._take(call)
                    return

    async def _registers_at(self, node: Node) -> bool:
        self.phone.proxy = node.sip_address
        with contextlib.suppress(UnexpectedSipError):
            return (await self.phone.register(within=REGISTER_S)).status == 200
        return False

    async def _take(self, call: Call) -> None:
        """Ring and answer; a second INVITE while the first has no final response is a fault."""
        ringing: IncomingCall | None = None
        while call.ended_s == 0.0:
            try:
                incoming = await self.phone.incoming(within=1.0)
            except UnexpectedSipError:
                continue
            call.branches.append(incoming.invite.branch)
            call.double = call.double or ringing is not None
            ringing = incoming
            incoming.ring()
            await asyncio.sleep(0.1)
            incoming.accept()
            with contextlib.suppress(UnexpectedSipError):
                await incoming.expect_ack(within=20)
                ringing = None
                await incoming.dialog().expect_bye(within=30)

    async def _sleep(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.wait([self._waking])
            self._waking = None
        self.phone.sleep()


class Calls:
    """Many lines, called in turn at a rate."""

    def __init__(self, scene: Scene, *, lines: int, seed: int) -> None:
        self._scene = scene
        self._rng = random.Random(seed)
        self.lines = [Line(scene, number, self._rng) for number in range(lines)]
        self._by_account = {line.account: line for line in self.lines}
        self._idle = deque(self.lines)
        self.calls: list[Call] = []
        self.skipped = 0
        """Calls for which no line was free."""
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_address = {node.host: node.node for node in scene.nodes}
        self._runner: web.AppRunner | None = None

    async def set_up(self) -> None:
        """Accounts and devices; returns when all are registered at the PBX."""
        app = web.Application()
        app.router.add_post("/push", self._push)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._scene.address, self._scene.push_port).start()
        api = self._scene.nodes[0]
        for line in self.lines:
            password = self._scene.pbx.password(line.user)
            await api.put_account(line.account, line.aor, pbx="pbx", password=password)
            await api.put_device(
                line.account, token=f"t{line.user}", instance_id=line.phone.instance
            )
        wanted = len(self.lines)
        deadline = time.monotonic() + 30
        while await self._scene.pbx.binding_count() < wanted:
            assert time.monotonic() < deadline, "not all accounts were registered within 30 s"
            await asyncio.sleep(0.1)

    async def run(self, *, rate: float) -> None:
        """Calls at this rate until `stop`; returns when all of them have ended."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stopping:
            now = loop.time()
            while due <= now:
                self._begin()
                due += self._rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - loop.time()))
        await poll_until(lambda: not self._tasks, within_s=FINAL_S + 15)

    def stop(self) -> None:
        """No more calls."""
        self._stopping = True

    async def aclose(self) -> None:
        """End what goes on, and the push receiver."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._runner is not None:
            await self._runner.cleanup()

    def _begin(self) -> None:
        if not self._idle:
            self.skipped += 1
            return
        line = self._idle.popleft()
        call = Call(line.user, time.monotonic())
        self.calls.append(call)
        task = spawn(line.place(call), name=f"call to {line.user}")
        self._tasks.add(task)
        task.add_done_callback(self._done(line))

    def _done(self, line: Line) -> Callable[[asyncio.Task[None]], None]:
        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._idle.append(line)

        return over

    async def _push(self, request: web.Request) -> web.Response:
        payload = await request.json()
        line = self._by_account.get(payload.get("account", ""))
        if line is not None and payload.get("type") == "call":
            line.pushed(self._by_address.get(request.remote or "", request.remote or ""))
        return web.Response()
