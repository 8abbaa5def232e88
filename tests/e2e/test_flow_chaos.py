"""Many calls at once to phones whose connections come and go at random moments."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from tests.lab.phone import Phone
from tests.lab.sip_agent import UnexpectedSipError
from tests.lab.sip_message import Message

from .conftest import Extension, MakeExtension

PHONES = 8
ROUNDS = 3
FINAL_WITHIN_S = 30
FINE = {"486", "487", "200, BYE 200"} | {"480", "200, BYE 408", "200, BYE 430"}
"""What may become of a call; the last three when its phone is away for too long."""


class Restless:
    """A phone that loses, leaves and renews its connection, and takes or refuses its calls."""

    def __init__(self, ext: Extension, transport: str, seed: int) -> None:
        self.ext = ext
        self.phone: Phone = ext.phone(transport)
        self.chance = random.Random(seed)
        self.hosts = iter(f"127.0.{seed + 1}.{n}" for n in range(1, 250))

        self.phone.agent.handlers.append(self._end)

    def _end(self, message: Message) -> bool:
        if message.is_request and message.method in ("BYE", "CANCEL"):
            self.phone.agent.respond(message, 200, "OK", to_tag="end")
        if message.is_request and message.method == "CANCEL":
            for invite in self.phone.agent.received(method="INVITE", call_id=message.call_id):
                if invite.branch == message.branch:
                    self.phone.agent.respond(invite, 487, "Request Terminated", to_tag="end")
        return message.method in ("BYE", "CANCEL")

    async def live(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._move_about(), self._take_calls())

    async def _move_about(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.02, 0.6))
            step = self.chance.choice(["drop", "move", "register", "freeze", "register"])
            phone = self.phone
            try:
                if step == "drop":
                    phone.drop_flow()
                elif step == "freeze":
                    phone.freeze()
                elif step == "move":
                    await phone.move(next(self.hosts))
                else:
                    await phone.register(within=1)
            except UnexpectedSipError:
                continue  # it had no connection, or lost it while it registered

    async def _take_calls(self) -> None:
        while True:
            incoming = await self.phone.incoming(within=3600)
            await asyncio.sleep(self.chance.uniform(0, 0.3))
            step = self.chance.choice(["answer", "ring", "ring and answer", "busy"])
            if "ring" in step:
                incoming.ring()
                await asyncio.sleep(self.chance.uniform(0, 0.3))
            if "answer" in step:
                incoming.accept()
            else:
                incoming.reject(486, "Busy Here")


async def call_it(ext: Extension, seed: int) -> str:
    """One call with its end; CANCEL at some moment, or BYE if it was answered first."""
    chance = random.Random(seed)
    async with ext.caller() as caller:
        call = caller.call(ext.aor)
        if chance.random() < 0.4:
            await asyncio.sleep(chance.uniform(0, 1.5))
            call.send_cancel()
        final = await call.final(within=FINAL_WITHIN_S)
        if final.status >= 300:
            return str(final.status)
        dialog = call.dialog(final)
        dialog.ack(final)
        ended = await dialog.bye(within=FINAL_WITHIN_S)
        return f"200, BYE {ended.status}"


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_calls_to_restless_phones(extension: MakeExtension, transport: str) -> None:
    """Whatever the connections do: every INVITE gets its final response, every BYE too, nothing is
    held in the end, and the service logs no fault.
    """
    exts = [await extension(by=transport) for _ in range(PHONES)]
    restless = [Restless(ext, transport, seed) for seed, ext in enumerate(exts)]
    outcomes: Counter[str] = Counter()
    for each in restless:
        await each.phone.wake()
    lives = asyncio.gather(*(each.live() for each in restless))
    for round_ in range(ROUNDS):
        outcomes.update(
            await asyncio.gather(*(call_it(ext, 100 * round_ + n) for n, ext in enumerate(exts)))
        )
    lives.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lives
    for each in restless:
        each.phone.sleep()
    assert outcomes.total() == PHONES * ROUNDS
    assert set(outcomes) <= FINE, outcomes
    assert min(outcomes["200, BYE 200"], outcomes["486"]) > 0, outcomes
    await exts[0].service.nothing_waits()
