"""Phones of a race: everything that happens to their INVITEs is done, and noted, at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab.phone import Phone
from tests.lab.sip_agent import SipAgent, new_call_id
from tests.lab.sip_call import IncomingCall
from tests.lab.sip_digest import answer_challenge
from tests.lab.sip_message import Header, Message

REASONS = {180: "Ringing", 183: "Session Progress", 486: "Busy Here", 603: "Decline"}


@dataclass(slots=True, eq=False)
class Ring:
    """One INVITE that a phone got, and what it said."""

    phone: RacePhone
    half: IncomingCall
    at: float
    said: int = 0
    """The newest status it has given; 0: nothing yet."""
    final_at: float = 0.0
    cancel: Message | None = None
    acks: int = 0
    byes: int = 0
    crosses: int = 0
    """If not 0: it gives this answer to the CANCEL instead of 487, as if it had been sooner."""

    @property
    def call_id(self) -> str:
        return self.half.invite.call_id

    @property
    def push_id(self) -> str:
        return self.half.invite.get("X-Push-ID")

    @property
    def answered(self) -> bool:
        return 200 <= self.said < 300

    @property
    def finished(self) -> bool:
        """Whether nobody can hear it ring any more; of one that was never heard nothing is due."""
        return self.said == 0 or (self.said >= 200 and self.acks > 0)

    def say(self, status: int, *, headers: tuple[Header, ...] = ()) -> bool:
        """Answer so, unless it is over or the phone asleep."""
        if self.said >= 200 or not self.phone.agent.is_open:
            return False
        self.said = status
        if status >= 200:
            self.final_at = time.monotonic()
        self._repeat(headers)
        return True

    def later(self, delay_s: float, status: int, *, headers: tuple[Header, ...] = ()) -> None:
        """Answer so after seconds."""
        loop = asyncio.get_running_loop()
        loop.call_later(delay_s, lambda: self.say(status, headers=headers))

    def _repeat(self, headers: tuple[Header, ...] = ()) -> None:
        if self.answered:
            self.half.accept(headers=headers)
        elif self.said >= 300:
            self.half.reject(self.said, REASONS.get(self.said, "No"), headers=headers)
        elif self.said > 100:
            self.half.ring(self.said, REASONS.get(self.said, "Progress"))
        else:
            self.half.trying()

    def take(self, message: Message, agent: SipAgent) -> None:
        """A request of this INVITE's transaction or dialog, on one of the phone's sockets."""
        match message.method:
            case "INVITE":
                if self.said:
                    self._repeat()
            case "ACK":
                self.acks += 1
            case "CANCEL":
                self.cancel = message
                agent.respond(message, 200, "OK", to_tag=self.half.tag)
                if self.said:  # else it says what it has to say first
                    self.say(self.crosses or 487)
            case "BYE":
                self.byes += 1
                agent.respond(message, 200, "OK")


Script = Callable[[Ring], None]


class RacePhone(Phone):
    """A phone with a script for what it does when it is rung.

    `load` gets a challenge beforehand, so that `fire` is one REGISTER at one moment.
    """

    device: str = ""
    left_at: float | None = None
    """When its connection was left behind, or died: what came on it is of no account."""
    script: Script
    rings: list[Ring]
    kin: list[RacePhone]
    """Itself, and the other sockets of the same phone."""
    challenge: Message | None = None
    fired: list[float]

    def begin(self, device: str, script: Script, others: list[RacePhone]) -> None:
        """Make it ready; its device is known by this name, and these are other sockets of it."""
        for other in others:
            other.kin.append(self)
        self.kin = [self, *others]
        self.device, self.script = device, script
        self.rings, self.fired = [], []
        self.nc = 0
        self.agent.handlers.insert(0, self._take)

    async def load(self) -> None:
        """Wake, and get a challenge."""
        await self.wake()
        data = self.register_request()
        self.challenge = await self.agent.request(data, self.proxy, within=10)
        assert self.challenge.status == 401, self.challenge
        self.nc = 0

    def armed(
        self, *, call_id: str | None = None, contact_params: str = "", expires_s: int = 60
    ) -> bytes:
        """An authenticated REGISTER, ready to be sent."""
        assert self.challenge is not None, "load() it first"
        assert self.credentials is not None
        self.nc += 1
        answer = answer_challenge(
            self.challenge,
            self.credentials,
            method="REGISTER",
            uri=f"sip:{self.domain}",
            nc=self.nc,
        )
        return self.register_request(
            headers=(answer,), call_id=call_id, contact_params=contact_params, expires_s=expires_s
        )

    def fire(self, data: bytes | None = None, *, fresh: bool = False, **fields: str) -> None:
        """Send an authenticated REGISTER now; `fresh` under a new Call-ID."""
        if data is None:
            call_id = new_call_id() if fresh else None
            data = self.armed(call_id=call_id, **fields)
        self.fired.append(time.monotonic())
        self.agent.send(data, self.proxy)

    @property
    def registered_at(self) -> float | None:
        """When its first REGISTER was answered 200."""
        return next((m.arrived_s for m in self.agent.received(method="REGISTER", status=200)), None)

    async def registered(self, *, within: float = 10.0) -> None:
        """Waits for a 200 to its REGISTER."""
        await self.agent.expect(method="REGISTER", status=200, within=within)

    def ringing(self, call_id: str | None = None) -> list[Ring]:
        """The INVITEs that it got (of one call)."""
        return [ring for ring in self.rings if call_id in (None, ring.call_id)]

    def _take(self, message: Message) -> bool:
        if not message.is_request or message.method not in {"INVITE", "ACK", "CANCEL", "BYE"}:
            return False
        known = self._ring_of(message)
        if known is not None:
            known.take(message, self.agent)
        elif message.method == "INVITE" and not message.uri.startswith(f"sip:{self.user}@"):
            # For the phone of an earlier run, whose port this one has been given.
            self.agent.respond(message, 404, "Not Found", to_tag="stranger")
        elif message.method == "INVITE":
            ring = Ring(
                self, IncomingCall(self.agent, message, user=self.user), at=message.arrived_s
            )
            self.rings.append(ring)
            self.script(ring)
        elif message.method == "CANCEL":
            self.agent.respond(message, 481, "Call/Transaction Does Not Exist")
        return True

    def _ring_of(self, message: Message) -> Ring | None:
        # A phone may have two sockets: requests of a dialog come to the newer one.
        for ring in (ring for phone in self.kin for ring in phone.rings):
            same = ring.half.invite.branch == message.branch
            in_dialog = message.to_tag == ring.half.tag and message.method in {"ACK", "BYE"}
            if same or in_dialog:
                return ring
        return None


@dataclass(frozen=True, slots=True)
class Rings:
    """A script: ring after seconds (None: never), then give the final answer (None: ring on)."""

    after_s: float | None = 0.0
    then: int | None = None
    then_s: float = 0.0
    headers: tuple[Header, ...] = field(default=())

    def __call__(self, ring: Ring) -> None:
        if self.after_s is not None:
            ring.later(self.after_s, 180)
        if self.then is not None:
            ring.later((self.after_s or 0.0) + self.then_s, self.then, headers=self.headers)
