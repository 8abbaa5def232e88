"""One service for all races, and a PBX, phones and a push provider in the test's hands."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.lab.certificates import Authority
from tests.lab.pbx import Pbx
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .run import PBX_HOST
from .stage import World

WEBHOOK_KEY = b"races webhook key"


@pytest.fixture(scope="session")
def racing_service(authority: Authority) -> Iterator[LabService]:
    """The service of this worker. It is a process, so it may serve many event loops."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    options = ServiceOptions(
        webhook_url=f"http://127.0.0.1:{free_port()}/push",
        webhook_key=WEBHOOK_KEY,
        listen=("udp", "tcp", "tls"),
        tls=authority.issue().files,
    )
    service = LabService(directory / "service", options)
    yield service
    service.kill()
    Process.started.discard(service.process)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def pbx() -> AsyncIterator[Pbx]:
    """The registrar of all, at the host that its calls come from."""
    async with Pbx(host=PBX_HOST) as pbx:
        yield pbx


@pytest.fixture
async def world(racing_service: LabService, authority: Authority, pbx: Pbx) -> AsyncIterator[World]:
    """The service, alive and without a fault in its log at the end, and where its pushes go."""
    service = racing_service
    if not service.process.running:
        await service.start()
    mark = service.process.output_size()
    port = int((service.options.webhook_url or "").rpartition(":")[2].partition("/")[0])
    async with PushSink(key=WEBHOOK_KEY, port=port) as sink:
        world = World(service, sink, pbx, authority.trust)
        world.begin()
        yield world
    await service.close()
    assert service.process.running, "the service died"
    log = service.process.output(since=mark)
    assert "Traceback" not in log, log
