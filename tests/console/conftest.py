"""One service, one PBX and one browser for all tests of the console; a fresh tab for each."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from playwright.async_api import Browser

from tests.lab.pbx import Pbx
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions
from tests.scenarios.conftest import Extension, MakeExtension

from .chromium import Console, chromium, console

WEBHOOK_KEY = b"console webhook key"
SECOND_KEY = "key-of-another-tenant"
_numbers = itertools.count(3001)

# The browser and the service live longer than one test, so all share one event loop.
shared = partial(pytest_asyncio.fixture, scope="session", loop_scope="session")
each = partial(pytest_asyncio.fixture, loop_scope="session")


class TwoTenants(LabService):
    """A service that another tenant's key opens, too."""

    def write_config(self) -> None:
        """With the second key, and limits that no test meets."""
        super().write_config()
        sections = yaml.safe_load(self.config.read_text())
        second = {
            "name": "second",
            "tenant": "other",
            "key_sha256": hashlib.sha256(SECOND_KEY.encode()).hexdigest(),
            "scopes": ["accounts", "devices", "calls"],
        }
        sections["http"]["api_keys"].append(second)
        sections["http"] |= {"requests_per_second": 1000, "auth_failures_per_minute": 1000}
        self.config.write_text(yaml.safe_dump(sections))


OpenConsole = Callable[..., AbstractAsyncContextManager[Console]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder run in the loop of their fixtures."""
    mark = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(mark, append=False)


@shared()
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    async with chromium() as browser:
        yield browser


@shared()
async def running_service() -> AsyncIterator[LabService]:
    """The service; with the recorder on."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    options = ServiceOptions(
        webhook_url=f"http://127.0.0.1:{free_port()}/push",
        webhook_key=WEBHOOK_KEY,
        extra={"recorder": {"enabled": True}},
    )
    service = TwoTenants(directory / "service", options)
    await service.start()
    yield service
    await service.stop()
    await service.close()
    Process.started.discard(service.process)
    shutil.rmtree(directory, ignore_errors=True)


@each()
async def service(running_service: LabService) -> AsyncIterator[LabService]:
    """The service, alive at both ends of the test, without a fault in its log."""
    mark = running_service.process.output_size()
    yield running_service
    assert running_service.process.running, "the service died"
    log = running_service.process.output(since=mark)
    assert "Traceback" not in log, log


@each()
async def push_sink(service: LabService) -> AsyncIterator[PushSink]:
    """Where pushes go; a fresh one for each test."""
    url = service.options.webhook_url
    assert url is not None
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with PushSink(key=WEBHOOK_KEY, port=port) as sink:
        yield sink


@shared()
async def pbx() -> AsyncIterator[Pbx]:
    """A scripted PBX."""
    async with Pbx() as pbx:
        yield pbx


@each()
async def extension(
    service: LabService, pbx: Pbx, push_sink: PushSink
) -> AsyncIterator[MakeExtension]:
    """Makes extensions: account, devices (name: fields), and our registration at the PBX."""
    made: list[Extension] = []

    async def make(**devices: dict[str, object]) -> Extension:
        new = Extension(
            service=service,
            pbx=pbx,
            sink=push_sink,
            user=str(next(_numbers)),
            registrar=f"sip:{pbx.domain}",
        )
        made.append(new)
        await new.put()
        for device, fields in (devices or {"handset": {}}).items():
            named = {"instance_id": f"urn:x-lab:{device}"} if devices else {}
            await new.put_device(device, **{**named, **fields})
        await pbx.registered(new.user)
        return new

    yield make
    for one in made:
        one.leave()
        await service.delete_account(one.account)


@each()
async def tab(browser: Browser, service: LabService) -> AsyncIterator[Console]:
    """A fresh tab; nothing is loaded in it."""
    async with console(browser, service) as tab:
        yield tab


@each()
async def open_tab(browser: Browser, service: LabService) -> OpenConsole:
    """Opens further tabs, with Playwright's options of a browser context."""
    return partial(console, browser, service)


@pytest.fixture
def second_key() -> str:
    """An API key of another tenant."""
    return SECOND_KEY


@shared()
async def hops(browser: Browser, running_service: LabService) -> AsyncIterator[Console]:
    """A page that has nothing but the console's modules to import."""
    async with console(browser, running_service) as tab:
        yield await tab.open()
