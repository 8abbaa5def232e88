"""SIPp's scenarios play the roles that the tests cast them in, through Kamailio."""

import pytest

from tests.lab.kamailio import Kamailio
from tests.lab.phone import Phone
from tests.lab.process import ProcessError
from tests.lab.sipp import Sipp, SippRun


def call(sipp: Sipp, kamailio: Kamailio, scenario: str, *, hold_ms: int = 100) -> SippRun:
    return sipp.caller(
        scenario,
        proxy=kamailio.address,
        caller="200",
        callee="101",
        domain=kamailio.domain,
        password=kamailio.password("200"),
        hold_ms=hold_ms,
    )


async def phone(sipp: Sipp, kamailio: Kamailio, scenario: str, *, hold_ms: int = 100) -> SippRun:
    run = sipp.phone(
        scenario,
        registrar=kamailio.address,
        user="101",
        domain=kamailio.domain,
        password=kamailio.password("101"),
        hold_ms=hold_ms,
    )
    await run.registered()
    return run


@pytest.mark.parametrize(
    ("caller", "callee", "last_sent"),
    [
        ("uac-call", "uas-answer", "SIP/2.0 200"),
        ("uac-repeat-invite", "uas-answer", "SIP/2.0 200"),
        ("uac-call-callee-hangs-up", "uas-answer-and-hang-up", "BYE"),
        ("uac-hold", "uas-take-hold", "SIP/2.0 200"),
        ("uac-expect-486", "uas-reject-486", "SIP/2.0 486"),
        ("uac-cancel", "uas-ring-until-cancel", "SIP/2.0 487"),
    ],
)
async def test_pairs(
    kamailio: Kamailio, sipp: Sipp, caller: str, callee: str, last_sent: str
) -> None:
    """Each caller's scenario succeeds with the phone's scenario that belongs to it."""
    phone_run = await phone(sipp, kamailio, callee)
    await call(sipp, kamailio, caller).finish()
    await phone_run.wait_sent(last_sent)
    assert len(phone_run.received("INVITE")) == (2 if caller == "uac-hold" else 1)


async def test_sip_agent_phone(kamailio: Kamailio, sipp: Sipp) -> None:
    """A SIPp caller and a phone of plain sockets hold a call, the answer byte for byte."""
    async with Phone(kamailio.aor("101"), proxy=kamailio.address, password="pw-101") as callee:
        await callee.register()
        run = call(sipp, kamailio, "uac-call")
        incoming = await callee.incoming()
        incoming.ring()
        # Kamailio's workers may pass on what comes at once in any order.
        await run.wait_received("SIP/2.0 180")
        incoming.accept(b"v=0\r\nodd body without final newline")
        await incoming.expect_ack()
        await incoming.dialog().expect_bye()
        messages = await run.finish()
    (answer,) = [m for m in messages if m.status == 200 and m.cseq_method == "INVITE"]
    assert answer.body == b"v=0\r\nodd body without final newline"


async def test_expect_480(kamailio: Kamailio, sipp: Sipp) -> None:
    """uac-expect-480 succeeds on 480 and fails, with SIPp's reason, on anything else."""
    async with Phone(kamailio.aor("101"), proxy=kamailio.address, password="pw-101") as callee:
        await callee.register()
        run = call(sipp, kamailio, "uac-expect-480")
        (await callee.incoming()).reject(480, "Temporarily Unavailable")
        await run.finish()
        run = call(sipp, kamailio, "uac-expect-480")
        (await callee.incoming()).reject(486, "Busy Here")
        with pytest.raises(ProcessError, match="unexpected message"):
            await run.finish()
