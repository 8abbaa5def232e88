"""The iPhone that wakes after its caller gave up, under every pattern of loss and disorder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doubles.apns import ApnsDouble
from tests.lab.impaired_link import WEATHERS, Weather
from tests.lab.process import poll_until
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID, LabService, ServiceOptions

from .conftest import MakeRough, roughness
from .scene import WITHIN_S


@pytest.fixture
async def apple_service(
    workdir: Path, push_sink: PushSink, apns: ApnsDouble
) -> AsyncIterator[LabService]:
    """A service that pushes to the APNs double."""
    section = {
        "app_id": APP_ID,
        "team_id": apns.team_id,
        "key_id": apns.key_id,
        "key_file": str(apns.key_file),
        "base_url": apns.production.base_url,
        "ca_file": str(apns.ca_file),
    }
    options = ServiceOptions(
        webhook_url=push_sink.url,
        webhook_key=push_sink.key,
        extra={"providers": {"apns": [section]}},
    )
    service = LabService(workdir / "service", options)
    await service.start()
    yield service
    await service.stop()
    assert "Traceback" not in service.process.output()


async def test_late_iphone(
    apple_service: LabService, apns: ApnsDouble, push_sink: PushSink
) -> None:
    """Whatever is lost, doubled or swapped: it gets the call's INVITE once and is cancelled at its
    first answer; the caller has one 487, and there was one push. All patterns run at once.
    """

    async def run(rough: MakeRough, weather: Weather) -> None:
        ext = await rough(weather, name="late iPhone")
        token = apns.device(APP_ID).token
        await ext.put_device(provider="apns", platform="ios", token=token)

        def pushed() -> int:
            return sum(request.token == token for request in apns.requests)

        call = ext.call()
        await ext.heard(call)
        assert await poll_until(lambda: pushed() == 1, within_s=WITHIN_S)
        assert (await call.cancel(within=WITHIN_S))[1].status == 487
        phone = await ext.registered_phone()
        incoming = await phone.incoming(within=WITHIN_S)
        assert incoming.invite.call_id == call.invite.call_id
        incoming.ring()
        await incoming.expect_cancel(within=WITHIN_S)
        await ext.ended(call, "caller_cancelled", phase="waking")
        ext.one_final(call)
        ext.one_ring(phone)
        assert pushed() == 1

    async with roughness(apple_service, push_sink) as rough:
        await asyncio.gather(*(run(rough, weather) for weather in WEATHERS))
