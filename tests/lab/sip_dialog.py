"""One side of an established dialog, RFC 3261 §12.2 and §14, one step per method call."""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import sdp
from .sip_agent import Address, SipAgent
from .sip_digest import Credentials, answer_challenge
from .sip_message import Header, Message, build, parse, uri_of

_HOSTPORT = re.compile(r"sips?:(?:[^@]*@)?(\d+\.\d+\.\d+\.\d+)(?::(\d+))?")
_TRANSPORT = re.compile(r";transport=(\w+)", re.IGNORECASE)


def address_of(uri: str) -> Address:
    """The IPv4 address and port that `uri` names. Raises ValueError for host names."""
    match = _HOSTPORT.match(uri)
    if match is None:
        raise ValueError(f"no IPv4 address in {uri!r}")
    return match[1], int(match[2] or (5061 if transport_of(uri) == "tls" else 5060))


def transport_of(uri: str) -> str:
    """`udp`, `tcp` or `tls`, as `uri` says it (RFC 3263 §4.1, without DNS)."""
    named = _TRANSPORT.search(uri)
    if uri.startswith("sips:"):
        return "tls"
    return named[1].lower() if named else "udp"


@dataclass(slots=True)
class Dialog:
    """One side's view of an established dialog; requests follow its Route set."""

    agent: SipAgent
    call_id: str
    local: str
    """Our From (or To) value with its tag."""
    remote: str
    remote_target: str
    routes: list[str]
    cseq: int
    credentials: Credentials | None = None

    @property
    def next_hop(self) -> Address:
        """Where its requests go: the first Route, else the remote target.

        Raises UnexpectedSipError when that names another transport than this side's.
        """
        uri = uri_of(self.routes[0]) if self.routes else self.remote_target
        if transport_of(uri) != self.agent.transport:
            raise self.agent.surprise(f"speaks {self.agent.transport}, and should send to {uri}")
        return address_of(uri)

    def build(
        self,
        method: str,
        *,
        body: bytes = b"",
        headers: tuple[Header, ...] = (),
        cseq: int | None = None,
    ) -> bytes:
        """An in-dialog request. Without `cseq` it takes the next number (ACK: give INVITE's)."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        common: list[Header] = [self.agent.via(), ("Max-Forwards", "70")]
        common += [("Route", route) for route in self.routes]
        common += [("From", self.local), ("To", self.remote), ("Call-ID", self.call_id)]
        common += [("CSeq", f"{cseq} {method}"), ("Contact", f"<{self.agent.uri('lab')}>")]
        if body and not any(name.lower() == "content-type" for name, _ in headers):
            common.append(sdp.CONTENT_TYPE)
        return build(f"{method} {self.remote_target} SIP/2.0", [*common, *headers], body)

    def send(self, method: str, *, body: bytes = b"", headers: tuple[Header, ...] = ()) -> Message:
        """Send an in-dialog request and do not wait; returns what was sent."""
        return parse(self.agent.send(self.build(method, body=body, headers=headers), self.next_hop))

    async def request(
        self,
        method: str,
        *,
        body: bytes = b"",
        headers: tuple[Header, ...] = (),
        within: float = 5.0,
    ) -> Message:
        """Send an in-dialog request and return its final response; 401 and 407 are answered."""
        data = self.build(method, body=body, headers=headers)
        response = await self.agent.request(data, self.next_hop, within=within)
        if response.status in (401, 407) and self.credentials is not None:
            answer = answer_challenge(
                response, self.credentials, method=method, uri=self.remote_target
            )
            data = self.build(method, body=body, headers=(*headers, answer))
            response = await self.agent.request(data, self.next_hop, within=within)
        return response

    async def reinvite(self, body: bytes, *, within: float = 5.0) -> Message:
        """re-INVITE with `body`; a 2xx is acknowledged. Returns the final response."""
        response = await self.request("INVITE", body=body, within=within)
        if 200 <= response.status < 300:
            self.ack(response)
        return response

    async def bye(self, *, within: float = 5.0) -> Message:
        """Hang up; returns the final response."""
        return await self.request("BYE", within=within)

    def ack(self, response: Message) -> None:
        """Acknowledge the 2xx `response`."""
        self.agent.send(self.build("ACK", cseq=response.cseq), self.next_hop)

    async def expect(self, method: str, *, within: float = 5.0) -> Message:
        """The other side's next request in this dialog; not answered yet."""
        return await self.agent.expect(method=method, call_id=self.call_id, within=within)

    async def expect_bye(self, *, within: float = 5.0) -> Message:
        """The other side hangs up; answered with 200."""
        bye = await self.expect("BYE", within=within)
        self.agent.respond(bye, 200, "OK")
        return bye

    async def expect_reinvite(self, answer: bytes, *, within: float = 5.0) -> Message:
        """The other side's re-INVITE, answered 200 with `answer`; waits for the ACK."""
        invite = await self.expect("INVITE", within=within)
        contact = ("Contact", f"<{self.agent.uri('lab')}>")
        self.agent.respond(invite, 200, "OK", headers=(contact, sdp.CONTENT_TYPE), body=answer)
        await self.expect("ACK", within=within)
        return invite
