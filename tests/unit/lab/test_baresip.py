"""baresip registers, answers, sends sound and hangs up on command."""

import asyncio

from tests.lab.baresip import Baresip
from tests.lab.fixtures import MakeBaresip
from tests.lab.kamailio import Kamailio
from tests.lab.phone import Phone


def phone_at(
    kamailio: Kamailio, make: MakeBaresip, user: str, *, auto_answer: bool = True
) -> Baresip:
    return make(
        user,
        domain=kamailio.domain,
        proxy=kamailio.address,
        password=kamailio.password(user),
        auto_answer=auto_answer,
    )


async def test_call_with_sound(kamailio: Kamailio, make_baresip: MakeBaresip) -> None:
    """Two baresips talk through Kamailio: RTP flows both ways, the caller hangs up."""
    callee = phone_at(kamailio, make_baresip, "101")
    caller = phone_at(kamailio, make_baresip, "200")
    for phone in (callee, caller):
        await phone.start()
        await phone.registered()
    await caller.dial(kamailio.aor("101"))
    await caller.established()
    await callee.established()
    await asyncio.sleep(0.5)  # of sound
    await caller.hang_up()
    await callee.ended()
    for phone in (callee, caller):
        sent, received = await phone.rtp_packets()
        assert sent > 10
        assert received > 10


async def test_manual_answer_and_hang_up(kamailio: Kamailio, make_baresip: MakeBaresip) -> None:
    """With auto_answer off it rings until told to answer, and can hang up itself."""
    callee = phone_at(kamailio, make_baresip, "101", auto_answer=False)
    await callee.start()
    await callee.registered()
    async with Phone(kamailio.aor("200"), proxy=kamailio.address, password="pw-200") as caller:
        call = caller.call(kamailio.aor("101"))
        await call.expect(180)
        await callee.wait_event("CALL_INCOMING")
        await callee.answer()
        dialog = await call.answered()
        await callee.established()
        assert "sip:200@" in await callee.call_status()
        await callee.hang_up()
        await dialog.expect_bye()


async def test_reject_and_stop(kamailio: Kamailio, make_baresip: MakeBaresip) -> None:
    """It rejects with 486 when told to hang up while ringing; stopped, it has unregistered."""
    callee = phone_at(kamailio, make_baresip, "101", auto_answer=False)
    await callee.start()
    await callee.registered()
    async with Phone(kamailio.aor("200"), proxy=kamailio.address, password="pw-200") as caller:
        call = caller.call(kamailio.aor("101"))
        await callee.wait_event("CALL_INCOMING")
        await callee.hang_up()
        assert (await call.final()).status == 486
    await callee.stop()
    assert await kamailio.bindings("101") == []
