"""An extension whose PBX and phones reach the service over a bad network, and endure it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

from tests.lab import sdp
from tests.lab.impaired_link import Weather
from tests.lab.phone import Caller, Phone
from tests.lab.push_sink import Push
from tests.lab.service import Record
from tests.lab.sip_agent import SipAgent
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Message
from tests.scenarios.conftest import Extension

WITHIN_S = 12.0
"""For whatever is repeated until it comes."""
QUICK_T1_S = 0.2
"""T1 of the agents (RFC 3261 §17.1.1.1: on a network that is known to be fast)."""
APPS_ADDRESS = "127.0.0.3"
"""Of phones that call: where the PBX is they would be taken for it."""


@dataclass(kw_only=True)
class RoughExtension(Extension):
    """One account with a PBX of its own, so that its packets alone count for its patterns."""

    weather: Weather
    name: str
    """Of the flow: with the weather's it makes the seed."""
    agents: list[SipAgent] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Of the next agent's pattern: the same in every run."""
        return zlib.crc32(f"{self.weather.name} {self.name}".encode()) + len(self.agents)

    def endure(self, agent: SipAgent) -> None:
        """Let an agent repeat and absorb, on this scene's clock."""
        self.agents.append(agent)
        agent.endure(t1_s=QUICK_T1_S, t2_s=4 * QUICK_T1_S)

    def phone(self, device: str | None = None, **fields: Any) -> Phone:
        """A phone of this extension, asleep, behind a bad network."""
        phone = super().phone(device, **fields)
        phone.agent.link = self.weather.phone_link(self.seed)
        self.endure(phone.agent)
        return phone

    def desk(self) -> Caller:
        """Another user of the PBX, at the PBX's own socket."""
        return self.pbx.as_caller("200")

    async def registered_phone(self, device: str | None = None, **fields: Any) -> Phone:
        """A phone that is awake and registered."""
        phone = self.phone(device, **fields)
        assert (await phone.register(within=WITHIN_S)).status == 200
        return phone

    async def rung(self, phone: Phone) -> IncomingCall:
        """The phone registers and gets the INVITE."""
        assert (await phone.register(within=WITHIN_S)).status == 200
        return await phone.incoming(within=WITHIN_S)

    async def woken(
        self, device: str | None = None, **fields: Any
    ) -> tuple[OutgoingCall, IncomingCall]:
        """A call that woke a phone; it has the INVITE and has not answered anything."""
        call = self.call(**fields)
        await self.pushed(len(self.pushes("call")) + 1, within=WITHIN_S)
        return call, await self.rung(self.phone(device))

    async def heard(self, call: OutgoingCall) -> None:
        """The caller has a provisional response, so that it may send CANCEL (RFC 3261 §9.1)."""
        await self.pbx.agent.expect(
            within=WITHIN_S,
            where=lambda m: m.branch == call.invite.branch and 100 <= m.status < 200,
        )

    async def rings(self, call: OutgoingCall, incoming: IncomingCall) -> None:
        """The phone rings, and the service knows; whether the caller hears it is luck.

        Nobody repeats a 18x but because its INVITE was repeated (RFC 3261 §17.2.1).
        """
        incoming.ring()
        await self.heard(call)
        await self.record(call, state="ringing", within=WITHIN_S)

    async def talk(self, call: OutgoingCall, incoming: IncomingCall) -> tuple[Dialog, Dialog]:
        """The phone answers; the caller's side of the dialog and the phone's."""
        incoming.accept()
        far = await call.answered(within=WITHIN_S)
        await incoming.expect_ack(within=WITHIN_S)
        return far, incoming.dialog()

    async def ended(self, call: OutgoingCall, verdict: str, **fields: Any) -> Record:
        """The call's record: it ended with this verdict and these fields."""
        record = await self.record(call, within=WITHIN_S)
        found = {name: record[name] for name in ("verdict", *fields)}
        assert found == {"verdict": verdict, **fields}, record
        return record

    def one_final(self, call: OutgoingCall, agent: SipAgent | None = None) -> Message:
        """All final responses that the caller ever got to its INVITE are one and the same."""
        finals = [m for m in (agent or self.pbx.agent).history if call.is_final(m)]
        kinds = {(message.status, message.to_tag) for message in finals}
        assert len(kinds) == 1, kinds
        return finals[0]

    def one_ring(self, phone: Phone) -> None:
        """Whatever was repeated, the phone had one INVITE transaction outside dialogs."""
        invites = [m for m in phone.agent.received(method="INVITE") if not m.to_tag]
        assert len({message.branch for message in invites}) == 1, invites

    def one_push(self, *, kind: str = "call", devices: int = 1) -> list[Push]:
        """However often the INVITE came, each device was pushed once."""
        pushes = self.pushes(kind)
        assert len(pushes) == devices, [push.payload for push in pushes]
        return pushes

    @property
    def impaired(self) -> int:
        """Packets of this scene that did not simply pass."""
        links = [agent.link for agent in (self.pbx.agent, *self.agents)]
        return sum(link.impaired for link in links if link is not None)

    def close(self) -> None:
        """Lose every socket."""
        for phone in self.phones:
            phone.sleep()
        self.pbx.stop()


async def answer_to(dialog: Dialog, request: Message, status: int = 200) -> Message:
    """The response with this status to a request that was sent in `dialog`."""
    return await dialog.agent.expect(
        within=WITHIN_S, where=lambda m: m.status == status and m.branch == request.branch
    )


async def hang_up(who: Dialog, other: Dialog) -> None:
    """BYE across the service, and its 200 back."""
    bye = who.send("BYE")
    await other.expect_bye(within=WITHIN_S)
    await answer_to(who, bye)


async def reinvite(who: Dialog, other: Dialog, *, offer: bytes, answer: bytes) -> None:
    """A re-INVITE across the service, its 200 with `answer`, and the ACK."""
    sent = who.send("INVITE", body=offer)
    seen = await other.expect("INVITE", within=WITHIN_S)
    assert seen.body == offer
    contact = ("Contact", f"<{other.agent.uri('lab')}>")
    headers = (contact, sdp.CONTENT_TYPE)
    other.agent.respond(seen, 200, "OK", headers=headers, body=answer)
    response = await answer_to(who, sent)
    assert response.body == answer
    who.ack(response)
    await other.expect("ACK", within=WITHIN_S)
