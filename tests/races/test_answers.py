"""Race 9 and what belongs to it: answers and refusals that cross each other and the CANCEL."""

from __future__ import annotations

import asyncio

from tests.lab.push_sink import Push, Reply

from .calls import Attempt
from .phones import Ring, Rings
from .run import Run
from .stage import Story, World
from .watch import TERMINAL

NEVER_S = 60.0
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


async def answers_cross(run: Run) -> Story:
    """Race 9."""
    mode = run.draw.choice(("all_at_once", "all_at_once", "together"))
    await run.put("a", "b", wake={"ring_mode": mode})
    picks_s = {"a": run.soon(0.02), "b": run.soon(0.02)}
    crosses = run.maybe()

    def rung(ring: Ring) -> None:
        ring.say(180)
        ring.crosses = 200 if crosses else 0
        ring.later(picks_s[ring.phone.device], 200)
        if as_it_answers and callers:
            # The caller's CANCEL leaves when the answer is on its way through us.
            run.after(picks_s[ring.phone.device], callers[0].cancel)

    first = await run.phone("a", rung)
    second = await run.phone("b", rung)
    comes_s = run.near(picks_s["a"], 0.006)
    gone_s = run.near(0.01) if run.maybe(0.4) else None
    as_it_answers = run.maybe(0.25)
    callers: list[Attempt] = []
    case = run.draw.choice(("", "", "B rings on", "B is late", "picks up late"))
    if case == "B rings on":
        picks_s["b"], crosses = NEVER_S, False
    if case == "picks up late":
        picks_s, crosses, gone_s = {"a": NEVER_S, "b": NEVER_S}, True, 0.01
    farewell = run.draw.choice((Reply(), Reply(status=500), Reply(drop=True)))

    async def provider(push: Push) -> Reply | None:
        return farewell if push.type in TERMINAL else None

    run.provider = provider

    async def story() -> None:
        call = run.call()
        callers.append(call)
        await run.first_push(2)
        first.fire()
        if case != "B is late":
            run.after(comes_s, second.fire)
        await run.until(lambda: first.rings or call.status, "the first INVITE")
        if gone_s is not None:
            await asyncio.sleep(gone_s)
            call.cancel()
        await run.until(lambda: call.status, "final response")
        if case == "B is late":
            second.fire()
        await run.until(lambda: second.registered_at, "200 to the REGISTER")
        await asyncio.sleep(0.02)
        assert call.answered or call.cancelled_at
        assert case != "B is late" or not second.rings
        _what_came_of_it(run, call)

    return story


def _what_came_of_it(run: Run, call: Attempt) -> None:
    picked = [ring for ring in run.rings if ring.answered]
    if call.answered and call.cancelled_at:
        run.met.add("the answer beat the CANCEL")
    if len(picked) == 2:
        run.met.add("two answers")
    if call.status == 487 and picked:
        run.met.add("an answer after the end")
    if call.answered and len(run.rings) == 1:
        run.met.add("B came too late")
    for ring in run.rings:
        if ring.cancel is not None and call.answered and not call.cancelled_at:
            assert ring.cancel.all("Reason") == [ELSEWHERE]


async def test_race_9_answers_cross(world: World) -> None:
    """A answers while B wakes or answers too, the caller gives up meanwhile, and B's terminal push
    fails: one answer wins, every other one is ended with ACK and BYE, nobody rings on.
    """
    await world.play(
        answers_cross,
        met=(
            "the answer beat the CANCEL",
            "two answers",
            "an answer after the end",
            "B came too late",
        ),
    )


async def one_refuses(run: Run) -> Story:
    """Further: one refuses, by SIP or on its push screen, while another wakes or rings."""
    await run.put("a", "b")
    status = run.draw.choice((302, 404, 486, 486, 488, 500, 503, 600, 603))
    other = run.draw.choice((200, 200, 480, 486))
    action = run.draw.choice((None, None, "decline", "busy"))
    contact = (("Contact", "<sip:elsewhere@127.0.0.1:9>"),) if status == 302 else ()
    refuses = await run.phone(
        "a", Rings(run.draw.choice((None, 0.0)), status, run.soon(0.02), headers=contact)
    )
    takes = await run.phone("b", Rings(0.0, other, 0.02 + run.soon(0.03)))
    first_s, second_s = run.soon(0.02), run.soon(0.02)
    rings_on = action is not None and run.maybe()
    if rings_on:  # all that it says it says on its push screen
        refuses.script = Rings(0.0)

    async def act(call_id: str) -> None:
        path = f"/v1/calls/{call_id}/actions"
        answer, fate = await run.service.request("POST", path, {"action": action, "device": "a"})
        assert answer in {202, 409}, fate
        taken = answer == 202 and fate["taken"]
        run.met.add("refused by the app" if taken else "refused by the app, too late")
        if taken:
            taken_by.append(refuses.rings[:])

    taken_by: list[list[Ring]] = []

    async def story() -> None:
        call = run.call()
        await run.first_push(2)
        run.after(first_s, refuses.fire)
        run.after(second_s, takes.fire)
        if rings_on:
            await run.until(lambda: refuses.rings or call.status, "INVITE")
        if action is not None:
            await act(run.pushes[0].call_id)
        await run.until(lambda: call.status, "final response")
        declined = bool(refuses.rings) and refuses.rings[0].said == status and status >= 600
        if other == 200 and not declined:
            assert call.answered, "one phone's refusal took the call from the other"
            run.met.add("answered all the same")
        if declined:
            # The app may have said it first: then SIP's is for nobody any more.
            assert call.answered or action is not None or call.status == status
            run.met.add("declined for all")
        if action is None and other != 200 and not declined:
            given = {ring.said for ring in run.rings}
            run.met.add("the best of two")
            best = min((s // 100 for s in given if s != 503), default=5)
            assert call.status // 100 == best, f"{call.status} of {given}"
        await asyncio.sleep(0.02)

    return story


async def test_further_one_refuses_while_another_wakes(world: World) -> None:
    """Only a 6xx ends it for all; of less the best is passed on when nobody takes the call; who
    refuses on the push screen is not rung any more.
    """
    await world.play(
        one_refuses,
        met=("answered all the same", "declined for all", "the best of two", "refused by the app"),
    )


async def answer_crosses_a_decline(run: Run) -> Story:
    """Further: one declines for all while the other picks up."""
    await run.put("a", "b")
    decides_s = run.soon(0.01)
    declines = await run.phone("a", Rings(0.0, 603, 0.03 + decides_s))
    picks_s = run.near(decides_s + 0.006, 0.006)
    crosses = 200 if run.maybe(0.4) else 0
    if run.maybe(0.2):
        picks_s, crosses = NEVER_S, 0

    def rung(ring: Ring) -> None:
        ring.say(180)
        ring.crosses = crosses
        ring.later(0.03 + picks_s, 200)

    picks = await run.phone("b", rung)

    async def story() -> None:
        call = run.call()
        await run.first_push(2)
        declines.fire()
        picks.fire()
        await run.until(lambda: call.status, "final response")
        answered = [ring for ring in run.rings if ring.answered]
        assert call.answered == bool(answered)
        assert call.answered or call.status == 603
        run.met.add("picked up" if answered else "declined")

    return story


async def test_further_an_answer_crosses_a_decline(world: World) -> None:
    """A 6xx waits a moment for the answer that crosses its CANCEL (RFC 3261 §16.7 step 5): the
    person who has picked up is in the call.
    """
    await world.play(answer_crosses_a_decline, met=("picked up", "declined"))
