"""The service is asked to stop: it finishes what is begun, and sends what is new elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.methods import cross
from tests.lab import sdp
from tests.lab.pbx import Pbx
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_agent import new_branch

from .conftest import WEBHOOK_KEY, Extension
from .messages import send


class Going:
    """A service of its own with one extension, and the signals that it gets."""

    def __init__(self, service: LabService, pbx: Pbx, sink: PushSink) -> None:
        self.service = service
        self.ext = Extension(
            service=service, pbx=pbx, sink=sink, user="900", registrar=f"sip:{pbx.domain}"
        )

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill(self.service.process.pid, number)

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        return await self.service.request("GET", "/readyz")

    async def drains(self) -> dict[str, Any]:
        """What readiness says once the signal has been heard."""
        return await self.service.eventually(
            self._body, lambda body: body["status"] == "draining", within=3, what="drain"
        )

    async def _body(self) -> dict[str, Any]:
        return (await self.readiness())[1]

    async def ended(self, *, within_s: float) -> int:
        return await self.service.process.wait_exit(within_s=within_s)


@pytest.fixture
def drain() -> dict[str, Any]:
    """The section of the configuration."""
    return {}


@pytest.fixture
async def going(workdir: Path, pbx: Pbx, drain: dict[str, Any]) -> AsyncIterator[Going]:
    """A service with a registered extension, whose phone sleeps."""
    async with PushSink(key=WEBHOOK_KEY) as sink:
        options = ServiceOptions(
            webhook_url=sink.url, webhook_key=WEBHOOK_KEY, extra={"drain": drain} if drain else {}
        )
        service = LabService(workdir / "service", options)
        try:
            await service.start()
            stage = Going(service, pbx, sink)
            await stage.ext.put()
            await stage.ext.put_device()
            await pbx.registered("900")
            yield stage
            stage.ext.leave()
        finally:
            await service.stop()


async def test_a_wake_is_finished(going: Going) -> None:
    """SIGTERM while a phone wakes: readiness says that one call is left, OPTIONS get 503; the
    phone registers, rings and answers; a new call gets 503 with Retry-After, and is kept as
    missed; then the service ends by itself.
    """
    ext = going.ext
    call = ext.call()
    await ext.pushed()
    going.signal()
    body = await going.drains()
    assert (body["left"], (await going.readiness())[0]) == (1, 503)
    options = await ext.pbx.options("900")
    assert options.status == 503, "PBXs look for another node"
    refused = await ext.call().final()
    assert (refused.status, refused.all("X-Push-Reason")) == (503, ["proxy_error"])
    assert refused.get("Retry-After")
    missed = await going.service.expect("GET", f"/v1/accounts/{ext.account}/missed-calls")
    assert [each["verdict"] for each in missed["missed_calls"]] == ["proxy_error"]
    phone = ext.phone()
    incoming = await ext.rung(phone)
    incoming.ring()
    await call.expect(180)
    assert (await going.readiness())[1]["left"] == 1
    incoming.accept(sdp.ANSWER)
    await call.answered()
    await incoming.expect_ack()
    assert await going.ended(within_s=4) == 0
    assert "draining" in going.service.process.output()


async def test_a_repeated_invite_of_a_call_that_goes_on_is_no_new_call(going: Going) -> None:
    """While draining, the PBX's second try of a waiting call is told 482, as ever, not 503."""
    ext = going.ext
    call = ext.call()
    await ext.pushed()
    going.signal()
    await going.drains()
    incoming = await ext.rung(ext.phone())
    raw = call.invite.raw.replace(call.invite.branch.encode(), new_branch().encode())
    agent = ext.pbx.agent
    agent.send(raw, ext.service.sip_address)
    await agent.expect(status=482, within=3)
    incoming.reject(486, "Busy Here")
    assert (await call.final()).status == 486
    assert await going.ended(within_s=4) == 0


async def test_nothing_waits(going: Going) -> None:
    """With no call waiting, the first signal ends the service at once."""
    going.signal()
    assert await going.ended(within_s=3) == 0


async def test_a_second_signal_is_obeyed_at_once(going: Going) -> None:
    """SIGINT after SIGTERM: the waiting caller is answered, and the service is gone."""
    ext = going.ext
    call = ext.call()
    await ext.pushed()
    going.signal()
    await going.drains()
    going.signal(signal.SIGINT)
    final = await call.final()
    assert (final.status, final.all("X-Push-Reason")) == (480, ["proxy_error"])
    assert await going.ended(within_s=4) == 0


@pytest.mark.parametrize("drain", [{"deadline_s": 1.0}])
async def test_the_deadline_ends_it(going: Going) -> None:
    """Nobody answers: after ``drain.deadline_s`` the waiting caller is, and the service is gone."""
    ext = going.ext
    call = ext.call()
    await ext.pushed()
    going.signal()
    final = await call.final()
    assert (final.status, final.all("X-Push-Reason")) == (480, ["proxy_error"])
    assert await going.ended(within_s=4) == 0


async def test_dialogs_go_on_while_it_drains(going: Going) -> None:
    """An answered call is held and resumed while another one still wakes."""
    ext = going.ext
    call, incoming = await ext.woken()
    incoming.accept(sdp.ANSWER)
    dialog = await call.answered()
    await incoming.expect_ack()
    near = incoming.dialog()
    waiting = ext.call()
    going.signal()
    await going.drains()
    await cross(dialog, near, "INVITE", body=sdp.HOLD, answer=sdp.ANSWER)
    dialog.send("BYE")
    await near.expect_bye()
    assert (await going.drains())["left"] == 1
    going.signal()
    assert (await waiting.final()).status == 480


async def test_a_message_that_is_held_counts(going: Going) -> None:
    """A MESSAGE waits for the phone that is being woken: the service stays for it."""
    ext = going.ext
    message = await send(ext)
    await ext.pushed(kind="message")
    going.signal()
    assert (await going.drains())["left"] == 1
    going.signal()
    assert (await message.final()).status == 503
