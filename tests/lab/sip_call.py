"""The two halves of a call until it is answered or refused, RFC 3261 §9, §13 and §17."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import sdp
from .sip_agent import Address, SipAgent, new_tag
from .sip_dialog import Dialog
from .sip_digest import Credentials, answer_challenge
from .sip_message import Header, Message, build, parse


@dataclass(slots=True)
class OutgoingCall:
    """The caller's half: one INVITE that was sent.

    With credentials the first 401 or 407 is answered at once, behind the test's back.
    """

    agent: SipAgent
    invite: Message
    next_hop: Address
    credentials: Credentials | None = None

    def __post_init__(self) -> None:
        if self.credentials is not None:
            self.agent.handlers.append(self._take_challenge)

    def send_again(self) -> None:
        """The same INVITE, byte for byte: a retransmission."""
        self.agent.send(self.invite.raw, self.next_hop)

    async def expect(self, status: int, *, within: float = 5.0) -> Message:
        """The response with `status` to this very INVITE (by branch). No ACK is sent."""
        return await self.agent.expect(within=within, where=lambda m: self._mine(m, status))

    async def final(self, *, within: float = 5.0, ack: bool = True) -> Message:
        """The final response; any other than 2xx is acknowledged unless `ack` is false."""
        response = await self.agent.expect(within=within, where=self._mine)
        if ack and response.status >= 300:
            self.ack_failure(response)
        return response

    def authenticate(self, response: Message) -> None:
        """Acknowledge a 401 or 407 and send the INVITE again with credentials.

        Raises ValueError without credentials or without a challenge that fits.
        """
        self.ack_failure(response)
        if self.credentials is None:
            raise ValueError(f"challenged, but the caller has no password:\n{response}")
        answer = answer_challenge(response, self.credentials, method="INVITE", uri=self.invite.uri)
        kept = [
            header for header in self.invite.headers
            if header[0] not in ("Via", "CSeq", "Content-Length", answer[0])
        ]  # fmt: skip
        cseq = ("CSeq", f"{self.invite.cseq + 1} INVITE")
        data = build(self.invite.start, [self.agent.via(), *kept, cseq, answer], self.invite.body)
        self.invite = parse(self.agent.send(data, self.next_hop))

    async def answered(self, *, within: float = 5.0, ack: bool = True) -> Dialog:
        """The dialog of the 2xx, acknowledged. Raises UnexpectedSipError for any other final."""
        response = await self.final(within=within)
        if response.status >= 300:
            raise self.agent.surprise(f"wanted 2xx, got {response.start!r}")
        dialog = self.dialog(response)
        if ack:
            dialog.ack(response)
        return dialog

    def dialog(self, response: Message) -> Dialog:
        """The (early) dialog that `response` makes; the Route set is Record-Route reversed."""
        return Dialog(
            agent=self.agent,
            call_id=response.call_id,
            local=response.header("From"),
            remote=response.header("To"),
            remote_target=response.contact_uri,
            routes=response.listed("Record-Route")[::-1],
            cseq=response.cseq,
            credentials=self.credentials,
        )

    def ack_failure(self, response: Message) -> None:
        """The ACK of a final response other than 2xx: same branch (RFC 3261 §17.1.1.3)."""
        self.agent.send(self._hop_by_hop("ACK", response.header("To")), self.next_hop)

    def send_cancel(self, *, headers: tuple[Header, ...] = ()) -> None:
        """Send CANCEL and do not wait."""
        data = self._hop_by_hop("CANCEL", self.invite.header("To"), headers)
        self.agent.send(data, self.next_hop)

    async def cancel(
        self, *, headers: tuple[Header, ...] = (), within: float = 5.0
    ) -> tuple[Message, Message]:
        """CANCEL; returns its final response and the INVITE's, which is acknowledged."""
        self.send_cancel(headers=headers)
        of_cancel = await self.agent.expect(
            within=within,
            where=lambda m: (
                not m.is_request and m.branch == self.invite.branch and m.cseq_method == "CANCEL"
            ),
        )
        return of_cancel, await self.final(within=within)

    def is_final(self, message: Message) -> bool:
        """Whether `message` is a final response to this very INVITE."""
        return self._mine(message)

    def _hop_by_hop(self, method: str, to: str, headers: tuple[Header, ...] = ()) -> bytes:
        same = [("Via", self.invite.header("Via")), ("Max-Forwards", "70")]
        same += [("Route", route) for route in self.invite.all("Route")]
        same += [("From", self.invite.header("From")), ("To", to)]
        same += [("Call-ID", self.invite.call_id), ("CSeq", f"{self.invite.cseq} {method}")]
        return build(f"{method} {self.invite.uri} SIP/2.0", [*same, *headers])

    def _mine(self, message: Message, status: int | None = None) -> bool:
        return (
            not message.is_request
            and message.branch == self.invite.branch
            and message.cseq_method == "INVITE"
            and (message.status == status if status is not None else message.status >= 200)
        )

    def _take_challenge(self, message: Message) -> bool:
        if not self._mine(message) or message.status not in (401, 407):
            return False
        self.agent.handlers.remove(self._take_challenge)
        self.authenticate(message)
        return True


@dataclass(slots=True)
class IncomingCall:
    """The callee's half: one INVITE that was received and what we answer."""

    agent: SipAgent
    invite: Message
    tag: str = field(default_factory=new_tag)
    user: str = "lab"
    contact_params: str = ""
    """URI parameters of its Contact, each with its `;`."""

    @property
    def contact(self) -> Header:
        """The Contact that goes into its responses."""
        return "Contact", f"<{self.agent.uri(self.user)}{self.contact_params}>"

    def trying(self) -> None:
        """100."""
        self.agent.respond(self.invite, 100, "Trying")

    def ring(
        self,
        status: int = 180,
        reason: str = "Ringing",
        *,
        headers: tuple[Header, ...] = (),
        body: bytes = b"",
    ) -> None:
        """A provisional answer with our To-tag; `body` is early media's SDP."""
        typed = (*headers, sdp.CONTENT_TYPE) if body else headers
        self._respond(status, reason, (self.contact, *typed), body)

    def accept(self, body: bytes = sdp.ANSWER, *, headers: tuple[Header, ...] = ()) -> None:
        """200 with `body`, without waiting for the ACK; call it again to repeat it."""
        self._respond(200, "OK", (self.contact, sdp.CONTENT_TYPE, *headers), body)

    async def answer(self, body: bytes = sdp.ANSWER, *, within: float = 5.0) -> Dialog:
        """200 with `body`, then the ACK; returns our side of the dialog."""
        self.accept(body)
        await self.expect_ack(within=within)
        return self.dialog()

    def dialog(self) -> Dialog:
        """Our side of the dialog; the Route set is Record-Route in order (RFC 3261 §12.1.1)."""
        to = self.invite.header("To")
        return Dialog(
            agent=self.agent,
            call_id=self.invite.call_id,
            local=to if self.invite.to_tag else f"{to};tag={self.tag}",
            remote=self.invite.header("From"),
            remote_target=self.invite.contact_uri,
            routes=self.invite.listed("Record-Route"),
            cseq=1,
        )

    def reject(self, status: int, reason: str, *, headers: tuple[Header, ...] = ()) -> None:
        """A final answer other than 2xx; follow with `expect_ack`."""
        self._respond(status, reason, headers, b"")

    async def expect_ack(self, *, within: float = 5.0) -> Message:
        """The ACK of our final answer."""
        call_id = self.invite.call_id
        return await self.agent.expect(method="ACK", call_id=call_id, within=within)

    async def expect_cancel(self, *, within: float = 5.0) -> Message:
        """CANCEL of this INVITE (same branch): answered 200, the INVITE 487, and its ACK taken."""
        cancel = await self.agent.expect(
            within=within,
            method="CANCEL",
            where=lambda m: m.branch == self.invite.branch,
        )
        self.agent.respond(cancel, 200, "OK", to_tag=self.tag)
        self.reject(487, "Request Terminated")
        await self.expect_ack(within=within)
        return cancel

    def _respond(self, status: int, reason: str, headers: tuple[Header, ...], body: bytes) -> None:
        self.agent.respond(self.invite, status, reason, headers=headers, body=body, to_tag=self.tag)
