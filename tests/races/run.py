"""One run of a race: an account of its own, its phones, its PBX, and what was drawn for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.lab.certificates import TlsIdentity
from tests.lab.phone import Caller
from tests.lab.process import ProcessError
from tests.lab.push_sink import Push, Reply
from tests.lab.service import LabService
from tests.lab.sip_agent import SipAgent, new_branch

from .calls import Attempt, Pbx
from .phones import RacePhone, Ring, Rings, Script

PASSWORD = "app"
REALM = "races.test"
PBX_HOST = "127.0.0.3"
"""Not the phones' host: who sends from where a phone was is taken for that phone."""
END_S = 20.0
"""How long a run may take to be over when its story has been told."""
_numbers = itertools.count(1)

Provider = Callable[[Push], Awaitable[Reply | None]]


@dataclass
class Run:
    """One play. Everything that is drawn is drawn from its seed."""

    service: LabService
    seed: int
    registrar: str
    """Its PBX, for what we ask of it by ourselves."""
    trust: TlsIdentity | None = None
    """Whom phones over TLS believe."""
    met: set[str] = field(default_factory=set)
    """Which sides of the race it saw."""
    phones: list[RacePhone] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    provider: Provider | None = None
    """How its pushes are answered, and what happens meanwhile; None: 200 at once."""
    devices: tuple[str, ...] = ()
    contact: str = ""
    """Where its PBX calls it; empty: as a trunk does."""
    late_invites: bool = False
    """Its phones show calls before any SIP: they may be sent an INVITE after the end."""
    begun_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.user = f"r{next(_numbers)}"
        self.pbx = Pbx(SipAgent(f"pbx of {self.user}"))
        self.arrival = asyncio.Event()

    # drawing

    def soon(self, most_s: float) -> float:
        """A delay; often none at all."""
        return 0.0 if self.draw.random() < 0.2 else self.draw.random() * most_s

    def near(self, moment_s: float, by_s: float = 0.008) -> float:
        """A delay about as long as this one, sometimes much shorter or longer."""
        wide = 8 if self.draw.random() < 0.3 else 1
        return max(0.0, moment_s + self.draw.uniform(-by_s, by_s) * wide)

    def maybe(self, chance: float = 0.5) -> bool:
        """Yes or no."""
        return self.draw.random() < chance

    # the world

    @property
    def account(self) -> str:
        return f"race-{self.user}"

    @property
    def aor(self) -> str:
        return f"sip:{self.user}@{REALM}"

    @property
    def attempts(self) -> list[Attempt]:
        """The calls to it."""
        return self.pbx.attempts

    @property
    def rings(self) -> list[Ring]:
        """The INVITEs that its phones got, in order."""
        return sorted((r for phone in self.phones for r in phone.rings), key=lambda ring: ring.at)

    async def open(self) -> None:
        """Its PBX gets a socket."""
        await self.pbx.agent.open(host=PBX_HOST)
        self.pbx.begin()

    async def put(self, *devices: str, wake: dict[str, Any] | None = None, **fields: Any) -> None:
        """The account, and devices that are woken by webhook."""
        body = {
            "topology": "trunk",
            "registrar": self.registrar,
            "app_auth": {"password": PASSWORD, "realm": REALM},
            "wake": wake or {},
        }
        body |= fields
        await patiently(lambda: self.service.put_account(self.account, self.aor, **body))
        self.devices = devices
        for device in devices:
            await self.put_device(device)
        self.begun_at = time.monotonic()

    async def put_device(self, device: str, **fields: Any) -> None:
        """(Again) one device."""
        fields["instance_id"] = self.instance(device)
        await patiently(lambda: self.service.put_device(self.account, device, **fields))

    def instance(self, device: str) -> str:
        """The device's `+sip.instance`."""
        return f"urn:x-race:{self.user}:{device}"

    async def phone(
        self,
        device: str = "a",
        script: Script | None = None,
        *,
        transport: str = "udp",
        host: str = "127.0.0.1",
    ) -> RacePhone:
        """A phone that has its challenge. Two of one device are one phone with two sockets."""
        phone = RacePhone(
            self.aor,
            proxy=self.service.sip_at(transport),
            password=PASSWORD,
            instance=self.instance(device),
            transport=transport,
            host=host,
            tls=self.trust if transport == "tls" else None,
        )
        others = [each for each in self.phones if each.device == device]
        phone.begin(device, script or Rings(), others)
        self.phones.append(phone)
        await phone.load()
        return phone

    def call_again(self, attempt: Attempt) -> Attempt:
        """The PBX sends the same INVITE in another transaction: another branch, all else alike."""
        old = attempt.half.invite.branch.encode()
        invite = attempt.half.invite.raw.replace(old, new_branch().encode())
        return self.pbx.attempt(invite, self.service.sip_address)

    def call(self, *, call_id: str | None = None, **fields: Any) -> Attempt:
        """The PBX calls the account."""
        caller = Caller(f"sip:200@{REALM}", proxy=self.service.sip_address)
        caller.agent = self.pbx.agent
        uri = self.contact or f"sip:{self.user}@127.0.0.1:{self.service.sip_port}"
        invite = caller.invite(self.aor, request_uri=uri, call_id=call_id, **fields)
        return self.pbx.attempt(invite, self.service.sip_address)

    async def pushed(self, push: Push) -> Reply | None:
        """A push for it has come."""
        self.pushes.append(push)
        self.arrival.set()
        return None if self.provider is None else await self.provider(push)

    def pushes_of(self, kind: str = "call", device: str | None = None) -> list[Push]:
        """Its pushes of this type (to this device)."""
        return [
            push
            for push in self.pushes
            if push.type == kind and device in (None, push.payload["device"])
        ]

    async def first_push(self, count: int = 1) -> None:
        """Waits for so many call pushes."""
        async with asyncio.timeout(10):
            while len(self.pushes_of()) < count:
                self.arrival.clear()
                await self.arrival.wait()

    def after(self, delay_s: float, act: Callable[[], object]) -> None:
        """`act` in so many seconds."""
        asyncio.get_running_loop().call_later(delay_s, act)

    async def until(
        self, condition: Callable[[], object], what: str, within: float = END_S
    ) -> None:
        """Waits for it. Raises AssertionError that says `what`."""
        end, pause_s = time.monotonic() + within, 0.005
        while not condition():
            assert time.monotonic() < end, f"never: {what}"
            # A hundred runs wait at once: whoever waits long asks seldom.
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.3, 0.25)

    async def over(self) -> None:
        """Waits until its calls have their end; those that were answered are hung up."""
        await self.until(lambda: all(a.status for a in self.attempts), "a final response")
        await self.until(lambda: all(ring.finished for ring in self.rings), "the end of a ring")
        for attempt in self.attempts:
            attempt.hang_up()
        await self.until(
            lambda: all(a.over for a in self.attempts if a.dialog is not None), "an answered BYE"
        )

    async def leave(self) -> None:
        """Nothing of it stays."""
        for attempt in self.attempts:
            if self.pbx.agent.is_open and not attempt.status:
                attempt.cancel()
        self.pbx.agent.close()
        for phone in self.phones:
            phone.sleep()
        await patiently(lambda: self.service.delete_account(self.account))

    @contextlib.contextmanager
    def explained(self, name: str) -> Iterator[None]:
        """A failure within it names the seed, and shows what went over the wire."""
        try:
            yield
        except BaseException as fault:
            fault.add_note(f"{name}: PUSH_PROXY_RACE_SEED={self.seed}")
            fault.add_note("\n".join(self.story()))
            raise

    def story(self) -> list[str]:
        """What went over the wire, in order."""
        lines: list[tuple[float, str]] = []
        agents = {id(a): a for a in (self.pbx.agent, *(phone.agent for phone in self.phones))}
        for agent in agents.values():
            name = agent.name
            for phone in self.phones:
                if phone.agent is agent:
                    name = f"phone {phone.device}/{self.phones.index(phone)}"
            lines += [(m.arrived_s, f"{name} << {_brief(m.start, m.raw)}") for m in agent.history]
            lines += [(at, f"{name} >> {_brief('', data)}") for at, data, _ in agent.sent]
        for push in self.pushes:
            shown = {k: push.payload.get(k) for k in ("type", "device", "call_id", "token")}
            lines.append((push.arrived_s, f"push {shown}"))
        return [f"{at - self.begun_at:8.4f} {text}" for at, text in sorted(lines)]


async def patiently(ask: Callable[[], Awaitable[object]]) -> None:
    """A busy machine may keep the store from answering in time: then ask again."""
    for left in range(20, -1, -1):
        try:
            await ask()
        except (ProcessError, AssertionError) as error:
            if "503" not in str(error) or not left:
                raise
            await asyncio.sleep(0.5)
        else:
            return


def _brief(start: str, raw: bytes) -> str:
    wanted = (b"cseq:", b"call-id:", b"reason:")
    found = [line for line in raw.split(b"\r\n") if line.lower().startswith(wanted)]
    branch = raw.partition(b"branch=")[2][:24].decode(errors="replace")
    start = start or raw.split(b"\r\n")[0].decode(errors="replace")
    return f"{start}  {b' '.join(found).decode(errors='replace')} {branch}"
