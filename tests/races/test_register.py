"""Races 1, 5 and 6: a REGISTER that meets the wait, a burst of them, a token that rotates."""

from __future__ import annotations

import asyncio

from push_proxy.tasks import spawn
from tests.lab.push_sink import Push, Reply

from .phones import Ring, Rings
from .run import Run
from .stage import Story, World

ANSWERS = Rings(then=200)


async def register_meets_the_wait(run: Run) -> Story:
    """Race 1."""
    await run.put("a")
    phone = await run.phone("a", ANSWERS)
    within = run.maybe(0.6)
    fires_s, answers_s = run.soon(0.01), run.soon(0.01)
    apart_s = run.draw.uniform(-0.003, 0.003)
    slow = run.maybe(0.2)

    async def provider(push: Push) -> Reply | None:
        if push.type == "call" and within:
            run.after(fires_s, phone.fire)
        await asyncio.sleep(answers_s)
        if slow and within:  # the provider takes its time
            await run.until(lambda: phone.rings, "INVITE within the push")
        run.met.add("rung within the push" if phone.rings else "pushed before the REGISTER")
        return None

    run.provider = provider

    async def story() -> None:
        if within:
            run.call()
        elif apart_s < 0:
            phone.fire()
            run.after(-apart_s, run.call)
        else:
            run.call()
            run.after(apart_s, phone.fire)
        await run.until(lambda: run.attempts and run.attempts[0].status, "answer")
        assert run.attempts[0].answered
        assert len(run.rings) == 1
        if not run.pushes:
            run.met.add("registered before the INVITE")

    return story


async def test_race_1_register_meets_the_wait(world: World) -> None:
    """The REGISTER comes around the INVITE, or within the push, before or after the provider's
    answer: the call is delivered, once.
    """
    await world.play(
        register_meets_the_wait,
        met=(
            "pushed before the REGISTER",
            "rung within the push",
            "registered before the INVITE",
        ),
    )


async def register_burst(run: Run) -> Story:
    """Race 5."""
    await run.put("a")
    phone = await run.phone("a", Rings(then=200, then_s=0.3))
    beside = await run.phone("a", Rings(then=200, then_s=0.3))
    begins_s = run.soon(0.01)
    pauses = [run.soon(0.004) for _ in range(run.draw.randint(2, 5))]
    kinds = [
        run.draw.choice(("again", "new Call-ID", "unauthenticated", "new token")) for _ in pauses
    ]
    twice = run.maybe(0.3)

    async def story() -> None:
        call = run.call()
        await run.first_push()
        await asyncio.sleep(begins_s)
        phone.agent.send(phone.register_request(), phone.proxy)
        last = phone.armed()
        for kind, pause_s in zip(kinds, pauses, strict=True):
            if kind == "unauthenticated":
                phone.agent.send(phone.register_request(), phone.proxy)
            elif kind == "new Call-ID":
                phone.fire(fresh=True)
            elif kind == "new token":
                phone.fire(contact_params=f";app-token={run.draw.random()}")
            else:
                phone.fire(last)
            run.met.add(kind)
            await asyncio.sleep(pause_s)
        phone.fire()
        if twice:
            await run.until(lambda: call.rang, "180")
            beside.fire()
            await beside.registered()
            run.met.add("registered by two ports")
        await run.until(lambda: call.status, "answer")
        assert call.answered
        assert len(run.rings) == 1
        _not_before_its_200(run.rings[0])

    return story


def _not_before_its_200(ring: Ring) -> None:
    came = [m for m in ring.phone.agent.history if m.status == 200 or m.method == "INVITE"]
    assert came[0].cseq_method == "REGISTER", "rung before its REGISTER was answered"


async def test_race_5_a_burst_of_registers(world: World) -> None:
    """Unauthenticated, authenticated, repeated, with new Call-IDs, tokens and ports: one INVITE
    for one phone, and not before a REGISTER of its own has had its 200.
    """
    await world.play(
        register_burst,
        met=("again", "new Call-ID", "unauthenticated", "new token", "registered by two ports"),
        least=10,
    )


async def token_rotates(run: Run) -> Story:
    """Race 6."""
    await run.put("a", wake={"ringing": "device_rings"})
    old, new = f"old-{run.user}", f"new-{run.user}"
    await run.put_device("a", token=old)
    phone = await run.phone("a", ANSWERS)
    refused_s, comes_s = run.soon(0.02), run.soon(0.03)
    waits, comes_with = run.maybe(0.6), run.draw.choice(("push", "rotation", "refusal"))
    refusal = Reply(status=run.draw.choice((410, 410, 200)))

    async def rotate() -> None:
        await run.put_device("a", token=new)
        rotated.set()
        if comes_with == "rotation":
            run.after(comes_s, phone.fire)

    async def provider(push: Push) -> Reply | None:
        if push.type != "call" or push.payload["token"] != old:
            return None
        if comes_with == "push":
            run.after(comes_s, phone.fire)
        kept.append(spawn(rotate(), name="the app tells its new token"))
        if waits:
            await rotated.wait()
        await asyncio.sleep(refused_s)
        run.met.add("refused after the rotation" if rotated.is_set() else "refused before it")
        if comes_with == "refusal":
            run.after(comes_s, phone.fire)
        return refusal

    rotated = asyncio.Event()
    kept: list[asyncio.Task[None]] = []
    run.provider = provider

    async def story() -> None:
        call = run.call()
        await run.until(lambda: call.status, "final response")
        await asyncio.gather(*kept)
        # A provider that answers late is asked again: the same push once more.
        sent = {push.payload["push_id"]: push.payload["token"] for push in run.pushes_of()}
        tokens = list(sent.values())
        assert len(tokens) == len(set(tokens)), "one token was pushed twice"
        lost = refusal.status == 410 and not call.answered
        assert call.answered or (lost and "refused before it" in run.met), "the call was lost"
        shown = await run.service.expect("GET", f"/v1/accounts/{run.account}")
        assert [device["device"] for device in shown["status"]["devices"]] == ["a"]
        if tokens == [old, new]:
            run.met.add("pushed again")
        if call.answered and refusal.status == 410:
            run.met.add("refused, and answered all the same")
            assert len(run.rings) == 1

    return story


async def test_race_6_the_token_rotates_in_the_wake(world: World) -> None:
    """The provider's 410 for the old token crosses the new one and the REGISTER: the phone is
    rung, once, and keeps its new token.
    """
    await world.play(
        token_rotates,
        met=(
            "pushed again",
            "refused after the rotation",
            "refused before it",
            "refused, and answered all the same",
        ),
    )
