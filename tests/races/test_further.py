"""What else crosses a wake: a phone that goes and comes, stale nonces, the PBX's own questions."""

from __future__ import annotations

import asyncio

from tests.lab.push_sink import Push, Reply
from tests.lab.sip_agent import new_call_id
from tests.lab.sip_message import Message, build

from .phones import RacePhone, Rings
from .run import REALM, Run
from .stage import Story, World


async def comes_and_goes(run: Run) -> Story:
    """Further: refresh and de-register race, in order and out of order."""
    await run.put("a", wake={"deadline_s": 10})
    phone = await run.phone("a", Rings(0.0, 200, 0.01))
    moments = [run.soon(0.03) for _ in range(run.draw.randint(1, 3))]
    swaps = run.maybe(0.3)
    pushed_s = run.soon(0.01)
    asleep = run.maybe(0.2)

    async def provider(push: Push) -> Reply | None:
        if push.type == "call":
            run.after(pushed_s, phone.fire)
        return None

    run.provider = provider

    async def story() -> None:
        if not asleep:
            phone.fire()
            await phone.registered()
        calls_s = run.draw.choice(moments)
        leaves = [phone.armed(expires_s=0) for _ in moments]
        stays = [phone.armed() for _ in moments]
        pairs = list(zip(moments, leaves, stays, strict=True))
        for moment_s, leave, stay in () if asleep else pairs:
            first, then = (stay, leave) if swaps else (leave, stay)
            run.after(moment_s, lambda first=first: phone.fire(first))  # type: ignore[misc]
            run.after(moment_s + 0.001, lambda then=then: phone.fire(then))  # type: ignore[misc]
        await asyncio.sleep(calls_s)
        call = run.call()
        if asleep:
            await run.first_push()
        await asyncio.sleep(max(moments) + 0.01)
        phone.fire()  # whatever came of those, it is there now
        await run.until(lambda: call.status, "final response")
        assert call.answered
        assert len(phone.rings) == 1
        run.met.add("pushed" if run.pushes_of() else "rung where it was")

    return story


async def test_further_a_phone_goes_and_comes(world: World) -> None:
    """Its refresh and its de-registration cross each other and the call: it is rung once."""
    await world.play(comes_and_goes, met=("pushed", "rung where it was"))


async def stale_in_the_wake(run: Run) -> Story:
    """Further: the nonce is stale, or the credentials are wrong, just as the phone wakes."""
    await run.put("a")
    phone = await run.phone("a", Rings(then=200))
    how = run.draw.choice(("replayed", "wrong", "none"))
    comes_s, again_s = run.soon(0.02), run.soon(0.01)
    phone.agent.handlers.insert(0, lambda message: _challenged(phone, message, again_s, run))

    def spoilt() -> bytes:
        if how == "none":
            return phone.register_request()
        if how == "replayed":
            return phone.armed()  # with a count that has been used
        return phone.armed().replace(b'response="', b'response="0')

    async def provider(push: Push) -> Reply | None:
        if push.type == "call":
            run.after(comes_s, lambda: phone.fire(spoilt()))
        return None

    run.provider = provider

    async def story() -> None:
        if how == "replayed":
            phone.fire()
            await phone.registered()
            phone.fire(phone.armed(expires_s=0))
            await phone.registered()
            phone.nc -= 1
        call = run.call()
        await run.until(lambda: call.status, "final response")
        assert call.answered
        assert len(phone.rings) == 1
        came = [m for m in phone.agent.history if m.status in {200, 401} or m.method == "INVITE"]
        index = next(n for n, m in enumerate(came) if m.method == "INVITE" and m.is_request)
        assert came[index - 1].status == 200, "rung before its REGISTER was taken"
        run.met.add(how)

    return story


def _challenged(phone: RacePhone, message: Message, after_s: float, run: Run) -> bool:
    """A 401 in the wake is answered with its new nonce."""
    if message.status != 401 or not run.attempts:
        return False
    phone.challenge, phone.nc = message, 0
    run.after(after_s, phone.fire)
    return True


async def test_further_stale_in_the_wake(world: World) -> None:
    """A REGISTER that is not let in rings nothing, whatever was wrong; the one that is let in then
    brings the call, once.
    """
    await world.play(stale_in_the_wake, met=("replayed", "wrong", "none"))


async def the_pbx_asks(run: Run) -> Story:
    """Further: the PBX qualifies its contact, while the phone sleeps, wakes and rings."""
    await run.put("a")
    phone = await run.phone("a", Rings(0.0, 200, 0.03))
    moments = [run.soon(0.08) for _ in range(3)]
    comes_s = run.soon(0.02)
    first_s = 0.0 if run.maybe(0.8) else 0.05

    def ask() -> None:
        uri = f"sip:{run.user}@127.0.0.1:{run.service.sip_port}"
        headers = [
            run.pbx.agent.via(),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{REALM}>;tag=q"),
            ("To", f"<{uri}>"),
            ("Call-ID", new_call_id()),
            ("CSeq", "1 OPTIONS"),
        ]
        run.pbx.agent.send(build(f"OPTIONS {uri} SIP/2.0", headers), run.service.sip_address)

    async def story() -> None:
        for moment_s in moments:
            run.after(moment_s, ask)
        await asyncio.sleep(first_s)
        assert not run.pushes
        call = run.call()
        await run.first_push()
        run.after(comes_s, phone.fire)
        await run.until(lambda: call.status, "final response")
        answers = run.pbx.agent.received(method="OPTIONS", status=200)
        await run.until(
            lambda: len(run.pbx.agent.received(method="OPTIONS", status=200)) == 3, "three 200s"
        )
        assert call.answered
        assert len({push.payload["push_id"] for push in run.pushes}) == 1
        run.met.add("asked in the wake" if answers else "asked afterwards")

    return story


async def test_further_the_pbx_asks(world: World) -> None:
    """OPTIONS at any moment gets 200 and pushes nobody."""
    await world.play(the_pbx_asks, met=("asked in the wake",))
