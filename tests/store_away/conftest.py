"""A service with a PBX, one phone that is registered and one that sleeps, at a Redis that goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Extension, StartService, start_service
from tests.lab.kamailio import Kamailio
from tests.lab.phone import Phone
from tests.lab.push_sink import PushSink
from tests.lab.redis_process import RedisProcess
from tests.lab.service import LabService, ServiceOptions

__all__ = ["start_service"]


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a test begins with."""

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
        """It is taken."""
        status, answer = await self.put(name)
        assert status in {200, 201}, answer

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

    async def restarted(self) -> None:
        """The service is killed and starts with what the store has; nothing is missing there."""
        known = await self.accounts()
        self.service.kill()
        await self.service.start()
        assert await self.accounts() == known
        devices = [each.account for each in (self.awake, self.asleep)]
        for account in devices:
            assert await self.service.device_status(account)

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
    start_service: StartService, kamailio: Kamailio, push_sink: PushSink
) -> AsyncIterator[MakeScene]:
    """Starts the service at a ``redis.url``."""
    phones: list[Phone] = []

    async def make(url: str) -> Scene:
        service = await start_service(
            ServiceOptions(
                webhook_url=push_sink.url,
                webhook_key=push_sink.key,
                extra={"redis": {"url": url}},
            )
        )
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
        return Scene(service=service, awake=awake, asleep=asleep, phone=phone)

    yield make
    for phone in phones:
        await phone.__aexit__(None, None, None)


@pytest.fixture
async def redis(workdir: Path) -> AsyncIterator[RedisProcess]:
    """One server that keeps its data over a restart; it runs."""
    process = RedisProcess(workdir / "redis")
    await process.start()
    yield process
    process.kill()
