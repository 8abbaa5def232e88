"""A service with a PBX, one phone that is registered and one that sleeps, at a Redis that goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from push_proxy.runtime.clock import SystemClock
from push_proxy.store.redis import RedisStore
from push_proxy.store.secrets import load_key_ring
from tests.e2e.conftest import Extension
from tests.lab.kamailio import Kamailio
from tests.lab.phone import Phone
from tests.lab.push_sink import PushSink
from tests.lab.redis_process import RedisProcess, until
from tests.lab.service import LabService, ServiceOptions

START_S = 60.0


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a test begins with."""

    url: str
    service: LabService
    awake: Extension
    """Its phone is registered for as long as the test takes."""
    asleep: Extension
    phone: Phone
    """The registered one."""

    async def calls_go_on(self) -> None:
        """A call to the registered phone, and one that wakes the sleeping one, are answered."""
        async with self.awake.caller() as caller:
            await _through(caller, self.awake, self.phone)
        async with self.asleep.caller() as caller, self.asleep.phone() as phone:
            self.asleep.wake_on_push(phone.register)
            before = len(self.asleep.sink.pushes)
            await _through(caller, self.asleep, phone)
            assert len(self.asleep.sink.pushes) == before + 1
            # Asleep again: the next call needs a push too.
            await phone.register(expires_s=0)

    async def put(self, name: str) -> tuple[int, dict[str, Any]]:
        """An operator makes an account; the answer."""
        body = {"aor": f"sip:{name}@pbx.test", "registrar": "sip:127.0.0.1:9", "password": "x"}
        return await self.service.request("PUT", f"/v1/accounts/{name}", body)

    async def refuses(self, name: str) -> None:
        """It is refused in a second or two: 503, a problem document that says why."""
        status, problem = await self.put(name)
        assert status == 503, problem
        assert "Redis" in problem["detail"], problem

    async def refused_or_taken(self, name: str) -> None:
        """503, or it is done: which one depends on where its keys lie."""
        status, problem = await self.put(name)
        assert status in {200, 201, 503}, problem

    async def takes(self, name: str) -> None:
        """It is taken, at once or when Redis is as fast again as it should be."""
        answers: list[dict[str, Any]] = []

        async def taken() -> bool:
            status, answer = await self.put(name)
            answers.append(answer)
            assert status in {200, 201, 503}, answer
            return status != 503

        await until(taken, what=f"account {name}, last answer {answers[-1:]}", within_s=10)

    async def degraded(self, why: str, *, within: float = 6.0) -> None:
        """Waits until readiness says so, for this reason."""
        await self.service.eventually(
            lambda: self.service.expect("GET", "/readyz"),
            lambda answer: answer["status"] == "degraded" and why in " ".join(answer["reasons"]),
            within=within,
            what=f"readiness degraded by {why}",
        )

    async def ready(self, *, within: float = 15.0) -> None:
        """Waits until it is ready by itself."""
        await self.service.eventually(
            lambda: self.service.expect("GET", "/readyz"),
            lambda answer: answer["status"] == "ready",
            within=within,
            what="readiness",
        )

    async def kept(self) -> None:
        """Waits until the store has all that the service knows, readable: the next start's view."""
        known = await self.accounts()
        ring = load_key_ring(keys=None, key_file=None, data_dir=self.service.directory / "data")
        store = RedisStore(self.url, ring=ring, clock=SystemClock(), timeout_s=5.0)
        await store.open()

        async def the_same() -> bool:
            found = [state async for state in store.everything()]
            devices = {state.account.account for state in found if state.devices}
            bound = {state.account.account for state in found if state.bindings}
            return (
                {state.account.account: state.account.aor for state in found} == known
                and devices == {self.awake.account, self.asleep.account}
                and bound == {self.awake.account}
            )

        try:
            await until(the_same, what="same contents of store and memory", within_s=10)
        finally:
            await store.aclose()

    async def restarted(self) -> None:
        """The service is killed and starts with what the store has: as before."""
        known = await self.accounts()
        self.service.kill()
        await self.service.start(ready=False)
        await self.service.wait_ready(within_s=START_S)
        assert await self.accounts() == known
        await self.calls_go_on()

    async def accounts(self) -> dict[str, str]:
        """Their AORs by name."""
        page = await self.service.expect("GET", "/v1/accounts?limit=100")
        return {each["account"]: each["aor"] for each in page["accounts"]}


async def _through(caller: Any, extension: Extension, phone: Phone) -> None:
    call = caller.call(extension.aor)
    incoming = await phone.incoming()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()


MakeScene = Callable[[str], Awaitable[Scene]]


@pytest.fixture
async def make_scene(
    workdir: Path, kamailio: Kamailio, push_sink: PushSink
) -> AsyncIterator[MakeScene]:
    """Starts the service at a ``redis.url``."""
    phones: list[Phone] = []
    services: list[LabService] = []

    async def make(url: str) -> Scene:
        options = ServiceOptions(
            webhook_url=push_sink.url, webhook_key=push_sink.key, extra={"redis": {"url": url}}
        )
        service = LabService(workdir / "service", options)
        services.append(service)
        await service.start(ready=False)
        await service.wait_ready(within_s=START_S)
        awake, asleep = (
            Extension(service=service, pbx=kamailio, sink=push_sink, user=user)
            for user in ("101", "102")
        )
        await awake.provision()
        await asleep.provision()
        phone = awake.phone()
        await phone.__aenter__()
        phones.append(phone)
        await phone.register()
        return Scene(url=url, service=service, awake=awake, asleep=asleep, phone=phone)

    yield make
    for phone in phones:
        await phone.__aexit__(None, None, None)
    for service in services:
        await service.stop()


@pytest.fixture
async def redis(workdir: Path) -> AsyncIterator[RedisProcess]:
    """One server that keeps its data over a restart; it runs."""
    # Not "always": a disk that is busy would hold up every write.
    process = RedisProcess(workdir / "redis", "--appendfsync", "everysec")
    await process.start()
    yield process
    process.kill()
