"""Any order of failures of two PBX servers: nothing breaks, nobody is lost, the pace is kept."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from push_proxy.core.model import Account, RegisterPolicy
from push_proxy.core.registration_status import RegistrationState
from push_proxy.signaling.facts import FlowLost
from tests.unit.runtime.sip_scene import US, Scene, hold
from tests.unit.runtime.test_pbx_watch import FIRST, SECOND, Server, World, started

PLACES = (FIRST, SECOND)
PACE = 20
EVENT = st.one_of(
    st.tuples(
        st.sampled_from(
            ["die", "live", "forget", "busy", "calm", "deaf", "hear", "refuse", "open", "break"]
        ),
        st.integers(0, 1),
    ),
    st.tuples(st.just("wait"), st.integers(1, 90)),
    st.tuples(st.just("add"), st.integers(1, 30)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
)


class Weather:
    """What the events do to a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.accounts: deque[Account] = deque()
        self.number = 1000

    async def happen(self, what: str, detail: int) -> None:
        world = self.world
        if what == "wait":
            world.run(detail, step=0.05)
        elif what == "add":
            for _ in range(detail):
                self.number += 1
                self.accounts.append(
                    await world.scene.add(hold(str(self.number), register=RegisterPolicy.ALWAYS))
                )
        elif what == "delete":
            for _ in range(min(detail, len(self.accounts))):
                await world.scene.directory.delete_account(self.accounts.popleft().key)
        else:
            self.change(what, PLACES[detail])
            world.run(1, step=0.05)

    def change(self, what: str, place: object) -> None:
        world = self.world
        assert place in PLACES
        address = FIRST if place == FIRST else SECOND
        server: Server = world.servers[address]
        match what:
            case "die" | "live":
                server.alive = what == "live"
            case "forget":
                server.contacts.clear()
            case "busy" | "calm":
                server.status = 503 if what == "busy" else 0
            case "deaf" | "hear":
                server.options = what == "hear"
            case "refuse":
                world.refuses.add(address)
            case "open":
                world.refuses.discard(address)
            case "break":
                lost = FlowLost(remote=address, local=US, outgoing=True, reason="reset")
                world.watch.on_flow_lost(lost)


async def live_through(events: list[tuple[str, int]]) -> None:
    scene = Scene()
    office = scene.pbxes["office"]
    scene.pbxes["office"] = replace(office, registrations_per_second=float(PACE))
    async with started(World(scene)) as world:
        weather = Weather(world)
        await weather.happen("add", 20)
        for what, detail in events:
            await weather.happen(what, detail)
        for place in PLACES:
            for cure in ("live", "calm", "hear", "open"):
                weather.change(cure, place)
        # The longest that anything waits: a refresh, a back-off or a request without an answer.
        world.run(620, step=0.1)
        registrations = world.registrations
        for account in weather.accounts:
            status = registrations.status(account.key)
            assert status.state is RegistrationState.REGISTERED, (account.key, status)
            name = f"<{account.aor}>"
            assert any(name in server.contacts for server in world.servers.values()), name
        assert world.registered() == len(weather.accounts)
        assert len(registrations._machines) == len(weather.accounts)
        assert all(lane.unanswered == 0 for lane in registrations._schedule._lanes.values())
        assert registrations._requests == {}
        if weather.accounts:
            assert world.watch.states()["office"].servers == {FIRST: True, SECOND: True}
        for server in world.servers.values():
            times = [at for at, what, _ in server.seen if what != "OPTIONS"]
            for first, later in zip(times, times[PACE + 10 :], strict=False):
                assert later - first > 0.9, f"more than {PACE} in a second"


@settings(max_examples=30, deadline=None)
@given(st.lists(EVENT, max_size=12))
@example([("die", 0), ("die", 1), ("wait", 60), ("add", 30), ("live", 1), ("wait", 5)])
@example([("refuse", 0), ("break", 0), ("deaf", 1), ("wait", 40), ("forget", 1)])
def test_after_any_weather_all_are_registered(events: list[tuple[str, int]]) -> None:
    """Servers die, forget, refuse, are busy, drop OPTIONS, lose connections; accounts come and go.
    Ten minutes after the last of it everybody is registered at a server that lists them, nothing
    is left over, and at no time was the pace exceeded.
    """
    asyncio.run(live_through(events))
