"""Services for end-to-end tests: each test starts its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

StartService = Callable[[ServiceOptions], Awaitable[LabService]]


@pytest.fixture
async def start_service(workdir: Path) -> AsyncIterator[StartService]:
    """Starts a service with the given options on free ports, and waits until it is ready."""
    running: list[LabService] = []

    async def start(options: ServiceOptions) -> LabService:
        service = LabService(workdir / f"service{len(running)}", options)
        running.append(service)
        await service.start()
        return service

    yield start
    for service in running:
        await service.stop()


@pytest.fixture
async def service(start_service: StartService, push_sink: PushSink) -> LabService:
    """A service with an embedded Valkey that pushes to `push_sink`."""
    return await start_service(ServiceOptions(webhook_url=push_sink.url, webhook_key=push_sink.key))
