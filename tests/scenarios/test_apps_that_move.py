"""Phones that change their address, or register in a burst."""

from __future__ import annotations

import asyncio

from .conftest import MakeExtension

ELSEWHERE = "127.0.0.2"
"""Another machine, as far as anybody can tell."""


async def test_an_app_that_moved_has_to_register_again(extension: MakeExtension) -> None:
    """The flow is host and port: a new socket is a stranger."""
    ext = await extension()
    phone = ext.phone(host=ELSEWHERE)
    await phone.register()
    phone.sleep()
    await phone.wake()
    assert (await phone.call("sip:200@pbx.test").final()).status == 403
    await phone.register()
    phone.call("sip:200@pbx.test")
    await ext.pbx.agent.expect(method="INVITE", within=5)


async def test_a_burst_of_registers(extension: MakeExtension) -> None:
    """Three Call-IDs at once, each sent twice: three 200s' worth of answers, one binding."""
    ext = await extension()
    phones = [ext.phone("same") for _ in range(3)]
    await phones[0].wake()
    for phone in phones[1:]:
        phone.agent = phones[0].agent
    answers = await asyncio.gather(*(phone.register() for phone in phones))
    assert [answer.status for answer in answers] == [200] * 3
    for _, data, to in list(phones[0].agent.sent):
        phones[0].agent.send(data, to)
    fetched = await phones[0].register(contact="", expires_s=None)
    assert len(fetched.listed("Contact")) == 1
