"""The PBX's half of a race's calls: final responses are acknowledged, and noted, at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.lab.sip_agent import SipAgent
from tests.lab.sip_call import OutgoingCall
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Header, Message, parse


@dataclass(slots=True, eq=False)
class Attempt:
    """One INVITE transaction of the PBX's."""

    half: OutgoingCall
    at: float
    heard: list[Message] = field(default_factory=list)
    """Every response to the INVITE, repetitions included."""
    cancelled_at: float = 0.0
    of_cancel: list[Message] = field(default_factory=list)
    dialog: Dialog | None = None
    hung_up: bool = False
    over: bool = False
    """Its dialog has ended."""

    @property
    def call_id(self) -> str:
        return self.half.invite.call_id

    @property
    def finals(self) -> list[Message]:
        """One of each final response: a repetition is no other one."""
        found = {(m.status, m.to_tag): m for m in reversed(self.heard) if m.status >= 200}
        return list(found.values())

    @property
    def status(self) -> int:
        """Of the final response; 0: none yet."""
        return self.finals[0].status if self.finals else 0

    @property
    def answered(self) -> bool:
        return 200 <= self.status < 300

    @property
    def final_at(self) -> float | None:
        """When it came."""
        return next((m.arrived_s for m in self.heard if m.status >= 200), None)

    @property
    def rang(self) -> bool:
        """A phone's ringing was heard, not only ours."""
        return any(m.status == 180 and m.get("Contact") for m in self.heard)

    def cancel(self, reason: str = "") -> None:
        """CANCEL, unless the final response is here."""
        if self.status:
            return
        self.cancelled_at = time.monotonic()
        headers: tuple[Header, ...] = (("Reason", reason),) if reason else ()
        self.half.send_cancel(headers=headers)

    def hang_up(self) -> None:
        """BYE, once."""
        if self.dialog is not None and not self.hung_up and not self.over:
            self.hung_up = True
            self.dialog.send("BYE")

    def take(self, message: Message) -> bool:
        """A message on the PBX's socket; whether it is of this call."""
        if message.is_request:
            if message.method != "BYE" or message.call_id != self.call_id or self.dialog is None:
                return False
            self.over = True
            self.half.agent.respond(message, 200, "OK")
            return True
        mine = message.call_id == self.call_id and self.hung_up
        if mine and message.cseq_method == "BYE":
            self.over = True
            return True
        if message.branch != self.half.invite.branch:
            return False
        if message.cseq_method == "CANCEL":
            self.of_cancel.append(message)
            return True
        self.heard.append(message)
        if message.status >= 300:
            self.half.ack_failure(message)
        elif message.status >= 200:
            dialog = self.half.dialog(message)
            dialog.ack(message)
            self.dialog = self.dialog or dialog
        return True


@dataclass(slots=True)
class Pbx:
    """A PBX with a socket of its own, and the calls that it makes."""

    agent: SipAgent
    attempts: list[Attempt] = field(default_factory=list)

    def begin(self) -> None:
        """Look after its calls."""
        self.agent.handlers.append(lambda m: any(a.take(m) for a in self.attempts))

    def attempt(self, invite: bytes, to: tuple[str, int]) -> Attempt:
        """Send this INVITE."""
        half = OutgoingCall(self.agent, parse(invite), to)
        made = Attempt(half, time.monotonic())
        self.attempts.append(made)
        self.agent.send(invite, to)
        return made
