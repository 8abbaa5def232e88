"""Further: the PBX loses our REGISTERs' answers, forgets nonces, restarts; and calls meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from tests.lab.pbx import Pbx

from .phones import Rings
from .registrar import FailingPbx
from .run import PBX_HOST, Run
from .stage import Story, World

GRANTED_S = 20
WHAT = {"lost": "200 was lost", "stale": "nonce was stale"}


@pytest.fixture
async def pbx() -> AsyncIterator[Pbx]:
    """One that fails."""
    async with FailingPbx(host=PBX_HOST, max_expires_s=GRANTED_S) as pbx:
        yield pbx


async def test_further_registration_in_a_bad_network(world: World) -> None:
    """A hundred registrations of twenty seconds, whose 200s are lost and whose nonces are forgotten
    as calls come: no account is ever without its binding, none has two, the CSeq only grows, and
    every call is delivered.
    """
    failing = world.pbx
    assert isinstance(failing, FailingPbx)
    draws: dict[str, random.Random] = {}
    failing.fate = lambda user: (
        draws[user].choice(("lost", "stale", "", "")) if user in draws else ""
    )

    async def called_meanwhile(run: Run) -> Story:
        await run.put(
            "a",
            topology="hold",
            registrar=failing.uri,
            password=failing.password(run.user),
            app_auth={"password": "app", "realm": "races.test"},
        )
        run.contact = (await failing.registered(run.user)).uri
        phone = await run.phone("a", Rings(then=200))
        draws[run.user] = run.draw
        calls_s, comes_s = run.draw.uniform(3, 9), run.soon(0.02)

        async def story() -> None:
            await asyncio.sleep(calls_s)
            call = run.call()
            await run.first_push()
            run.after(comes_s, phone.fire)
            await run.until(lambda: call.status, "final response")
            assert call.answered
            assert len(phone.rings) == 1
            known = failing.counts[run.user]
            await run.until(lambda: failing.counts[run.user] > known, "its next refresh")
            run.met |= {f"its {WHAT[what]}" for what in failing.seen[run.user]}

        return story

    await world.play(
        called_meanwhile,
        met=("its 200 was lost", "its nonce was stale"),
    )
    assert not failing.gaps, failing.gaps
