"""What the tests with Asterisk share: two PBXs, the service, extensions of several kinds."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.lab import asterisk as lab
from tests.lab.asterisk import Asterisk, Packet
from tests.lab.baresip import Baresip
from tests.lab.certificates import TlsIdentity
from tests.lab.fixtures import MakeBaresip, MakePjsua2
from tests.lab.phone import Caller, Phone
from tests.lab.pjsua2 import Pjsua2
from tests.lab.push_sink import Push, PushSink
from tests.lab.service import LabService, Record
from tests.lab.sip_agent import new_call_id, new_tag
from tests.lab.sip_digest import answer_challenge
from tests.lab.sip_message import Header, Message, build

REALM = "pbx.test"
TRANSPORTS = ("udp", "tcp", "tls")

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "qualified": {"qualify_s": 1, "qualify_timeout_s": 0.5},
    "single": {"max_contacts": 1},
    "replacing": {"max_contacts": 1, "remove_existing": True},
    "rewriting": {"rewrite_contact": True, "qualify_s": 5},
    "mailbox": {"mailbox": "unsolicited"},
    "subscribed-mailbox": {"mailbox": "subscribers"},
    "reliable": {"rel100": "required"},
    "brief": {"min_expires_s": 1, "max_expires_s": 4},
    "brief-single": {"min_expires_s": 1, "max_expires_s": 4, "max_contacts": 1},
    "brief-replacing": {
        "min_expires_s": 1,
        "max_expires_s": 4,
        "max_contacts": 1,
        "remove_existing": True,
    },
    "direct": {"direct_media": True},
}
"""Kinds of extensions; every kind has numbers of its own, plain ones 1XX."""
TRUNK_USERS = "_9XX"


def numbers(kind: str) -> range:
    """The extensions of a kind."""
    place = list(KINDS).index(kind)
    return range(100, 200) if place == 0 else range(190 + 10 * place, 200 + 10 * place)


def extensions() -> tuple[lab.Extension, ...]:
    """All of them, as options of Asterisk."""
    return tuple(
        lab.Extension(str(number), **options)
        for kind, options in KINDS.items()
        for number in numbers(kind)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all tests of a worker share."""

    service: LabService
    hold: Asterisk
    """The service registers here, over each transport."""
    trunks: dict[str, Asterisk]
    """By transport: their calls to 9XX go to the service as a peer."""
    phones_believe: TlsIdentity
    """For phones over TLS."""

    def pbx(self, topology: str, by: str = "udp") -> Asterisk:
        """The PBX of that topology."""
        return self.hold if topology == "hold" else self.trunks[by]


@dataclass(slots=True, kw_only=True)
class Sleeper:
    """An extension of Asterisk whose phone has us for registrar, and sleeps."""

    service: LabService
    pbx: Asterisk
    sink: PushSink
    user: str
    topology: str = "hold"
    believes: TlsIdentity | None = None

    @property
    def aor(self) -> str:
        """Its address of record."""
        return f"sip:{self.user}@{REALM}"

    @property
    def account(self) -> str:
        """Its name in the API."""
        return f"ext-{self.user}"

    @property
    def password(self) -> str:
        """What its phone proves to us."""
        return self.pbx.password(self.user)

    async def provision(self, pbx: str, **fields: Any) -> None:
        """Make account and device, and wait until the PBX can call us."""
        body: dict[str, Any] = {"topology": self.topology, "pbx": pbx}
        if self.topology == "hold":
            body["password"] = self.password
        # baresip 1.0 gives up as soon as it is offered SHA-256, so it is offered MD5 alone.
        ha1 = hashlib.md5(f"{self.user}:{REALM}:{self.password}".encode()).hexdigest()
        body["app_auth"] = {"user": self.user, "realm": REALM, "ha1": {"MD5": ha1}}
        await self.service.put_account(self.account, self.aor, **{**body, **fields})
        await self.service.put_device(self.account)
        if self.topology == "hold":
            await self.service.is_registered(self.account)

    def phone(self, transport: str = "udp", **fields: Any) -> Phone:
        """A phone of plain sockets."""
        return self.service.phone(
            self.aor, password=self.password, transport=transport, tls=self.believes, **fields
        )

    def baresip(
        self, make: MakeBaresip, *, auto_answer: bool = True, transport: str = "udp"
    ) -> Baresip:
        """A real one, asleep. Its domain is our address: it would look up any other by DNS."""
        return make(
            self.user,
            domain="{}:{}".format(*self.service.sip_at(transport)),
            proxy=self.service.sip_at(transport),
            password=self.password,
            auto_answer=auto_answer,
            transport=transport,
        )

    def pjsua2(self, make: MakePjsua2, *, transport: str = "udp") -> Pjsua2:
        """The simulated phone, asleep."""
        return make(
            self.user,
            domain=REALM,
            proxy=self.service.sip_at(transport),
            password=self.password,
            transport=transport,
            ca=self.believes.ca if self.believes is not None else None,
        )

    def wake_on_push(self, wake: Callable[[], Awaitable[Any]]) -> None:
        """The first call push for it does `wake` before the push is answered."""
        left = [wake]
        before = self.sink.hook

        async def hook(push: Push) -> None:
            if push.type == "call" and push.payload["account"] == self.account:
                if left:
                    await left.pop()()
            elif before is not None:
                await before(push)

        self.sink.hook = hook

    async def record(self, **fields: Any) -> Record:
        """The newest call's record, once it has ended."""
        return await self.service.call_record(account=self.account, **fields)


async def alone(
    caller: Caller, method: str, to: str, *, headers: tuple[Header, ...] = (), body: bytes = b""
) -> Message:
    """A request outside any dialog; its final response, one challenge answered."""
    common = (
        ("Max-Forwards", "70"),
        ("From", f"<{caller.aor}>;tag={new_tag()}"),
        ("To", f"<{to}>"),
        ("Call-ID", new_call_id()),
        ("Contact", f"<{caller.contact}>"),
        *headers,
    )
    start = f"{method} {to} SIP/2.0"

    async def send(cseq: int, *more: Header) -> Message:
        lines = [caller.agent.via(), *common, ("CSeq", f"{cseq} {method}"), *more]
        return await caller.agent.request(build(start, lines, body), caller.proxy)

    response = await send(1)
    if response.status in (401, 407) and caller.credentials is not None:
        answer = answer_challenge(response, caller.credentials, method=method, uri=to)
        response = await send(2, answer)
    return response


def desk(pbx: Asterisk, user: str, **fields: Any) -> Phone:
    """A phone that registers at Asterisk itself, awake."""
    return Phone(f"sip:{user}@{REALM}", proxy=pbx.address, password=pbx.password(user), **fields)


def desk_caller(pbx: Asterisk, user: str, **fields: Any) -> Caller:
    """Somebody at the PBX who only calls."""
    return Caller(f"sip:{user}@{REALM}", proxy=pbx.address, password=pbx.password(user), **fields)


def sent(method: str, call_id: str | None = None) -> Callable[[Packet], bool]:
    """Whether a packet is a request that Asterisk sent."""
    return lambda packet: (
        packet.sent
        and packet.message.is_request
        and packet.message.method == method
        and call_id in (None, packet.message.call_id)
    )
