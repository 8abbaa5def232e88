"""Race 8: the connection of a registered phone is dead, and only the INVITE finds that out."""

from __future__ import annotations

import asyncio
import time

from tests.lab.push_sink import Push, Reply

from .phones import RacePhone, Rings
from .run import Run
from .stage import Story, World

ELSEWHERE = "127.0.0.9"
SILENT = Rings(None)


def leaves(phone: RacePhone, how: str) -> None:
    """From now on nobody is at this end."""
    phone.left_at = time.monotonic()
    if phone.agent.transport == "udp":
        return
    if how == "reset":
        phone.drop_flow()
    else:
        phone.freeze()


async def a_dead_flow(run: Run) -> Story:
    """Race 8."""
    await run.put("a", wake={"deadline_s": 10})
    transport = run.draw.choice(("udp", "tcp", "tls"))
    how = run.draw.choice(("reset", "half-open")) if transport != "udp" else "half-open"
    old = await run.phone("a", SILENT, transport=transport)
    host = run.draw.choice((ELSEWHERE, "127.0.0.1"))
    new = await run.phone("a", Rings(then=200), transport=transport, host=host)
    gone_s = run.near(0.01, 0.005) - 0.01
    unpushed = run.maybe(0.3)
    comes_s, again_s = run.soon(0.02), run.soon(0.01)
    if not unpushed:
        comes_s = run.soon(0.005)
    times = run.draw.choice((1, 2))

    def returns() -> None:
        new.fire()
        if times == 2:
            run.after(again_s, new.fire)

    async def provider(push: Push) -> Reply | None:
        if push.type == "call" and not new.fired:
            run.after(comes_s, returns)
        return None

    run.provider = provider

    async def story() -> None:
        old.fire()
        await old.registered()
        if gone_s < 0:
            leaves(old, how)
            await asyncio.sleep(-gone_s)
        call = run.call()
        if gone_s >= 0:
            run.after(gone_s, lambda: leaves(old, how))
        if unpushed:
            run.after(comes_s, returns)
        await run.until(lambda: call.status, "final response", within=25)
        assert call.answered
        assert len(new.rings) == 1
        assert len(old.rings) <= 1
        called_up = [c for phone in (old, new) for c in phone.agent.connections if c.incoming]
        assert not called_up, "a phone is reached on its own connection or not at all"
        run.met.add(f"{how} {transport}")
        run.met.add("after a push" if run.pushes_of() else "by itself")

    return story


async def test_race_8_a_dead_flow(world: World) -> None:
    """Reset or silent, before or after the INVITE: the phone is pushed or comes by itself, and gets
    the INVITE on its new flow once, in the same transaction of the caller's. Nothing is ever sent
    on a connection that we would have to make first.
    """
    await world.play(
        a_dead_flow,
        met=(
            "half-open udp",
            "half-open tcp",
            "half-open tls",
            "reset tcp",
            "reset tls",
            "after a push",
            "by itself",
        ),
    )
