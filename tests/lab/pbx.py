"""A scripted PBX: a strict digest registrar that can misbehave on command, and calls phones."""

from __future__ import annotations

import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from . import sdp
from .certificates import TlsIdentity
from .phone import Caller
from .ports import free_port
from .process import poll_until
from .sip_agent import Address, SipAgent, UnexpectedSipError
from .sip_call import OutgoingCall
from .sip_dialog import address_of
from .sip_digest import Credentials, challenge_value, digest_fields, is_right_answer
from .sip_message import Header, Message, parameter, uri_of


@dataclass(frozen=True, slots=True)
class Answer:
    """What the next REGISTER gets instead of the registrar's own judgement."""

    status: int
    reason: str = "Scripted"
    headers: tuple[Header, ...] = ()


SILENCE = Answer(0)


@dataclass(frozen=True, slots=True)
class Binding:
    """One registered contact; `contact` is the whole header value."""

    contact: str
    expires_at_s: float
    source: Address

    @property
    def uri(self) -> str:
        """The Contact URI."""
        return uri_of(self.contact)


@dataclass(frozen=True, slots=True)
class Registration:
    """One REGISTER that was received and the status that it got (0: silence)."""

    message: Message
    status: int


@dataclass(slots=True)
class Pbx:
    """Any user registers with the password `pw-<user>`. Use as an async context manager."""

    realm: str = "pbx.test"
    algorithms: tuple[str, ...] = ("MD5",)
    """One challenge each, in this order."""
    host: str = "127.0.0.1"
    max_expires_s: int = 3600
    min_expires_s: int = 1
    single_contact: bool = False
    registrations: list[Registration] = field(default_factory=list)
    bindings: dict[str, dict[str, Binding]] = field(default_factory=dict)
    """User to Contact URI to binding; tests may add foreign contacts and remove ours."""
    answers: deque[Answer] = field(default_factory=deque)
    """Taken one by one by the next REGISTERs, challenged or not."""
    always: Answer | None = None
    """Every REGISTER gets this while it is set."""
    transport: str = "udp"
    tls: TlsIdentity | None = None
    """What it shows and believes over TLS."""
    reuses_connection: bool = False
    """Calls go out on the connection that the phone registered on, as with Asterisk; else to
    where the Contact says."""
    agent: SipAgent = field(init=False)
    _nonces: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.agent = SipAgent("pbx", transport=self.transport, tls=self.tls)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    async def start(self, *, port: int = 0) -> None:
        """Bind the socket; give the old `port` to come back after `stop`."""
        self.agent.handlers = [self._take_register, self._take_options]
        await self.agent.open(host=self.host, port=port or free_port())

    def stop(self) -> None:
        """Lose the socket, keep the bindings (clear `bindings` for a PBX that forgets)."""
        self.agent.close()

    @property
    def domain(self) -> str:
        """Host and port for AORs: `sip:101@{domain}`."""
        return self.agent.hostport

    def aor(self, user: str) -> str:
        """The address of record of `user`."""
        return f"sip:{user}@{self.domain}"

    @property
    def uri(self) -> str:
        """It as a registrar in the service's configuration."""
        by = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{self.domain}{by}"

    @staticmethod
    def password(user: str) -> str:
        """The digest password of `user`."""
        return f"pw-{user}"

    def forget_nonces(self) -> None:
        """Every nonce handed out becomes stale."""
        self._nonces.clear()

    async def registered(self, user: str, *, within: float = 5.0) -> Binding:
        """A live binding of `user`, the newest one, now or within seconds."""
        if not await poll_until(lambda: bool(self._live(user)), within_s=within):
            raise self.agent.surprise(f"has no registration of {user} within {within} s")
        return self._live(user)[-1]

    async def unregistered(self, user: str, *, within: float = 5.0) -> None:
        """Waits until `user` has no live binding. Raises UnexpectedSipError."""
        if not await poll_until(lambda: not self._live(user), within_s=within):
            raise UnexpectedSipError(f"{user} is still registered: {self._live(user)}")

    async def registers(self, count: int, *, within: float = 5.0) -> list[Registration]:
        """Waits until at least `count` REGISTERs came, answered or not."""
        if not await poll_until(lambda: len(self.registrations) >= count, within_s=within):
            raise self.agent.surprise(f"got fewer than {count} REGISTERs within {within} s")
        return self.registrations

    def call(
        self,
        user: str,
        *,
        caller: str = "200",
        body: bytes = sdp.OFFER,
        headers: tuple[Header, ...] = (),
        next_hop: Address | None = None,
        call_id: str | None = None,
    ) -> OutgoingCall:
        """INVITE the newest contact of `user`, or as a trunk: `sip:<user>@<next_hop>`.

        The To is the AOR. Raises UnexpectedSipError when nothing is registered.
        """
        if next_hop is None:
            if not self._live(user):
                raise self.agent.surprise(f"has no registration of {user} to call")
            binding = self._live(user)[-1]
            request_uri = binding.uri
            next_hop = binding.source if self.reuses_connection else address_of(request_uri)
        else:
            by = "" if self.transport == "udp" else f";transport={self.transport}"
            request_uri = "sip:{}@{}:{}".format(user, *next_hop) + by
        return self.as_caller(caller).call(
            self.aor(user),
            body=body,
            headers=headers,
            request_uri=request_uri,
            next_hop=next_hop,
            call_id=call_id,
        )

    def as_caller(self, user: str = "200") -> Caller:
        """One of its other users, sending from the PBX's own socket."""
        caller = Caller(
            self.aor(user), proxy=self.agent.address, transport=self.transport, tls=self.tls
        )
        caller.agent = self.agent
        return caller

    async def options(self, user: str, *, within: float = 5.0) -> Message:
        """Qualify the newest contact of `user`: OPTIONS and its final response."""
        binding = await self.registered(user, within=within)
        uri = binding.uri
        caller = self.as_caller("qualify")
        caller.proxy = binding.source if self.reuses_connection else address_of(uri)
        return await caller.request("OPTIONS", uri, within=within)

    def _live(self, user: str) -> list[Binding]:
        now = time.monotonic()
        return [b for b in self.bindings.get(user, {}).values() if b.expires_at_s > now]

    def _take_options(self, message: Message) -> bool:
        if not message.is_request or message.method != "OPTIONS":
            return False
        self.agent.respond(message, 200, "OK", to_tag="pbx")
        return True

    def _take_register(self, message: Message) -> bool:
        if not message.is_request or message.method != "REGISTER":
            return False
        scripted = self.always or (self.answers.popleft() if self.answers else None)
        answer = scripted if scripted is not None else self._judge(message)
        self.registrations.append(Registration(message, answer.status))
        if answer is not SILENCE:
            self.agent.respond(
                message, answer.status, answer.reason, headers=answer.headers, to_tag="pbx"
            )
        return True

    def _judge(self, message: Message) -> Answer:
        user = uri_of(message.header("To")).removeprefix("sip:").partition("@")[0]
        credentials = message.get("Authorization")
        fields = digest_fields(credentials)
        known = Credentials(user, self.password(user))
        right = is_right_answer(credentials, known, method="REGISTER") and (
            fields["realm"] == self.realm
            and fields.get("algorithm", "MD5").upper() in self.algorithms
        )
        if not right or fields["nonce"] not in self._nonces:
            return self._challenge(stale=right)
        contacts = message.listed("Contact")
        refused = self._too_brief(message, contacts)
        if refused is not None:
            return refused
        self._bind(user, message, contacts)
        now = time.monotonic()
        listed = tuple(
            ("Contact", f"{bound.contact};expires={max(round(bound.expires_at_s - now), 0)}")
            for bound in self._live(user)
        )
        return Answer(200, "OK", listed)

    def _challenge(self, *, stale: bool) -> Answer:
        nonce = secrets.token_hex(12)
        self._nonces.add(nonce)
        values = [
            challenge_value(self.realm, nonce, algorithm=algorithm, stale=stale)
            for algorithm in self.algorithms
        ]
        return Answer(401, "Unauthorized", tuple(("WWW-Authenticate", value) for value in values))

    def _too_brief(self, message: Message, contacts: list[str]) -> Answer | None:
        wanted = [self._expires(message, contact) for contact in contacts]
        if any(0 < seconds < self.min_expires_s for seconds in wanted):
            headers = (("Min-Expires", str(self.min_expires_s)),)
            return Answer(423, "Interval Too Brief", headers)
        return None

    def _bind(self, user: str, message: Message, contacts: list[str]) -> None:
        bound = self.bindings.setdefault(user, {})
        for contact in contacts:
            seconds = self._expires(message, contact)
            if contact == "*":
                bound.clear()
            elif seconds == 0:
                bound.pop(uri_of(contact), None)
            else:
                if self.single_contact:
                    bound.clear()
                bare = contact.split(">")[0] + ">" if "<" in contact else f"<{contact}>"
                bound.pop(uri_of(contact), None)
                expires_at_s = time.monotonic() + min(seconds, self.max_expires_s)
                bound[uri_of(contact)] = Binding(bare, expires_at_s, message.source)

    def _expires(self, message: Message, contact: str) -> int:
        own = parameter(contact, "expires") if contact != "*" else ""
        return int(own or message.get("Expires") or self.max_expires_s)
