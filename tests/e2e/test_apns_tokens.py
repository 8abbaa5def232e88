"""What APNs says of a token, over whole calls: dead, back again, of the sandbox, of another app."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.doubles.apns import ApnsDouble
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID

from .apple import Apple, IPhone, apple_options
from .conftest import Stage, StartService


@pytest.fixture
async def apple(
    stage: Stage, start_service: StartService, push_sink: PushSink, apns: ApnsDouble
) -> AsyncIterator[Apple]:
    service = await start_service(apple_options(apns, push_sink))
    yield Apple(service=service, apns=apns, pbx=stage.hold, sink=push_sink)
    assert apns.faults == []


async def test_dead_token(apple: Apple) -> None:
    """410 ends the call at once as `push_rejected`; the token is never pushed to again, and the
    account's status says why, until the app registers it once more.
    """
    phone = await apple.iphone()
    apple.apns.unregister(phone.voip.token)
    assert await _refused(phone) == "push_rejected"
    assert [request.reason for request in apple.apns.requests] == ["Unregistered"]
    status = await apple.service.device_status(phone.account)
    assert "Unregistered" in str(status)
    assert phone.voip.token not in str(status)
    async with phone.caller() as caller:
        assert (await caller.call(phone.aor).final()).status in {404, 480}
    assert len(apple.apns.requests) == 1, "the dead token was pushed to again"

    phone.voip.register_again()
    await phone.put_again()
    # With its only token it had left the PBX.
    await apple.service.is_registered(phone.account)
    await phone.is_called()
    assert [request.status for request in apple.calls()] == [410, 200]


async def test_410_that_is_older_than_the_token(apple: Apple) -> None:
    """A 410 about the time before the app registered this token (anew) drops nothing."""
    phone = await apple.iphone()
    apple.apns.unregister(phone.voip.token, ago_s=3600)
    assert await _refused(phone) == "push_rejected"
    phone.voip.register_again()
    await phone.is_called()
    assert [request.status for request in apple.calls()] == [410, 200]


async def test_token_of_the_other_environment(apple: Apple) -> None:
    """A sandbox token without an environment is tried at production, then at the sandbox, within
    the same call; from then on at the sandbox alone.
    """
    phone = await apple.iphone()
    phone.voip.environment = "sandbox"
    await phone.is_called()
    assert [(each.environment, each.status) for each in apple.apns.requests] == [
        ("production", 400),
        ("sandbox", 200),
    ]
    await phone.is_called()
    assert [each.environment for each in apple.apns.requests][2:] == ["sandbox"]


async def test_wrong_app(apple: Apple) -> None:
    """A token of another app: the call ends as `push_rejected`, the token stays, and once the app
    is right it is pushed to again.
    """
    phone = await apple.iphone()
    phone.voip.bundle = "com.example.other"
    assert await _refused(phone) == "push_rejected"
    status = await apple.service.device_status(phone.account)
    assert "DeviceTokenNotForTopic" in str(status)
    phone.voip.bundle = APP_ID
    await phone.is_called()
    assert [request.status for request in apple.calls()] == [400, 200]
    status = await apple.service.device_status(phone.account)
    assert "DeviceTokenNotForTopic" not in str(status["token"])


async def _refused(phone: IPhone) -> str:
    """The verdict of a call that the PBX gets back with 480."""
    async with phone.caller() as caller:
        call = caller.call(phone.aor)
        assert (await call.final()).status == 480
    return str((await phone.record(sip_call_id=call.invite.call_id))["verdict"])
