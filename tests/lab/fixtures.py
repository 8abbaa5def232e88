"""Pytest fixtures of the laboratory, and the logs of every process when a test fails."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from .baresip import Baresip
from .certificates import Authority
from .kamailio import Kamailio, KamailioOptions
from .linphone import Linphone
from .pbx import Pbx
from .pjsua2 import Pjsua2
from .ports import free_port
from .process import Process
from .push_sink import PushSink
from .sipp import Sipp

REPORTED_LOG_CHARACTERS = 20_000
FAILED = pytest.StashKey[bool]()


class MakeBaresip(Protocol):
    """What the fixture `make_baresip` gives."""

    def __call__(
        self,
        user: str,
        *,
        domain: str,
        proxy: tuple[str, int],
        password: str,
        auto_answer: bool = True,
        expires_s: int = 60,
        transport: str = "udp",
    ) -> Baresip:
        """A phone that sleeps until its `start`."""


MakeLinphone = Callable[..., Linphone]
MakePjsua2 = Callable[..., Pjsua2]
StartKamailio = Callable[[KamailioOptions], Awaitable[Kamailio]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the log of every known process to the report of a failed test."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        for process in sorted(Process.started, key=lambda started: started.name):
            text = process.output()[-REPORTED_LOG_CHARACTERS:]
            report.sections.append((f"log of {process.name}: {process.log}", text))
    return report


@pytest.fixture
def workdir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The test's own directory, its path short enough for Unix sockets; kept when it fails.

    Whatever process was started meanwhile is dead afterwards.
    """
    path = Path(tempfile.mkdtemp(prefix="pp-"))
    before = set(Process.started)
    yield path
    for process in set(Process.started) - before:
        process.kill()
        Process.started.discard(process)
    if not request.node.stash.get(FAILED, False):
        # Children of what was killed end a moment later, and take their sockets with them.
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    """A certificate authority of this run, with nothing issued yet."""
    with tempfile.TemporaryDirectory(prefix="pp-ca-") as directory:
        yield Authority(Path(directory))


@pytest.fixture
async def start_kamailio(workdir: Path) -> AsyncIterator[StartKamailio]:
    """Starts a Kamailio with the given options on a free port."""
    running: list[Kamailio] = []

    async def start(options: KamailioOptions) -> Kamailio:
        kamailio = Kamailio(workdir / f"kamailio{len(running)}", free_port(), options)
        running.append(kamailio)
        await kamailio.start()
        return kamailio

    yield start
    for kamailio in running:
        await kamailio.stop()


@pytest.fixture
async def kamailio(start_kamailio: StartKamailio) -> Kamailio:
    """A Kamailio with default options."""
    return await start_kamailio(KamailioOptions())


@pytest.fixture
async def sipp(workdir: Path) -> AsyncIterator[Sipp]:
    """Starts SIPp callers and phones."""
    sipp = Sipp(workdir)
    yield sipp
    await sipp.stop()


@pytest.fixture
async def make_baresip(workdir: Path) -> AsyncIterator[MakeBaresip]:
    """Makes baresip phones that sleep (no process) until their `start`."""
    made: list[Baresip] = []

    def make(
        user: str,
        *,
        domain: str,
        proxy: tuple[str, int],
        password: str,
        auto_answer: bool = True,
        expires_s: int = 60,
        transport: str = "udp",
    ) -> Baresip:
        phone = Baresip(
            directory=workdir / f"baresip{len(made)}",
            user=user,
            domain=domain,
            proxy=proxy,
            password=password,
            auto_answer=auto_answer,
            expires_s=expires_s,
            transport=transport,
        )
        made.append(phone)
        return phone

    yield make
    for phone in made:
        await phone.stop()


@pytest.fixture
async def make_linphone(workdir: Path) -> AsyncIterator[MakeLinphone]:
    """Makes Linphone phones that sleep (no process) until their `start`."""
    made: list[Linphone] = []

    def make(user: str, **fields: Any) -> Linphone:
        phone = Linphone(directory=workdir / f"linphone{len(made)}", user=user, **fields)
        made.append(phone)
        return phone

    yield make
    for phone in made:
        await phone.stop()


@pytest.fixture
async def make_pjsua2(workdir: Path) -> AsyncIterator[MakePjsua2]:
    """Makes simulated phones that sleep (no process) until their `start`."""
    made: list[Pjsua2] = []

    def make(user: str, **fields: Any) -> Pjsua2:
        phone = Pjsua2(directory=workdir / f"pjsua2-{len(made)}", user=user, **fields)
        made.append(phone)
        return phone

    yield make
    for phone in made:
        await phone.stop()


@pytest.fixture
async def pbx() -> AsyncIterator[Pbx]:
    """A scripted PBX with default behaviour."""
    async with Pbx() as pbx:
        yield pbx


@pytest.fixture
async def push_sink() -> AsyncIterator[PushSink]:
    """A webhook receiver that takes every push with 200."""
    async with PushSink() as sink:
        yield sink
