"""A service beside Kamailio, and one call through it to a phone that sleeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.kamailio import Kamailio, KamailioOptions
from tests.lab.phone import Caller
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.push_sink import Push, PushSink
from tests.lab.sdp import ANSWER, OFFER
from tests.lab.service import LabService, ServiceOptions


@dataclass(frozen=True, slots=True)
class Scene:
    """What runs."""

    service: LabService
    pbx: Kamailio
    sink: PushSink


@asynccontextmanager
async def scene(directory: Path, program: Callable[[LabService], Process]) -> AsyncIterator[Scene]:
    """PBX and push receiver, and the service as the process that `program` makes of it.

    The service's own folder is `directory / "service"`; it is made here unless it is there.
    """
    async with PushSink() as sink:
        pbx = Kamailio(directory / "kamailio", free_port(), KamailioOptions())
        await pbx.start()
        options = ServiceOptions(
            pbxes={"office": {"registrar": pbx.uri()}}, webhook_url=sink.url, webhook_key=sink.key
        )
        service = LabService(directory / "service", options)
        service.process = program(service)
        try:
            await service.start()
            yield Scene(service, pbx, sink)
        finally:
            await service.stop()
            await pbx.stop()


async def one_call(scene: Scene) -> None:
    """Registered by us, called, pushed, woken, answered, hung up, on record."""
    service, pbx = scene.service, scene.pbx
    aor = f"sip:101@{pbx.options.realm}"
    await service.put_account("101", aor, pbx="office", password=pbx.password("101"))
    await service.put_device("101")
    await service.is_registered("101")
    phone = service.phone(aor, password=pbx.password("101"), device="handset")

    async def wake(_push: Push) -> None:
        await phone.register()

    scene.sink.hook = wake
    calling = f"sip:200@{pbx.options.realm}"
    async with Caller(calling, proxy=pbx.address, password=pbx.password("200")) as caller, phone:
        call = caller.call(aor, body=OFFER)
        incoming = await phone.incoming(within=10)
        incoming.ring()
        incoming.accept(ANSWER)
        dialog = await call.answered(within=10)
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    record = await service.call_record(account="101")
    assert record["verdict"] == "answered", record
