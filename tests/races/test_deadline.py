"""Race 7: the REGISTER comes as the wait ends."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from .phones import Rings
from .run import Run
from .stage import Story, World

DEADLINE_S = 5.0
"""The shortest that the service takes."""


async def register_at_the_deadline(run: Run) -> Story:
    """Race 7: at the wake's deadline, or at the end that the INVITE's own Expires names."""
    await run.put("a", wake={"deadline_s": DEADLINE_S, "repush_after_s": 4.5})
    phone = await run.phone("a", Rings(then=200))
    expires = run.maybe(0.4)
    off_s = run.near(0.1, 0.006) - 0.1
    if run.maybe(0.2):
        off_s = run.draw.choice((-0.4, 0.2))

    async def story() -> None:
        call = run.call(headers=(("Expires", "2"),) if expires else ())
        await run.until(lambda: run.pushes_of() or call.status, "a push")
        if not run.pushes_of():  # the machine was too busy for a second
            assert call.status == 487
            assert expires
            return
        end = datetime.fromisoformat(run.pushes[0].payload["expires_at"]).timestamp()
        await asyncio.sleep(max(0.0, end + off_s - time.time()))
        phone.fire()
        await run.until(lambda: phone.registered_at and call.status, "both ends")
        await run.until(lambda: phone.rings or run.pushes_of("cancel"), "INVITE or cancel push")
        which = "Expires" if expires else "the deadline"
        run.met.add(f"rung before {which}" if phone.rings else f"too late for {which}")
        assert call.status in ({200, 487} if expires else {200, 480})
        assert call.answered <= bool(phone.rings)
        if not phone.rings:
            assert len({push.payload["push_id"] for push in run.pushes_of("cancel")}) == 1

    return story


async def test_race_7_a_register_at_the_deadline(world: World) -> None:
    """Within milliseconds around the end: one final response, and the phone has either an INVITE
    or one cancel push, never neither and never an INVITE after it.
    """
    await world.play(
        register_at_the_deadline,
        met=(
            "rung before the deadline",
            "too late for the deadline",
            "rung before Expires",
            "too late for Expires",
        ),
    )
