"""The service is stopped while a caller waits."""

from pathlib import Path

from tests.lab.pbx import Pbx
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .conftest import WEBHOOK_KEY, Extension


async def test_a_waiting_caller_is_answered(workdir: Path, pbx: Pbx) -> None:
    """SIGTERM while a phone wakes: the PBX gets its final response before the service is gone."""
    async with PushSink(key=WEBHOOK_KEY) as sink:
        options = ServiceOptions(webhook_url=sink.url, webhook_key=WEBHOOK_KEY)
        service = LabService(workdir / "service", options)
        try:
            await service.start()
            ext = Extension(
                service=service, pbx=pbx, sink=sink, user="900", registrar=f"sip:{pbx.domain}"
            )
            await ext.put()
            await ext.put_device()
            await pbx.registered("900")
            call = ext.call()
            await ext.pushed()
            await call.expect(180)
            await service.stop()
            final = await call.final()
        finally:
            await service.stop()
    assert (final.status, final.all("X-Push-Reason")) == (480, ["proxy_error"])
