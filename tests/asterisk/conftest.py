"""Asterisk as PBX and the service between it and its phones."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.asterisk import Asterisk, AsteriskOptions, Trunk
from tests.lab.certificates import Authority
from tests.lab.phone import Caller, Phone
from tests.lab.ports import free_block, free_port
from tests.lab.process import Process
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .pair import pair
from .stage import (
    KINDS,
    REALM,
    TRANSPORTS,
    TRUNK_USERS,
    Sleeper,
    Stage,
    desk,
    desk_caller,
    extensions,
    numbers,
)

__all__ = ["pair"]

WEBHOOK_KEY = b"asterisk webhook key"
MakeSleeper = Callable[..., Awaitable[Sleeper]]
MakeDesk = Callable[..., Awaitable[Phone]]
MakeCaller = Callable[..., Awaitable[Caller]]


@pytest.fixture(scope="session")
def running_stage(asterisk_root: Path, authority: Authority) -> Iterator[Stage]:
    """The PBXs and the service of this worker: processes, so they may serve many loops."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    sip_port = free_block(2)
    pbx_tls = authority.issue()
    hold = Asterisk(
        directory / "hold", AsteriskOptions(realm=REALM, extensions=extensions(), tls=pbx_tls)
    )
    trunks = {
        by: Asterisk(
            directory / f"trunk-{by}",
            AsteriskOptions(
                realm=REALM,
                tls=pbx_tls,
                trunk=Trunk("127.0.0.1", sip_port + (by == "tls"), TRUNK_USERS, by),
            ),
        )
        for by in TRANSPORTS
    }
    believes = {"tls": {"tls": {"ca": str(authority.ca)}}}
    pbxes: dict[str, dict[str, Any]] = {
        f"hold-{by}": {"registrar": hold.uri(by), **believes.get(by, {})} for by in TRANSPORTS
    }
    for by, trunk in trunks.items():
        peers = {"peers": ["127.0.0.1"]}
        pbxes[f"trunk-{by}"] = {"registrar": trunk.uri(by), **peers, **believes.get(by, {})}
    service = LabService(
        directory / "service",
        ServiceOptions(
            webhook_url=f"http://127.0.0.1:{free_port()}/push",
            webhook_key=WEBHOOK_KEY,
            pbxes=pbxes,
            listen=TRANSPORTS,
            tls=authority.issue(for_linphone=True).files,
        ),
        sip_port=sip_port,
    )
    everything = (hold, *trunks.values(), service)

    async def start() -> None:
        await asyncio.gather(*(each.start() for each in everything))
        await service.close()

    async def stop() -> None:
        await asyncio.gather(*(each.process.stop() for each in everything))

    try:
        asyncio.run(start())
        yield Stage(service=service, hold=hold, trunks=trunks, phones_believe=authority.trust)
    finally:
        asyncio.run(stop())
        Process.started.difference_update(each.process for each in everything)
        shutil.rmtree(directory)


@pytest.fixture
async def stage(running_stage: Stage) -> AsyncIterator[Stage]:
    """The stage, with a service that is alive at both ends and logged no fault."""
    service = running_stage.service
    mark = service.process.output_size()
    assert service.process.running, "the service died in an earlier test"
    yield running_stage
    await service.close()
    assert service.process.running, "the service died"
    assert "Traceback" not in service.process.output(since=mark)
    for asterisk in (running_stage.hold, *running_stage.trunks.values()):
        assert asterisk.process.running, "Asterisk died"


@pytest.fixture
async def sink(stage: Stage) -> AsyncIterator[PushSink]:
    """Where the stage's pushes go, on the same port for each test."""
    url = stage.service.options.webhook_url
    assert url is not None
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with PushSink(key=WEBHOOK_KEY, port=port) as sink:
        yield sink


@pytest.fixture(scope="session")
def free_numbers() -> dict[str, Iterator[str]]:
    """Extensions that no test has used, by kind. Tests of one kind take turns."""
    found = {kind: itertools.cycle(map(str, numbers(kind))) for kind in KINDS}
    found["trunk"] = itertools.cycle(map(str, range(900, 1000)))
    found["at-trunk"] = itertools.cycle(map(str, range(100, 130)))
    return found


@pytest.fixture
async def sleeper(
    stage: Stage, sink: PushSink, free_numbers: dict[str, Iterator[str]]
) -> AsyncIterator[MakeSleeper]:
    """Makes extensions whose phones sleep behind the service: of a kind, or `trunk`."""
    made: list[Sleeper] = []

    async def make(
        kind: str = "plain", *, by: str = "udp", user: str | None = None, **fields: Any
    ) -> Sleeper:
        topology = "trunk" if kind == "trunk" else "hold"
        new = Sleeper(
            service=stage.service,
            pbx=stage.pbx(topology, by),
            sink=sink,
            user=user or next(free_numbers[kind]),
            topology=topology,
            believes=stage.phones_believe,
        )
        made.append(new)
        await new.provision(f"{topology}-{by}", **fields)
        return new

    yield make
    for each in made:
        await stage.service.delete_account(each.account)


@pytest.fixture
async def desks(stage: Stage, free_numbers: dict[str, Iterator[str]]) -> AsyncIterator[MakeDesk]:
    """Makes phones that are registered at Asterisk itself."""
    made: list[Phone] = []

    async def make(
        kind: str = "plain", *, by: str = "udp", user: str | None = None, **fields: Any
    ) -> Phone:
        pbx = stage.trunks[by] if kind == "at-trunk" else stage.hold
        phone = desk(pbx, user or next(free_numbers[kind]), **fields)
        made.append(phone)
        assert (await phone.register(expires_s=120)).status == 200
        return phone

    yield make
    for phone in made:
        if phone.agent.is_open:
            await phone.unregister()
            phone.sleep()
    await asyncio.sleep(0)  # sockets close in the loop's next round


@pytest.fixture
async def callers(
    stage: Stage, free_numbers: dict[str, Iterator[str]]
) -> AsyncIterator[MakeCaller]:
    """Makes people at the PBX who only call."""
    made: list[Caller] = []

    async def make(kind: str = "plain", *, by: str = "udp", **fields: Any) -> Caller:
        pbx = stage.trunks[by] if kind == "at-trunk" else stage.hold
        caller = desk_caller(pbx, next(free_numbers[kind]), **fields)
        made.append(caller)
        await caller.wake()
        return caller

    yield make
    for caller in made:
        caller.sleep()
    await asyncio.sleep(0)  # sockets close in the loop's next round
