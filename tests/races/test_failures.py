"""Race 10: provider, store or PBX fail in the middle of the wake, or the PBX sends it again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from push_proxy.tasks import spawn
from tests.lab.push_sink import Push, Reply

from .phones import Rings
from .run import Run
from .stage import Story, World

DEADLINE_S = 5.0
"""The shortest that the service takes."""


async def the_provider_fails(run: Run) -> Story:
    """Race 10, the provider: each push has a fate, and the phone comes around it."""
    await run.put("a", wake={"deadline_s": DEADLINE_S, "repush_after_s": 1})
    phone = await run.phone("a", Rings(then=200))
    fates = [
        run.draw.choice(
            (
                Reply(status=500),
                Reply(status=503, headers={"Retry-After": "1"}),
                Reply(status=429, headers={"Retry-After": "1"}),
                Reply(status=410),
                Reply(drop=True),
                Reply(hang=True),
                Reply(),
            )
        )
        for _ in range(3)
    ]
    first = fates[0]
    comes_s = run.soon(0.02) if run.maybe(0.7) else None
    answers_s = run.soon(0.02)

    async def provider(push: Push) -> Reply | None:
        if push.type != "call":
            return None
        if comes_s is not None and not phone.fired:
            run.after(comes_s, phone.fire)
        await asyncio.sleep(answers_s)
        return fates.pop(0) if fates else None

    run.provider = provider

    async def story() -> None:
        call = run.call()
        await run.until(lambda: call.status, "final response")
        assert call.status in {200, 480}
        assert call.answered == bool(phone.rings)
        if call.answered:
            run.met.add("answered")
        else:
            run.met.add("refused: nobody was reached")
        if comes_s is None:
            assert not call.answered
            if first.status == 410:
                run.met.add("ended at the refusal")
                assert (call.final_at or 0) - call.at < DEADLINE_S - 1, "waited for nobody"

    return story


async def test_race_10_the_provider_fails(world: World) -> None:
    """It refuses, breaks off, asks for patience or never answers, and the phone comes or does not:
    one final response, every push in time, and a phone that registers before it is rung once.
    """
    await world.play(
        the_provider_fails, met=("answered", "refused: nobody was reached", "ended at the refusal")
    )


async def sent_again(run: Run) -> Story:
    """Race 10, the PBX: it repeats its INVITE at any moment."""
    await run.put("a")
    phone = await run.phone("a", Rings(run.soon(0.01), 200, run.soon(0.02)))
    moments = [run.soon(0.06) for _ in range(run.draw.randint(1, 4))]
    comes_s = run.soon(0.02)

    async def story() -> None:
        call = run.call()
        for moment_s in moments:
            run.after(moment_s, call.half.send_again)
        await run.first_push()
        run.after(comes_s, phone.fire)
        await run.until(lambda: call.heard, "first response")
        call.half.send_again()
        await run.until(lambda: call.status, "final response")
        call.half.send_again()
        assert call.answered
        assert len(phone.rings) == 1
        assert len({push.payload["push_id"] for push in run.pushes_of(device="a")}) == 1
        early = min(moments) < call.heard[0].arrived_s - call.at
        run.met.add("before the first response too" if early else "only later")
        await asyncio.sleep(max(moments))

    return story


async def test_race_10_the_pbx_repeats_itself(world: World) -> None:
    """The same INVITE with the same branch, before and after the first response: one wake, one
    push, one INVITE to the phone.
    """
    await world.play(sent_again, met=("before the first response too",))


async def sent_by_another_way(run: Run) -> Story:
    """Race 10, the PBX: the same INVITE comes in another transaction."""
    await run.put("a")
    phone = await run.phone("a", Rings(run.soon(0.01)))
    comes_s, picks_s = run.soon(0.02), run.soon(0.02)
    again_s = run.near(comes_s, 0.008)
    after_push = run.maybe(0.8)
    gone_s = run.soon(0.03) if run.maybe(0.2) else None

    async def story() -> None:
        first = run.call()
        if after_push:
            await run.first_push()
        run.after(comes_s, phone.fire)
        await asyncio.sleep(again_s)
        second = run.call_again(first)
        await run.until(lambda: phone.rings or gone_s is not None, "an INVITE")
        for ring in phone.rings:
            ring.later(picks_s, 200)
        if gone_s is not None:
            await asyncio.sleep(gone_s)
            first.cancel()
            second.cancel()
        await run.until(lambda: first.status and second.status, "both final responses")
        await run.until(lambda: phone.registered_at, "200 to the REGISTER")
        run.met.add("the second goes on" if first.status == 482 else "the first goes on")
        assert 482 in {first.status, second.status}, (first.status, second.status)
        goes_on = second if first.status == 482 else first
        assert goes_on.answered or (goes_on.status == 487 and gone_s is not None)
        assert len(phone.rings) <= 1
        assert len({push.payload["push_id"] for push in run.pushes_of()}) <= 1

    return story


async def test_race_10_the_same_invite_by_another_way(world: World) -> None:
    """Same Call-ID, CSeq and Request-URI with another branch joins the running wake: no second
    push, no second INVITE; one transaction goes on, the other gets 482 (RFC 3261 §8.2.2.2).
    """
    await world.play(sent_by_another_way, met=("the second goes on", "the first goes on"))


async def stopped_store(run: Run) -> Story:
    """Race 10, the store: it stands still for a while, around the INVITE, the push or the end."""
    await run.put("a")
    phone = await run.phone("a", Rings(then=200, then_s=run.soon(0.02)))
    comes_s = run.soon(0.05)
    gone_s = run.near(comes_s) if run.maybe(0.3) else None

    async def story() -> None:
        call = run.call()
        await run.first_push()
        run.after(comes_s, phone.fire)
        if gone_s is not None:
            await asyncio.sleep(gone_s)
            call.cancel()
        await run.until(lambda: call.status, "final response")
        assert call.answered or gone_s is not None
        run.met.add("answered" if call.answered else "cancelled")

    return story


async def test_race_10_the_store_stands_still(world: World) -> None:
    """Redis hangs for a second in the middle of it: calls are delivered and cancelled as ever."""
    (redis,) = _children(world.service.process.pid)

    async def hang() -> None:
        await asyncio.sleep(0.3)
        for _ in range(3):
            os.kill(redis, signal.SIGSTOP)
            await asyncio.sleep(0.4)
            os.kill(redis, signal.SIGCONT)
            await asyncio.sleep(0.1)

    world.meanwhile = lambda: spawn(hang(), name="Redis hangs")
    try:
        await world.play(stopped_store, met=("answered", "cancelled"))
    finally:
        os.kill(redis, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    """Its child processes: the embedded Redis."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
