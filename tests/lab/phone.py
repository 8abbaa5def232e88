"""Callers and phones that do exactly what a test tells them, on plain sockets."""

from __future__ import annotations

from typing import Self

from . import sdp
from .certificates import TlsIdentity
from .sip_agent import Address, SipAgent, new_call_id, new_tag
from .sip_call import IncomingCall, OutgoingCall
from .sip_digest import Credentials, answer_challenge
from .sip_message import Header, Message, build, parse
from .sip_stream import Connection

ANSWERS_TOO_MANY = 200


class Caller:
    """A user agent with one AOR and one next hop (its outbound proxy or PBX)."""

    def __init__(
        self,
        aor: str,
        *,
        proxy: Address,
        password: str | None = None,
        auth_user: str | None = None,
        host: str = "127.0.0.1",
        transport: str = "udp",
        tls: TlsIdentity | None = None,
    ) -> None:
        """`aor` such as `sip:101@pbx.test`; without `password` challenges are not answered.

        `host` is the loopback address that it sends from (127.0.0.2 and up: another machine).
        """
        self.aor = aor
        self.user = aor.removeprefix("sip:").partition("@")[0]
        self.domain = aor.partition("@")[2]
        self.proxy = proxy
        self.host = host
        self.credentials = Credentials(auth_user or self.user, password) if password else None
        self.agent = SipAgent(self.user, transport=transport, tls=tls)
        self._put_away = False

    async def __aenter__(self) -> Self:
        self._put_away = False
        await self.wake()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._put_away = True
        self.sleep()

    async def wake(self) -> None:
        """Get a socket, on a fresh port unless it is awake already.

        Raises RuntimeError after its ``async with``: a push that comes then wakes nobody.
        """
        if self._put_away:
            raise RuntimeError(f"{self.user} was put away")
        if not self.agent.is_open:
            await self.agent.open(host=self.host)
            if self._put_away:
                self.sleep()

    def sleep(self) -> None:
        """Lose the socket without a word to anybody."""
        self.agent.close()

    @property
    def contact(self) -> str:
        """Its Contact URI."""
        return self.agent.uri(self.user)

    def invite(
        self,
        to: str,
        *,
        body: bytes = sdp.OFFER,
        headers: tuple[Header, ...] = (),
        request_uri: str | None = None,
        from_value: str | None = None,
        call_id: str | None = None,
        branch: str | None = None,
    ) -> bytes:
        """The bytes of an INVITE to the URI `to`; every identity can be forged."""
        common: list[Header] = [
            self.agent.via(branch),
            ("Max-Forwards", "70"),
            ("From", from_value or f'"{self.user}" <{self.aor}>;tag={new_tag()}'),
            ("To", f"<{to}>"),
            ("Call-ID", call_id or new_call_id()),
            ("CSeq", "1 INVITE"),
            ("Contact", f"<{self.contact}>"),
        ]
        if body and not any(name.lower() == "content-type" for name, _ in headers):
            common.append(sdp.CONTENT_TYPE)
        return build(f"INVITE {request_uri or to} SIP/2.0", [*common, *headers], body)

    def call(
        self,
        to: str,
        *,
        body: bytes = sdp.OFFER,
        headers: tuple[Header, ...] = (),
        request_uri: str | None = None,
        from_value: str | None = None,
        next_hop: Address | None = None,
        call_id: str | None = None,
    ) -> OutgoingCall:
        """Send an INVITE to `to` by way of `next_hop` (default: its proxy)."""
        hop = next_hop or self.proxy
        data = self.invite(
            to,
            body=body,
            headers=headers,
            request_uri=request_uri,
            from_value=from_value,
            call_id=call_id,
        )
        return OutgoingCall(self.agent, parse(self.agent.send(data, hop)), hop, self.credentials)

    async def incoming(self, *, within: float = 5.0) -> IncomingCall:
        """The next INVITE."""
        invite = await self.agent.expect(method="INVITE", within=within)
        return IncomingCall(self.agent, invite, user=self.user)

    async def request(
        self,
        method: str,
        to: str,
        *,
        body: bytes = b"",
        headers: tuple[Header, ...] = (),
        within: float = 5.0,
    ) -> Message:
        """An out-of-dialog request such as OPTIONS or MESSAGE; its final response, unchallenged."""
        common: list[Header] = [
            self.agent.via(),
            ("Max-Forwards", "70"),
            ("From", f"<{self.aor}>;tag={new_tag()}"),
            ("To", f"<{to}>"),
            ("Call-ID", new_call_id()),
            ("CSeq", f"1 {method}"),
        ]
        data = build(f"{method} {to} SIP/2.0", [*common, *headers], body)
        return await self.agent.request(data, self.proxy, within=within)


class Phone(Caller):
    """A caller that also registers. Its registration's Call-ID lasts as long as the object."""

    def __init__(
        self,
        aor: str,
        *,
        proxy: Address,
        password: str | None = None,
        auth_user: str | None = None,
        host: str = "127.0.0.1",
        transport: str = "udp",
        tls: TlsIdentity | None = None,
        instance: str | None = None,
        answers_options: bool = True,
    ) -> None:
        """`instance` is the URN of `+sip.instance`, such as `urn:uuid:…`."""
        super().__init__(
            aor,
            proxy=proxy,
            password=password,
            auth_user=auth_user,
            host=host,
            transport=transport,
            tls=tls,
        )
        self.instance = instance
        self.registration_call_id = new_call_id()
        self.registration_cseq = 0
        self._from_tag = new_tag()
        if answers_options:
            self.agent.handlers.append(self._answer_options)

    def register_request(
        self,
        *,
        expires_s: int | None = 60,
        contact: str | None = None,
        contact_params: str = "",
        headers: tuple[Header, ...] = (),
        call_id: str | None = None,
        cseq: int | None = None,
    ) -> bytes:
        """The bytes of a REGISTER. `contact` is a whole header value; "" sends no Contact."""
        if cseq is None:
            self.registration_cseq += 1
            cseq = self.registration_cseq
        if contact is None:
            instance = f';+sip.instance="<{self.instance}>"' if self.instance else ""
            contact = f"<{self.contact}>{instance}{contact_params}"
        common: list[Header] = [
            self.agent.via(),
            ("Max-Forwards", "70"),
            ("From", f"<{self.aor}>;tag={self._from_tag}"),
            ("To", f"<{self.aor}>"),
            ("Call-ID", call_id or self.registration_call_id),
            ("CSeq", f"{cseq} REGISTER"),
        ]
        common += [("Contact", contact)] if contact else []
        common += [("Expires", str(expires_s))] if expires_s is not None else []
        return build(f"REGISTER sip:{self.domain} SIP/2.0", [*common, *headers])

    async def register(
        self,
        *,
        expires_s: int | None = 60,
        contact: str | None = None,
        contact_params: str = "",
        headers: tuple[Header, ...] = (),
        algorithm: str | None = None,
        within: float = 5.0,
    ) -> Message:
        """REGISTER, answering one challenge; the final response, whatever it is.

        It wakes a sleeping phone. `algorithm` picks one of several challenges.
        """
        await self.wake()
        data = self.register_request(
            expires_s=expires_s, contact=contact, contact_params=contact_params, headers=headers
        )
        response = await self.agent.request(data, self.proxy, within=within)
        if response.status in (401, 407) and self.credentials is not None:
            answer = answer_challenge(
                response,
                self.credentials,
                method="REGISTER",
                uri=f"sip:{self.domain}",
                algorithm=algorithm,
            )
            data = self.register_request(
                expires_s=expires_s,
                contact=contact,
                contact_params=contact_params,
                headers=(*headers, answer),
            )
            response = await self.agent.request(data, self.proxy, within=within)
        return response

    @property
    def flow(self) -> Connection:
        """The connection that it registered on. Raises UnexpectedSipError when it has none."""
        found = self.agent.stream.find(self.proxy)
        if found is None:
            raise self.agent.surprise(f"has no connection with {self.proxy}")
        return found

    def drop_flow(self) -> None:
        """Its connection ends with a RST; it will make another with its next request."""
        self.flow.drop()

    def freeze(self) -> None:
        """Its connection stays open, and nothing is read or sent on it any more."""
        self.flow.freeze()

    def close_window(self) -> None:
        """Its connection is stuck: it asks more than its end will ever take of the answers."""
        flow = self.flow
        flow.limit_buffers()
        ask = [
            build(
                f"OPTIONS sip:{self.proxy[0]} SIP/2.0",
                [
                    self.agent.via(),
                    ("From", f"<{self.aor}>;tag={self._from_tag}"),
                    ("To", f"<sip:{self.proxy[0]}>"),
                    ("Call-ID", new_call_id()),
                    ("CSeq", "1 OPTIONS"),
                    ("Max-Forwards", "70"),
                ],
            )
            for _ in range(ANSWERS_TOO_MANY)
        ]
        flow.pause_reading()
        flow.write(b"".join(ask))

    async def move(self, host: str) -> None:
        """It is at another address now, as from Wi-Fi to LTE; its connections stay behind, dead.

        Nobody is told: `register` does that.
        """
        self.host = host
        await self.agent.move(host)

    async def unregister(self, *, within: float = 5.0) -> Message:
        """REGISTER with Expires 0 for its own contact."""
        return await self.register(expires_s=0, within=within)

    def _answer_options(self, message: Message) -> bool:
        if not message.is_request or message.method != "OPTIONS":
            return False
        self.agent.respond(message, 200, "OK", to_tag=self._from_tag)
        return True
