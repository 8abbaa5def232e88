"""The store is down at the start, or the embedded one dies or hangs: calls to known bindings go on,
and everybody is told. A Redis that goes while the service runs: `tests/store_away`.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.lab.kamailio import Kamailio
from tests.lab.ports import free_port
from tests.lab.process import Process
from tests.lab.push_sink import PushSink
from tests.lab.redis_server import redis_server
from tests.lab.service import LabService, ServiceOptions

from .conftest import Extension, StartService


@pytest.fixture
def redis(workdir: Path) -> Iterator[Process]:
    """A Redis of Debian's on a free port, not started; it keeps its data over a restart."""
    directory = workdir / "redis"
    directory.mkdir()
    program = redis_server(directory)
    port = free_port()
    process = Process(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory),
         "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
        name="Redis",
        log=workdir / "redis.log",
    )  # fmt: skip
    process.url = f"redis://:secret-in-url@127.0.0.1:{port}/0"  # type: ignore[attr-defined]
    yield process
    process.kill()


def options(redis: Process, push_sink: PushSink) -> ServiceOptions:
    url = redis.url.replace(":secret-in-url@", "")  # type: ignore[attr-defined]
    return ServiceOptions(
        webhook_url=push_sink.url, webhook_key=push_sink.key, extra={"redis": {"url": url}}
    )


async def readiness(service: LabService) -> tuple[int, str, str]:
    status, answer = await service.request("GET", "/readyz")
    return status, answer["status"], " ".join(answer["reasons"])


async def degraded(service: LabService, why: str, *, within: float = 5.0) -> None:
    """Waits until readiness says so, for this reason."""
    await service.eventually(
        lambda: service.expect("GET", "/readyz"),
        lambda answer: answer["status"] == "degraded" and why in " ".join(answer["reasons"]),
        within=within,
        what=f"readiness degraded by {why}",
    )


async def ready(service: LabService, *, within: float = 15.0) -> None:
    """Waits until it is ready again by itself."""
    await service.eventually(
        lambda: service.expect("GET", "/readyz"),
        lambda answer: answer["status"] == "ready",
        within=within,
        what="readiness",
    )


async def call_through(ext: Extension, *, pushed: int) -> None:
    """A call to its registered phone, and one that has to wake it; both are answered."""
    async with ext.caller() as caller, ext.phone() as phone:
        ext.wake_on_push(phone.register)
        before = len(ext.sink.pushes)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
        assert len(ext.sink.pushes) - before == pushed


async def test_redis_down_at_start(
    start_service: StartService, redis: Process, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """Redis is down at the start: the log names where it should be and what to check, readiness is
    503, the process stays; when Redis comes it starts by itself.
    """
    workdir = redis.log.parent
    service = LabService(workdir / "early", options(redis, push_sink))
    try:
        await service.start(ready=False)
        await service.wait_status("/readyz", 503, within_s=10)
        await service.process.wait_for("the store does not answer", within_s=5)
        status, state, reasons = await readiness(service)
        assert (status, state) == (503, "starting")
        assert "redis.url" in reasons
        assert "is it running?" in reasons
        assert "retry_in_s" in service.process.output()
        assert (await service.request("GET", "/healthz"))[0] == 200
        status, _ = await service.request("GET", "/v1/accounts")
        assert status == 503
        redis.start()
        await service.wait_ready(within_s=15)
        ext = Extension(service=service, pbx=kamailio, sink=push_sink, user="101")
        await ext.provision()
        await call_through(ext, pushed=1)
    finally:
        await service.stop()


async def test_embedded_valkey_dies(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """The embedded Valkey is killed: it is started again with what is in its file, and calls go
    through before and after.
    """
    ext = Extension(service=own_service, pbx=kamailio, sink=push_sink, user="101")
    await ext.provision()
    socket = own_service.directory / "data" / "valkey.sock"
    async with Redis.from_url(f"unix://{socket}") as valkey:
        assert await valkey.execute_command("WAITAOF", 1, 0, 10_000) == [1, 0]
    pid = int((own_service.directory / "data" / "valkey.lock").read_text())
    os.kill(pid, signal.SIGKILL)
    await call_through(ext, pushed=1)
    await own_service.process.wait_for("embedded Valkey died", within_s=5)
    await ready(own_service)
    assert int((own_service.directory / "data" / "valkey.lock").read_text()) != pid
    await own_service.stop()
    await own_service.start()
    assert (await own_service.expect("GET", f"/v1/accounts/{ext.account}"))["aor"] == ext.aor


async def test_embedded_valkey_hangs(
    own_service: LabService, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """The embedded Valkey stops answering: degraded, calls go through, and it recovers."""
    ext = Extension(service=own_service, pbx=kamailio, sink=push_sink, user="101")
    await ext.provision()
    pid = int((own_service.directory / "data" / "valkey.lock").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        await degraded(own_service, "embedded Valkey")
        await call_through(ext, pushed=1)
    finally:
        os.kill(pid, signal.SIGCONT)
    await ready(own_service)
