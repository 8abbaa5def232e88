"""Races 2 and 7 with phones that show the call at the push, before any SIP: iPhones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.apns import ApnsDouble
from tests.doubles.apns_world import Delivery
from tests.lab.certificates import Authority
from tests.lab.pbx import Pbx
from tests.lab.push_sink import Push, PushSink
from tests.lab.service import APP_ID, LabService, ServiceOptions

from .phones import Ring
from .run import Run
from .stage import Story, World

ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


@pytest.fixture
async def apple(
    workdir: Path, apns: ApnsDouble, pbx: Pbx, authority: Authority
) -> AsyncIterator[tuple[World, ApnsDouble]]:
    """A service that pushes to the double of APNs."""
    section = {
        "app_id": APP_ID,
        "team_id": apns.team_id,
        "key_id": apns.key_id,
        "key_file": str(apns.key_file),
        "base_url": apns.production.base_url,
        "sandbox_base_url": apns.sandbox.base_url,
        "ca_file": str(apns.ca_file),
    }
    options = ServiceOptions(extra={"providers": {"apns": [section]}})
    async with LabService(workdir / "service", options) as service:
        yield World(service, PushSink(), pbx, authority.trust), apns
        assert "Traceback" not in service.process.output()
    assert apns.faults == []


def iphone(run: Run, apns: ApnsDouble) -> dict[str, Any]:
    """The fields of a device whose pushes the run hears of."""

    async def deliver(delivery: Delivery) -> None:
        payload = {name: str(value) for name, value in delivery.payload.items()}
        push = Push(payload, b"", {}, time.monotonic(), time.time(), "")
        await run.pushed(push)

    token = apns.device(APP_ID, deliver=deliver).token
    return {"provider": "apns", "platform": "ios", "token": token}


async def test_races_2_and_7_of_an_iphone(apple: tuple[World, ApnsDouble]) -> None:
    """The caller gives up at any moment around the REGISTER: the phone is sent one INVITE, in the
    call or after it, and its CANCEL with what became of the call; a second REGISTER brings none.
    """
    world, apns = apple

    async def an_iphone_wakes_late(run: Run) -> Story:
        run.late_invites = True
        await run.put()
        await run.put_device("a", **iphone(run, apns))
        answers = run.draw.choice((180, 180, 200))

        def rung(ring: Ring) -> None:
            ring.say(180)
            if run.attempts[0].status:
                ring.say(answers)  # before our CANCEL is there

        phone = await run.phone("a", rung)
        reason = run.draw.choice(("", "Q.850;cause=16", ELSEWHERE))
        comes_s, again_s = run.soon(0.02), run.soon(0.01)
        when_rung = run.maybe(0.3)
        gone_s = max(0.0, comes_s + run.draw.uniform(-0.006, 0.03))

        async def story() -> None:
            call = run.call()
            await run.first_push()
            run.after(comes_s, phone.fire)
            run.after(comes_s + again_s, phone.fire)
            if when_rung:
                await run.until(lambda: phone.rings, "INVITE")
            await asyncio.sleep(gone_s)
            call.cancel(reason)
            await run.until(lambda: call.status and phone.rings, "487 and an INVITE")
            assert call.status == 487
            [ring] = phone.rings
            if not ring.answered:
                await run.until(lambda: ring.cancel, "CANCEL")
                assert ring.cancel is not None
                assert ring.cancel.all("Reason") == ([reason] if reason else [])
            late = ring.at > (call.final_at or 0)
            run.met.add("answered too late" if ring.answered else "late" if late else "in time")

        return story

    await world.play(an_iphone_wakes_late, met=("in time", "late", "answered too late"))
