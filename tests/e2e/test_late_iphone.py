"""An iPhone that wakes too late: its screen shows a call that is over, and SIP closes it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.doubles.apns import ApnsDouble
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID

from .apple import Apple, apple_options
from .conftest import Stage, StartService


@pytest.fixture
async def apple(
    stage: Stage, start_service: StartService, push_sink: PushSink, apns: ApnsDouble
) -> AsyncIterator[Apple]:
    service = await start_service(apple_options(apns, push_sink))
    yield Apple(service=service, apns=apns, pbx=stage.hold, sink=push_sink)
    assert apns.faults == []


async def test_late_after_cancel(apple: Apple) -> None:
    """The caller gives up, then the phone registers: it gets the call's own INVITE, with the
    push's call id, and CANCEL at its first answer; a second REGISTER brings nothing.
    """
    phone = await apple.iphone()
    async with phone.caller() as caller, phone.phone() as app:
        call = caller.call(phone.aor)
        [delivery] = await apple.apns.wait_delivered(1)
        assert (await call.cancel())[1].status == 487
        assert (await app.register()).status == 200
        incoming = await app.incoming()
        assert incoming.invite.all("X-Push-ID") == [delivery.payload["call_id"]]
        assert incoming.invite.call_id == delivery.payload["sip_call_id"]
        assert incoming.invite.body == call.invite.body
        incoming.ring()
        await incoming.expect_cancel()
        assert (await app.register()).status == 200
        await app.agent.expect_nothing(within=0.5, method="INVITE")
    record = await phone.service.eventually(
        phone.record,
        lambda found: "late_invite_sent" in phone.service.events(found),
        within=5,
        what="line of the timeline",
    )
    assert (record["verdict"], record["phase"]) == ("caller_cancelled", "waking")
    assert phone.service.events(record).count("late_invite_sent") == 1


async def test_late_and_quick_to_answer(apple: Apple) -> None:
    """Somebody answers on the late phone before our CANCEL: ACK and BYE, nobody hangs in a call."""
    phone = await apple.iphone()
    async with phone.caller() as caller, phone.phone() as app:
        call = caller.call(phone.aor)
        await apple.apns.wait_delivered(1)
        await call.cancel()
        await app.register()
        incoming = await app.incoming()
        incoming.accept()
        await incoming.expect_ack()
        await incoming.dialog().expect_bye()


async def test_answered_by_another_phone(apple: Apple) -> None:
    """Two phones on one extension: one answers, the other wakes later and is told that the call
    was completed elsewhere (RFC 3326), so it shows no missed call.
    """
    phone = await apple.iphone(instance_id="urn:x-lab:one")
    second = apple.apns.device(APP_ID)
    await phone.service.put_device(
        phone.account, "second", provider="apns", token=second.token, instance_id="urn:x-lab:two"
    )
    async with (
        phone.caller() as caller,
        phone.phone(device="one") as app,
        phone.phone(device="two") as late,
    ):
        call = caller.call(phone.aor)
        await apple.apns.wait_delivered(2)
        await app.register()
        incoming = await app.incoming()
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        await late.register()
        told = await late.incoming()
        told.ring()
        cancel = await told.expect_cancel()
        assert re.search(r"SIP\s*;\s*cause=200\b", cancel.get("Reason", "")), cancel.raw
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    assert len(second.received) == 1
