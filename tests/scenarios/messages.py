"""MESSAGEs as a PBX sends them and phones take them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab.phone import Phone
from tests.lab.sip_agent import new_tag
from tests.lab.sip_message import Header, Message, build, parse

from .conftest import Extension

WORDS = "Grüße, 世界".encode()


@dataclass(slots=True)
class Sent:
    """A MESSAGE that the PBX has sent."""

    ext: Extension
    raw: bytes
    message: Message

    async def final(self, *, within: float = 8.0) -> Message:
        """Its final response; the PBX says nothing while it waits."""
        return await self.ext.pbx.agent.expect(
            within=within,
            call_id=self.message.call_id,
            where=lambda m: not m.is_request and m.status >= 200,
        )

    def again(self) -> None:
        """A retransmission: the very same bytes."""
        self.ext.pbx.agent.send(self.raw, self.ext.service.sip_address)

    @property
    def answers(self) -> list[int]:
        """All final statuses that came."""
        heard = self.ext.pbx.agent.received(call_id=self.message.call_id)
        return [m.status for m in heard if not m.is_request and m.status >= 200]


async def send(
    ext: Extension,
    *,
    method: str = "MESSAGE",
    body: bytes = WORDS,
    headers: tuple[Header, ...] = (),
    caller: str = '"Ann" <sip:200@pbx.test>',
    number: int = 1,
) -> Sent:
    """The PBX sends a MESSAGE to our Contact."""
    agent = ext.pbx.agent
    uri = (await ext.pbx.registered(ext.user)).uri
    common: list[Header] = [
        agent.via(),
        ("Max-Forwards", "70"),
        ("From", f"{caller};tag={new_tag()}"),
        ("To", f"<{ext.aor}>"),
        ("Call-ID", new_tag() + "@lab"),
        ("CSeq", f"{number} {method}"),
        ("Content-Type", "text/plain;charset=utf-8"),
    ]
    raw = build(f"{method} {uri} SIP/2.0", [*common, *headers], body)
    agent.send(raw, ext.service.sip_address)
    return Sent(ext, raw, parse(raw))


async def taken(phone: Phone, *, within: float = 5.0) -> Message:
    """The MESSAGE at the phone, unanswered."""
    return await phone.agent.expect(method="MESSAGE", within=within)


async def register(phone: Phone) -> None:
    """It wakes and registers."""
    response = await phone.register()
    assert response.status == 200, response
