"""Races 2, 3 and 4: the caller gives up, the next call comes, two calls come at once."""

from __future__ import annotations

import asyncio

from .phones import Rings
from .run import Run
from .stage import Story, World

ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


async def cancel_while_waking(run: Run) -> Story:
    """Race 2."""
    await run.put("a")
    rings_s = run.draw.choice((0.0, 0.0, 0.01, None))
    phone = await run.phone("a", Rings(rings_s))
    reason = run.draw.choice(("", "Q.850;cause=16", ELSEWHERE))
    from_push = run.maybe(0.8)
    comes_s = run.soon(0.02)
    gone_s = run.near(comes_s, 0.006) if from_push else run.soon(0.02)
    when_rung = run.maybe(0.2)

    async def story() -> None:
        call = run.call()
        if from_push:
            await run.first_push()
        run.after(comes_s, phone.fire)
        if when_rung:
            await run.until(lambda: phone.rings, "INVITE")
        await asyncio.sleep(gone_s)
        call.cancel(reason)
        await run.until(lambda: call.status, "487")
        assert call.status == 487
        await run.until(lambda: phone.registered_at, "200 to the REGISTER")
        rung = phone.ringing()
        if rung and rings_s is None:
            await asyncio.sleep(run.draw.random() * 0.05)
            rung[0].say(180)  # the CANCEL that was held back comes after it
        assert len(rung) <= 1
        run.met.add("rung, then called off" if rung else "called off before the REGISTER")
        if run.pushes_of("call") and not rung:
            kind = "answered_elsewhere" if reason == ELSEWHERE else "cancel"
            await run.until(lambda: run.pushes_of(kind), "the terminal push")

    return story


async def test_race_2_cancel_while_waking(world: World) -> None:
    """CANCEL at any moment around the REGISTER: 487 once, the phone that was rung is called off,
    the one that was not hears of it by one push; nothing is rung afterwards.
    """
    await world.play(
        cancel_while_waking,
        met=("rung, then called off", "called off before the REGISTER"),
        least=10,
    )


async def the_old_call_and_the_next(run: Run) -> Story:
    """Race 3."""
    await run.put("a")
    phone = await run.phone("a", Rings(then=200, then_s=0.05))
    gone_s, next_s = run.soon(0.03), run.soon(0.005)
    comes_s = run.near(next_s, 0.006)

    async def story() -> None:
        first = run.call()
        await run.first_push()
        await asyncio.sleep(gone_s)
        first.cancel()
        run.after(comes_s, phone.fire)
        await asyncio.sleep(next_s)
        second = run.call()
        await run.until(lambda: first.status and second.status, "both final responses")
        assert (first.status, second.answered) == (487, True)
        assert len(phone.ringing(second.call_id)) == 1
        assert not phone.ringing(first.call_id), "its CANCEL was before the REGISTER"
        early = phone.fired[0] < second.at
        run.met.add("REGISTER before B" if early else "REGISTER after B")

    return story


async def test_race_3_the_old_call_takes_nothing_from_the_next(world: World) -> None:
    """A, CANCEL, B, REGISTER, all within milliseconds: B is delivered once, A is not, and nothing
    of A waits any more.
    """
    await world.play(
        the_old_call_and_the_next, met=("REGISTER before B", "REGISTER after B"), least=10
    )


async def two_calls(run: Run) -> Story:
    """Race 4."""
    await run.put("a")
    phone = await run.phone("a", Rings(then=200, then_s=0.1))
    between_s = run.soon(0.05)
    comes_s = run.near(between_s, 0.008)
    times = run.draw.choice((1, 1, 3))
    who = run.draw.choice((None, 0, 1))
    gone_s = run.near(0.01)
    when_rung = run.maybe(0.3)

    async def story() -> None:
        calls = [run.call()]
        begun = asyncio.get_running_loop().time()
        for n in range(times):
            run.after(comes_s + n * 0.001, phone.fire)
        await asyncio.sleep(between_s)
        calls.append(run.call())
        await asyncio.sleep(max(0.0, begun + comes_s + gone_s - asyncio.get_running_loop().time()))
        if who is not None:
            if when_rung:
                await run.until(lambda: phone.ringing(calls[who].call_id), "INVITE")
            calls[who].cancel()
        await run.until(lambda: all(call.status for call in calls), "both final responses")
        for number, call in enumerate(calls):
            rung = phone.ringing(call.call_id)
            if number == who:
                assert call.status == 487 or (rung and call.answered)
                assert len(rung) <= 1
                run.met.add("cancelled when it rang" if rung else "cancelled before it rang")
            else:
                assert call.answered
                assert len(rung) == 1
            pushes = {p.call_id for p in run.pushes if p.payload["sip_call_id"] == call.call_id}
            assert len(pushes) <= 1
        early = phone.fired[0] < calls[1].at
        run.met.add("REGISTER before B" if early else "one REGISTER for both")

    return story


async def test_race_4_two_calls_one_register(world: World) -> None:
    """B comes while A wakes the phone: each is delivered once, and each has a CANCEL of its own."""
    await world.play(
        two_calls,
        met=("REGISTER before B", "one REGISTER for both", "cancelled when it rang"),
    )
