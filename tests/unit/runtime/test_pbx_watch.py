"""runtime.pbx_watch over registrations: servers that fail, forget, and come back."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from push_proxy.core.locating import Located, Target
from push_proxy.core.model import Account, Address, RegisterPolicy
from push_proxy.core.pbx import Endpoint
from push_proxy.core.registration_status import RegistrationState
from push_proxy.observability.metrics import Metrics
from push_proxy.runtime.pbx_addresses import PbxAddresses
from push_proxy.runtime.pbx_names import PbxNames
from push_proxy.runtime.pbx_watch import PbxWatch
from push_proxy.runtime.registrations import Registrations
from push_proxy.signaling.facts import FlowLost, RequestAnswered
from tests.unit.runtime.sip_scene import US, Scene, hold

FIRST, SECOND = Address("192.0.2.10", 5060), Address("192.0.2.20", 5060)


@dataclass
class Server:
    """What stands at one address: OPTIONS and REGISTER, Contacts and moods."""

    alive: bool = True
    options: bool = True
    status: int = 0
    lists: bool = True
    contacts: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[float, str, str]] = field(default_factory=list)

    def take(self, at: float, request: dict[str, object]) -> tuple[int, list[str]] | None:
        method, user = str(request["method"]), str(request["to"])
        headers = request["headers"]
        assert isinstance(headers, tuple)
        contacts = [value for name, value in headers if name == "Contact"]
        kind = "OPTIONS" if method == "OPTIONS" else ("REGISTER" if contacts else "FETCH")
        self.seen.append((at, kind, user))
        if not self.alive or (kind == "OPTIONS" and not self.options):
            return None
        if self.status:
            return self.status, []
        for value in contacts:
            if value.endswith("expires=0"):
                self.contacts.pop(user, None)
            else:
                self.contacts[user] = value
        listed = [f"Contact: {self.contacts[user]}"] if user in self.contacts else []
        return 200, listed if self.lists and kind != "OPTIONS" else []

    def count(self, kind: str) -> int:
        return sum(1 for _, what, _ in self.seen if what == kind)


class World:
    """Two servers behind one name; every request is answered after 10 ms or fails after 32 s."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.servers = {FIRST: Server(), SECOND: Server()}
        self.targets = (Target("one", (FIRST,), 1), Target("two", (SECOND,), 2))
        self.refuses: set[Address] = set()
        self.refused = 0
        self.addresses = PbxAddresses(
            scene.directory, scene.pbxes, own=scene.own, clock=scene.clock, names=PbxNames(self)
        )
        self.registrations = Registrations(
            signaling=scene.stack,  # type: ignore[arg-type]
            directory=scene.directory,
            store=scene.store,
            clock=scene.clock,
            addresses=self.addresses,
            own=scene.own,
            metrics=Metrics(),
        )
        self.watch = PbxWatch(
            signaling=scene.stack,  # type: ignore[arg-type]
            clock=scene.clock,
            addresses=self.addresses,
            registrations=self.registrations,
        )
        self._answers: list[tuple[float, int, RequestAnswered]] = []
        self._order = itertools.count()

    async def locate(self, end: Endpoint) -> Located:
        assert end.host == "pbx.example.com"
        if not self.targets:
            raise OSError("servers down")
        return Located(self.targets)

    async def start(self) -> World:
        await self.addresses.start()
        await self.registrations.start()
        self.watch.start()
        return self

    async def aclose(self) -> None:
        self.watch.aclose()
        await self.addresses.aclose()
        await self.registrations.aclose()

    async def add(self, count: int) -> list[Account]:
        return [
            await self.scene.add(hold(str(1000 + n), register=RegisterPolicy.ALWAYS))
            for n in range(count)
        ]

    @property
    def first(self) -> Server:
        return self.servers[FIRST]

    @property
    def second(self) -> Server:
        return self.servers[SECOND]

    def run(self, seconds: float, *, step: float = 0.01) -> None:
        """Let time pass in steps of 10 ms."""
        for _ in range(round(seconds / step)):
            self.scene.clock.advance(step)
            now = self.scene.clock.now()
            taken, self.scene.stack.requests = self.scene.stack.requests, []
            for request in taken:
                self._answer_later(now, request)
            while self._answers and self._answers[0][0] <= now:
                self.watch.on_answer(heapq.heappop(self._answers)[2])

    def until(self, condition: Callable[[], bool], *, within: float) -> float:
        """Seconds until it holds."""
        start = self.scene.clock.now()
        while not condition():
            assert self.scene.clock.now() - start < within, "it never happened"
            self.run(0.05)
        return self.scene.clock.now() - start

    def _answer_later(self, now: float, request: dict[str, object]) -> None:
        destination = request["destination"]
        assert isinstance(destination, Address)
        if destination in self.refuses:
            self.refused += 1
            answer, delay = None, 0.01
            status = 503
        else:
            answer = self.servers[destination].take(now, request)
            status, delay = (408, 32.0) if answer is None else (answer[0], 0.01)
        lines = [] if answer is None else answer[1]
        raw = "\r\n".join([f"SIP/2.0 {status} R", *lines]) + "\r\n\r\n"
        fact = RequestAnswered(
            request=int(str(request["request"])),
            status=status,
            reason="Connection refused" if destination in self.refuses else "R",
            local=answer is None,
            raw=b"" if answer is None else raw.encode(),
        )
        heapq.heappush(self._answers, (now + delay, next(self._order), fact))

    def registered(self) -> int:
        return self.registrations.counts().get(RegistrationState.REGISTERED, 0)

    def is_at(self, server: Server, count: int) -> Callable[[], bool]:
        return lambda: len(server.contacts) == count and self.registered() == count


@asynccontextmanager
async def started(world: World) -> AsyncIterator[World]:
    yield await world.start()
    await world.aclose()
    await world.scene.directory.aclose()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with started(World(Scene())) as world:
        yield world


async def test_at_rest(world: World) -> None:
    """Every server gets one OPTIONS and one of its accounts one look per 30 s, nothing else."""
    await world.add(100)
    world.until(world.is_at(world.first, 100), within=2)
    assert world.second.contacts == {}
    before = len(world.first.seen)
    world.run(300)
    new = [what for _, what, _ in world.first.seen[before:]]
    assert (new.count("OPTIONS"), new.count("FETCH"), new.count("REGISTER")) == (10, 10, 0)
    looked_at = {user for _, what, user in world.first.seen if what == "FETCH"}
    assert len(looked_at) == 10
    assert {s.count("OPTIONS") for s in (world.first, world.second)} == {11}
    assert world.watch.states()["office"].servers == {FIRST: True, SECOND: True}


async def test_a_forgetful_pbx_is_repaired_at_its_pace(world: World) -> None:
    """2,000 accounts at 200/s: noticed within 30 s of the restart, repaired 10 s later, never
    faster than the pace, not one lost.
    """
    await world.add(2000)
    world.until(world.is_at(world.first, 2000), within=15)
    world.run(60)
    world.first.contacts.clear()
    restart = world.scene.clock.now()
    took = world.until(world.is_at(world.first, 2000), within=60)
    assert took < 30 + 10 + 2
    repairs = [at for at, what, _ in world.first.seen if what == "REGISTER" and at > restart]
    assert 2000 <= len(repairs) <= 2003  # those looked at may be registered already
    for start in range(0, 2000, 100):
        window = repairs[start : start + 100]
        assert len(window) / (window[-1] - window[0] + 0.1) < 210
    count = world.first.count("REGISTER")
    world.run(120)
    assert world.first.count("REGISTER") == count


async def test_one_evicted_contact_is_repaired_alone(world: World) -> None:
    """Another phone took its place: the other accounts are not touched."""
    accounts = await world.add(4)
    world.until(world.is_at(world.first, 4), within=2)
    before = world.first.count("REGISTER")
    del world.first.contacts[f"<{accounts[2].aor}>"]
    world.until(world.is_at(world.first, 4), within=125)
    world.run(60)
    assert world.first.count("REGISTER") == before + 1
    assert world.registrations.status(accounts[2].key).evictions == 1


async def test_a_pbx_that_never_lists_us_is_left_alone(world: World) -> None:
    """Its 200 names no Contact, so neither does its answer to a look: that proves nothing."""
    world.first.lists = False
    await world.add(10)
    world.run(10)
    before = world.first.count("REGISTER")
    world.run(120)
    assert (world.first.count("REGISTER"), world.first.count("FETCH")) == (before, 0)


async def test_the_second_server_takes_over(world: World) -> None:
    """The first falls silent: noticed by OPTIONS within 38 s, everything registered at the second
    at the pace; when the first answers again, each goes home with its next refresh.
    """
    (account, *_) = await world.add(500)
    world.until(world.is_at(world.first, 500), within=5)
    world.first.alive = False
    took = world.until(world.is_at(world.second, 500), within=60)
    assert took < 30 + 8 + 3
    assert world.watch.states()["office"].reachable is True
    hop = world.addresses.hop(account)
    assert hop is not None
    assert hop.destination == SECOND
    asked = world.first.count("REGISTER")
    world.run(60)
    assert world.first.count("REGISTER") == asked
    world.first.alive = True
    world.first.contacts.clear()
    world.run(6)
    hop = world.addresses.hop(account)
    assert hop is not None
    assert hop.destination == FIRST
    assert world.first.contacts == {}
    world.run(520)
    assert len(world.first.contacts) == 500
    assert world.registered() == 500


async def test_a_refusing_server_costs_no_back_off(world: World) -> None:
    """503 from the first (or no connection): the same attempt goes on at the second at once."""
    world.first.status = 503
    await world.add(5)
    world.until(world.is_at(world.second, 5), within=0.5)
    world.refuses.add(FIRST)
    world.first.status = 0
    await world.scene.add(hold("2000", register=RegisterPolicy.ALWAYS))
    world.until(world.is_at(world.second, 6), within=0.5)
    assert world.first.count("REGISTER") <= 5


async def test_a_dead_pbx_is_left_in_peace(world: World) -> None:
    """No server answers: after the first seconds one REGISTER per 5 s, not thousands; when it is
    back, all register at the pace, although their back-off would take minutes.
    """
    world.first.alive = world.second.alive = False
    await world.add(2000)
    world.run(10)
    early = world.first.count("REGISTER") + world.second.count("REGISTER")
    assert early <= 1050
    world.run(300)
    late = world.first.count("REGISTER") + world.second.count("REGISTER")
    assert late - early <= 65
    assert world.watch.states()["office"].reachable is False
    assert world.watch.states()["office"].reason == "silence"
    world.first.alive = world.second.alive = True
    # The few that were under way have no retransmission here, and wait for their own end.
    assert world.until(lambda: world.registered() >= 1985, within=60) < 5 + 4 + 10 + 2
    world.until(lambda: world.registered() == 2000, within=30)


async def test_why_a_pbx_is_gone_is_told_before_any_account_has_tried(world: World) -> None:
    """Registrations wait for their turn then: the reason stands at the PBX, until it answers."""
    world.refuses = {FIRST, SECOND}
    await world.add(1)
    world.until(lambda: world.watch.states()["office"].reachable is False, within=40)
    assert world.watch.states()["office"].reason == "Connection refused"
    world.refuses = set()
    world.until(lambda: world.watch.states()["office"].reachable is True, within=40)
    assert world.watch.states()["office"].reason == ""


async def test_a_pbx_that_is_back_ends_every_back_off(world: World) -> None:
    """However long it was away."""
    world.first.alive = world.second.alive = False
    (account,) = await world.add(1)
    status = world.registrations.status

    def waits() -> bool:
        next_at = status(account.key).next_attempt_at
        return next_at is not None and next_at > world.scene.clock.now() + 30

    world.until(waits, within=600)
    world.first.alive = world.second.alive = True
    # 5 s until the next OPTIONS, and 4 s if one is under way that nobody here repeats.
    assert world.until(lambda: world.registered() == 1, within=60) < 5 + 4 + 1


async def test_a_name_that_resolves_at_last_ends_every_back_off() -> None:
    """DNS was down at our start: nothing waits longer than DNS."""
    late = World(Scene())
    targets, late.targets = late.targets, ()
    async with started(late) as world:
        await world.add(3)
        world.run(200)
        assert world.first.seen == []
        world.targets = targets
        await world.addresses._resolved.look_up(Endpoint("pbx.example.com", None, None))
        assert world.until(world.is_at(world.first, 3), within=10) < 1


async def test_a_pbx_that_moves_in_dns_is_followed(world: World) -> None:
    """Registered at its new server at once and at the pace, not with the next refresh; DNS that
    changes its mind all the time moves us once in ten minutes.
    """
    end, both = Endpoint("pbx.example.com", None, None), world.targets
    world.targets = both[:1]
    await world.addresses._resolved.look_up(end)
    await world.add(300)
    world.until(world.is_at(world.first, 300), within=3)
    world.targets = both[1:]
    await world.addresses._resolved.look_up(end)
    assert world.until(world.is_at(world.second, 300), within=10) < 2
    before = world.first.count("REGISTER")
    for turn in range(20):
        world.targets = both[turn % 2 :][:1]
        await world.addresses._resolved.look_up(end)
        world.run(10, step=0.05)
    assert world.first.count("REGISTER") == before
    assert world.registered() == 300


async def test_who_comes_while_the_pbx_is_gone_waits_too(world: World) -> None:
    """Its accounts had no device until now, so nothing was registered there."""
    account = await world.scene.add(hold("4000"))
    world.first.alive = world.second.alive = False
    world.until(lambda: world.watch.states()["office"].reachable is False, within=40)
    for n in range(100):
        await world.scene.add(hold(str(5000 + n), register=RegisterPolicy.ALWAYS))
    world.run(20)
    assert world.first.count("REGISTER") + world.second.count("REGISTER") <= 5
    assert account.register is RegisterPolicy.WITH_DEVICE


async def test_a_pbx_that_drops_options_is_used_all_the_same(world: World) -> None:
    """No OPTIONS is ever answered: registrations go on as if it were."""
    world.first.options = world.second.options = False
    await world.add(3)
    world.until(world.is_at(world.first, 3), within=1)
    world.run(900)
    assert world.registered() == 3
    assert world.second.contacts == {}
    assert world.watch.states()["office"].servers[FIRST] is True


async def test_after_an_absence_bindings_are_checked_at_once(world: World) -> None:
    """Its restart took 20 s and its memory: repaired as soon as it answers, not a round later."""
    world.targets = world.targets[:1]
    await world.addresses._resolved.look_up(Endpoint("pbx.example.com", None, None))
    await world.add(50)
    assert list(world.watch.states()["office"].servers) == [FIRST]
    world.until(world.is_at(world.first, 50), within=2)
    world.first.alive = False
    world.until(lambda: world.watch.states()["office"].reachable is False, within=40)
    world.first.contacts.clear()
    world.first.alive = True
    # The look that was under way when it died is answered by nobody: that account waits for it.
    assert world.until(lambda: len(world.first.contacts) >= 49, within=20) < 5 + 4 + 2
    world.until(world.is_at(world.first, 50), within=30)


async def test_a_lost_connection_registers_again(world: World) -> None:
    """The PBX calls on the connection that registered: all of it is renewed at once, at the pace,
    and stays registered meanwhile; a device's lost connection is none of this.
    """
    await world.add(50)
    world.until(world.is_at(world.first, 50), within=2)
    before = world.first.count("REGISTER")
    world.watch.on_flow_lost(FlowLost(remote=SECOND, local=US, outgoing=True, reason="reset"))
    world.run(1)
    assert world.first.count("REGISTER") == before
    world.watch.on_flow_lost(FlowLost(remote=FIRST, local=US, outgoing=True, reason="reset"))
    assert world.registered() == 50
    world.until(lambda: world.first.count("REGISTER") == before + 50, within=1)
    world.run(5)
    assert world.first.count("REGISTER") == before + 50


async def test_options_are_in_the_name_of_a_user(world: World) -> None:
    """Asterisk takes an OPTIONS from nobody for an attack: From is an account that is bound there,
    before any is, one of those that are to be.
    """
    accounts = await world.add(3)
    assert world.scene.stack.requests[0]["method"] == "OPTIONS"
    names = {f"<{account.aor}>" for account in accounts}
    assert {str(r["from_"]).partition(";")[0] for r in world.scene.stack.requests} <= names
    world.until(world.is_at(world.first, 3), within=2)
    await world.scene.directory.delete_account(accounts[0].key)
    world.run(25)
    world.scene.clock.advance(5)
    asked = [str(r["from_"]) for r in world.scene.stack.requests if r["method"] == "OPTIONS"]
    assert asked
    assert all(not name.startswith(f"<{accounts[0].aor}>") for name in asked)


async def test_nobody_asks_about_a_pbx_without_users(world: World) -> None:
    """A PBX is watched from its first account to its last."""
    world.run(100)
    assert world.watch.states() == {}
    assert world.first.seen == []
    own = hold("3000", pbx=None, registrar="sip:192.0.2.20", register=RegisterPolicy.ALWAYS)
    account = await world.scene.add(own)
    world.run(1)
    assert world.watch.states()["sip:192.0.2.20"].reachable is True
    await world.scene.directory.delete_account(account.key)
    world.run(1)
    assert "sip:192.0.2.20" not in world.watch.states()
    before = world.second.count("OPTIONS")
    world.run(100)
    assert world.second.count("OPTIONS") - before <= 4


async def test_qualify_zero_asks_nothing() -> None:
    """`qualify_s: 0`: no OPTIONS, no looks; failover by failures alone."""
    scene = Scene()
    scene.pbxes["office"] = replace(scene.pbxes["office"], qualify_s=0.0)
    async with started(World(scene)) as world:
        world.refuses.add(FIRST)
        await world.add(3)
        world.until(world.is_at(world.second, 3), within=1)
        world.run(200)
        assert world.first.count("OPTIONS") == world.second.count("OPTIONS") == 0
        assert world.second.count("FETCH") == 0
        assert world.watch.states()["office"].reachable is None


@pytest.mark.parametrize("qualify_s", [0.0, 30.0])
async def test_a_refusing_pbx_is_not_hammered_by_its_own_refusals(qualify_s: float) -> None:
    """Over TCP each attempt in vain is a lost connection too: that must not end the back-off."""
    scene = Scene()
    scene.pbxes["office"] = replace(scene.pbxes["office"], qualify_s=qualify_s)
    lonely = World(scene)
    lonely.targets = lonely.targets[:1]
    async with started(lonely) as world:
        await world.add(100)
        world.until(world.is_at(world.first, 100), within=2)
        before = world.first.count("REGISTER")
        world.refuses.add(FIRST)
        lost = FlowLost(remote=FIRST, local=US, outgoing=True, reason="refused")
        asked = 0
        world.watch.on_flow_lost(lost)
        for _ in range(600):
            world.run(0.1)
            if world.refused > asked:
                asked = world.refused
                world.watch.on_flow_lost(lost)
        assert asked < (1000 if qualify_s == 0 else 60)
        world.refuses.clear()
        world.until(lambda: world.first.count("REGISTER") >= before + 100, within=70)
        assert world.registered() == 100


async def test_a_server_behind_two_names_loses_one(world: World) -> None:
    """Asked in the name of an account that is still there, not of the one that went."""
    own = {"pbx": None, "registrar": "sip:pbx.example.com"}
    await world.scene.add(hold("3000", **own))
    other = await world.scene.add(hold("3001", transport="udp", **own))
    world.targets = world.targets[:1]
    for end in world.addresses.ends():
        await world.addresses._resolved.look_up(end)
    world.run(1)
    await world.scene.directory.delete_account(other.key)
    world.run(100)
    assert world.watch.states()["sip:pbx.example.com"].reachable is True
    assert world.first.count("OPTIONS") >= 4
