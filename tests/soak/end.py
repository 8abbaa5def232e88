"""One end of calls, PBX or phone: places calls and takes them, and repeats what goes unanswered."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Protocol

from .kinds import Acts
from .played import Played, Ring
from .wire import SDP, branch_of, headers, number, request, value

REPEAT_S = 0.5
_REINVITE = b"5 "


class World(Protocol):
    """What the ends ask of the soak."""

    calls: dict[bytes, Played]

    def finished(self, call: Played) -> None:
        """The calling side has seen the end of it."""

    def rang(self, call: Played) -> None:
        """The called side rings."""


@dataclass(slots=True)
class Leg:
    """A call that was placed here."""

    call: Played
    uri: str
    identity: bytes
    invite: bytes
    branch: str
    cseq: int = 1
    heard: bool = False
    ok: bytes = b""
    bye: bytes = b""
    cancel: bytes = b""
    sent_at: float = field(default_factory=time.monotonic)


class End(ABC):
    """A socket toward the service, whatever its transport."""

    transport_name = "UDP"

    def __init__(self, world: World, name: str, service: tuple[str, int]) -> None:
        self.world = world
        self.name = name
        self.service = service
        self.tag = name.replace("/", "-").encode()
        self.port = 0
        self.flow = 0
        self.legs: dict[bytes, Leg] = {}

    @abstractmethod
    def send(self, message: bytes) -> None:
        """To the service."""

    @abstractmethod
    def close(self) -> None:
        """Its socket or connection."""

    def acts(self, call: Played) -> Acts:
        """What this end does when it is called."""
        return call.acts[self.name]

    def credentials(self, challenge: bytes, leg: Leg) -> str | None:  # noqa: ARG002
        """The answer to a challenge of an INVITE; None: there is none."""
        return None

    def rang(self, call: Played) -> None:
        """This end rings: the caller may have waited for it."""
        self.world.rang(call)

    @property
    def via(self) -> str:
        """Its Via, without parameters."""
        return f"{self.transport_name} 127.0.0.1:{self.port}"

    @property
    def contact(self) -> str:
        """Its own URI."""
        stream = "" if self.transport_name == "UDP" else ";transport=tcp"
        return f"sip:{self.name.partition('/')[0]}@127.0.0.1:{self.port}{stream}"

    # placing calls

    def place(self, call: Played, uri: str, identity: bytes) -> None:
        """Send the INVITE."""
        branch = f"z9hG4bK-i{number()}"
        invite = self._request("INVITE", uri, branch, identity, 1, SDP)
        self.legs[call.call_id.encode()] = Leg(call, uri, identity, invite, branch)
        for _ in range(1 + call.kind.repeats):
            self.send(invite)

    def give_up(self, call: Played) -> None:
        """CANCEL, unless it is decided."""
        leg = self.legs.get(call.call_id.encode())
        if leg is None or call.finals or leg.cancel:
            return
        leg.cancel = request(
            "CANCEL",
            leg.uri,
            via=self.via,
            branch=leg.branch,
            identity=leg.identity,
            cseq=leg.cseq,
        )
        if leg.heard:
            self.send(leg.cancel)

    def _answered(self, message: bytes, status: int) -> None:
        leg = self.legs.get(value(message, b"Call-ID"))
        if leg is None:
            return
        method = value(message, b"CSeq").partition(b" ")[2]
        if method == b"INVITE" and value(message, b"CSeq").startswith(_REINVITE):
            self._reinvited(leg, status)
        elif method == b"INVITE":
            self._invite_answered(leg, message, status)
        elif method == b"BYE" and status >= 200:
            self._over(leg)

    def _invite_answered(self, leg: Leg, message: bytes, status: int) -> None:
        if branch_of(message) != leg.branch.encode():
            return  # of the INVITE before its challenge, repeated
        if status < 200:
            if leg.cancel and not leg.heard:
                self.send(leg.cancel)
            leg.heard = True
            return
        if status < 300:
            self._accepted(leg, message, status)
            return
        tag = headers(message, b"To")
        identity = headers(leg.identity + b"\r\n\r\n", b"From", b"Call-ID") + tag
        self.send(
            request(
                "ACK", leg.uri, via=self.via, branch=leg.branch, identity=identity, cseq=leg.cseq
            )
        )
        if (
            status == 407
            and leg.cseq == 1
            and (proof := self.credentials(message, leg)) is not None
        ):
            leg.branch = f"z9hG4bK-i{number()}"
            extra = f"Proxy-Authorization: {proof}\r\n"
            leg.cseq = 2
            leg.invite = self._request("INVITE", leg.uri, leg.branch, leg.identity, 2, SDP, extra)
            leg.heard = False
            self.send(leg.invite)
            return
        leg.call.final(status, time.monotonic())
        self._over(leg)

    def _accepted(self, leg: Leg, message: bytes, status: int) -> None:
        first = leg.call.final(status, time.monotonic())
        leg.ok = message
        self.send(self._in_dialog(leg, "ACK", leg.cseq))
        if not first:
            return
        loop = asyncio.get_running_loop()
        if leg.call.kind.reinvites:
            self.send(self._in_dialog(leg, "INVITE", 5, SDP))
        elif not leg.call.kind.device_hangs_up or leg.cancel:
            loop.call_later(leg.call.talk_s, self._hang_up, leg)

    def _reinvited(self, leg: Leg, status: int) -> None:
        if status < 200 or leg.bye:
            return
        if status >= 300:
            leg.call.faults.append(f"re-INVITE answered {status}")
        self.send(self._in_dialog(leg, "ACK", 5))
        asyncio.get_running_loop().call_later(leg.call.talk_s, self._hang_up, leg)

    def _hang_up(self, leg: Leg) -> None:
        if not leg.bye:
            leg.bye = self._in_dialog(leg, "BYE", 9)
            self.send(leg.bye)

    def _over(self, leg: Leg) -> None:
        if self.legs.pop(leg.call.call_id.encode(), None) is not None:
            self.world.finished(leg.call)

    def _in_dialog(self, leg: Leg, method: str, cseq: int, body: bytes = b"") -> bytes:
        ok = leg.ok
        target = value(ok, b"Contact").partition(b"<")[2].partition(b">")[0].decode()
        routes = [
            line.partition(b": ")[2].decode()
            for line in headers(ok, b"Record-Route").split(b"\r\n")
            if line
        ]
        # More than one only where the transport changes; a UAC takes them backwards.
        extra = "".join(f"Route: {route}\r\n" for route in reversed(routes))
        extra += f"Contact: <{self.contact}>\r\n" if body else ""
        identity = headers(ok, b"From", b"To", b"Call-ID")
        branch = f"z9hG4bK-d{number()}"
        return request(
            method, target, via=self.via, branch=branch, identity=identity, cseq=cseq,
            extra=extra, body=body,
        )  # fmt: skip

    def _request(
        self, method: str, uri: str, branch: str, identity: bytes, cseq: int, body: bytes,
        extra: str = "",
    ) -> bytes:  # fmt: skip
        extra += f"Contact: <{self.contact}>\r\n"
        return request(
            method, uri, via=self.via, branch=branch, identity=identity, cseq=cseq, extra=extra,
            body=body,
        )  # fmt: skip

    # taking calls

    def take(self, message: bytes) -> None:
        """A message from the service."""
        if message.startswith(b"SIP/2.0 "):
            self._answered(message, int(message[8:11]))
        elif message.startswith(b"INVITE "):
            self._invited(message)
        elif message.startswith(b"CANCEL "):
            self._cancelled(message)
        elif message.startswith(b"ACK "):
            self._acked(message)
        elif message.startswith(b"BYE "):
            self._ended(message)
        else:
            self.reply(message, b"200 OK")

    def reply(self, message: bytes, status: bytes, extra: bytes = b"", body: bytes = b"") -> bytes:
        """Answer a request; returns what was sent."""
        to = value(message, b"To")
        tagged = to if b";tag=" in to else to + b";tag=" + self.tag
        content = b"Content-Type: application/sdp\r\n" if body else b""
        answer = (
            b"SIP/2.0 " + status + b"\r\n"
            + headers(message, b"Via", b"Record-Route", b"From", b"Call-ID", b"CSeq")
            + b"To: " + tagged + b"\r\n" + extra + content
            + b"Content-Length: %d\r\n\r\n" % len(body) + body
        )  # fmt: skip
        self.send(answer)
        return answer

    def _contact_line(self) -> bytes:
        return f"Contact: <{self.contact}>\r\n".encode()

    def _invited(self, message: bytes) -> None:
        call = self.world.calls.get(value(message, b"Call-ID"))
        if call is None:
            self.reply(message, b"404 Not Found")
            return
        if b";tag=" in value(message, b"To"):
            self.reply(message, b"200 OK", self._contact_line(), SDP)
            return
        branch = branch_of(message)
        known = call.rings.get(branch)
        if known is not None:
            if known.answer:
                self.send(known.answer)
            return
        ring = Ring(self.name, time.monotonic(), message, self.flow)
        call.ring(branch, ring)
        self._ring(call, ring)

    def _ring(self, call: Played, ring: Ring) -> None:
        acts = self.acts(call)
        ring.answer = self.reply(ring.request, b"180 Ringing", self._contact_line())
        self.rang(call)
        if acts.final is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(acts.rings_s, self._decide, ring, acts.final)

    def _decide(self, ring: Ring, status: int) -> None:
        if ring.over or ring.flow != self.flow:
            return
        ring.over = True
        if status != 200:
            ring.answer = self.reply(ring.request, b"%d Refused" % status)
            return
        ring.answer = self.reply(ring.request, b"200 OK", self._contact_line(), SDP)

    def _hang_up_ring(self, ring: Ring) -> None:
        message = ring.request
        routes = headers(message, b"Record-Route").replace(b"Record-Route: ", b"Route: ").decode()
        target = value(message, b"Contact").strip(b"<>").decode()
        identity = (
            b"From: " + value(message, b"To") + b";tag=" + self.tag + b"\r\n"
            b"To: " + value(message, b"From") + b"\r\n" + headers(message, b"Call-ID")
        )  # fmt: skip
        branch = f"z9hG4bK-h{number()}"
        self.send(
            request(
                "BYE", target, via=self.via, branch=branch, identity=identity, cseq=1, extra=routes
            )
        )

    def _cancelled(self, message: bytes) -> None:
        self.reply(message, b"200 OK")
        call = self.world.calls.get(value(message, b"Call-ID"))
        ring = call.rings.get(branch_of(message)) if call is not None else None
        if ring is not None and not ring.over:
            ring.over = True
            ring.answer = self.reply(ring.request, b"487 Request Terminated")

    def _acked(self, message: bytes) -> None:
        call = self.world.calls.get(value(message, b"Call-ID"))
        if call is not None:
            for ring in call.rings.values():
                if ring.device == self.name and ring.over and not ring.acked:
                    ring.acked = True
                    # Not before the ACK (RFC 3261 §15).
                    if call.kind.device_hangs_up and ring.answer.startswith(b"SIP/2.0 200"):
                        asyncio.get_running_loop().call_later(call.talk_s, self._hang_up_ring, ring)

    def _ended(self, message: bytes) -> None:
        self.reply(message, b"200 OK")
        leg = self.legs.get(value(message, b"Call-ID"))
        if leg is not None:
            self._over(leg)

    # what got lost

    def repeat(self, now: float) -> None:
        """Send again what should have been answered by now."""
        for leg in list(self.legs.values()):
            if now - leg.sent_at < REPEAT_S:
                continue
            leg.sent_at = now
            if leg.bye:
                self.send(leg.bye)
            elif not leg.heard and not leg.call.finals:
                self.send(leg.invite)
            elif leg.cancel and leg.heard and not leg.call.finals:
                self.send(leg.cancel)
            elif leg.call.kind.device_hangs_up and leg.ok and now - leg.call.final_at > 5:
                self._hang_up(leg)

    def repeat_answers(self, call: Played) -> None:
        """A 200 is repeated until its ACK comes (RFC 3261 §13.3.1.4)."""
        for ring in call.rings.values():
            unheard = ring.over and ring.answer and not ring.acked
            if unheard and ring.device == self.name and ring.flow == self.flow:
                self.send(ring.answer)
