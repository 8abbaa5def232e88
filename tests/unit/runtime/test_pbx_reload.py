"""PBXs configured otherwise while the service runs: trust, next hops, names, registrations."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from push_proxy.core.ids import Instant
from push_proxy.core.locating import Located, plain_target
from push_proxy.core.model import Account, Address
from push_proxy.core.pbx import Endpoint, Pbx
from push_proxy.runtime.pbx_addresses import PbxAddresses
from push_proxy.runtime.pbx_lane import PbxLane
from push_proxy.runtime.pbx_names import PbxNames
from tests.unit.runtime.sip_scene import Scene, hold, trunk

OFFICE = Pbx(key="office", registrar="sip:pbx.example.com")
HOSTS = {"pbx.example.com": "192.0.2.10", "new.example.com": "192.0.2.20"}


class Names:
    """Stands for DNS, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def locate(self, end: Endpoint) -> Located:
        self.asked.append(end.host)
        return Located(plain_target(end, (HOSTS[end.host],)))


class Configured:
    """Addresses of one configured PBX, with a listener on what changes."""

    def __init__(self, scene: Scene) -> None:
        self.names = Names()
        self.told: list[str] = []
        self.addresses = PbxAddresses(
            scene.directory,
            {"office": OFFICE},
            own=scene.own,
            clock=scene.clock,
            names=PbxNames(self.names),
        )

    async def start(self) -> None:
        await self.addresses.start()
        self.addresses.on_servers(lambda end: self.told.append(end.host))

    async def replace(self, *pbxes: Pbx) -> tuple[Account, ...]:
        changed = self.addresses.replace({pbx.key: pbx for pbx in pbxes})
        for _ in range(10):  # names are looked up by tasks that wait for nothing here
            await asyncio.sleep(0)
        return changed

    def reached(self, account: Account) -> Address | None:
        hop = self.addresses.hop(account)
        return None if hop is None else hop.destination


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = await Scene().start()
    yield scene
    await scene.aclose()


@pytest.fixture
async def configured(scene: Scene) -> AsyncIterator[Configured]:
    configured = Configured(scene)
    await configured.start()
    yield configured
    await configured.addresses.aclose()


async def test_a_pbx_moves(scene: Scene, configured: Configured) -> None:
    """Requests go to the new host, which alone is believed; the old one's name is let go."""
    account, other = await scene.add(hold()), await scene.add(trunk(pbx="elsewhere"))
    assert await configured.replace(Pbx(key="office", registrar="sip:new.example.com")) == (
        account,
    )
    addresses = configured.addresses
    assert configured.reached(account) == Address("192.0.2.20", 5060)
    assert addresses.is_pbx_of(account, "192.0.2.20")
    assert not addresses.is_pbx("192.0.2.10")
    assert configured.reached(other) is None
    assert {"pbx.example.com", "new.example.com"} == set(configured.told)
    assert [end.host for end in addresses.ends()] == ["new.example.com"]
    assert [end.host for end in addresses._resolved._located] == ["new.example.com"]


async def test_what_stays_is_not_looked_up_again(scene: Scene, configured: Configured) -> None:
    """Another pace or peer changes no address: no call finds its PBX unknown meanwhile."""
    account = await scene.add(hold())
    before = configured.names.asked.copy()
    again = Pbx(key="office", registrar="sip:pbx.example.com", peers=("198.51.100.0/24",))
    changed = configured.addresses.replace({"office": again})
    assert changed == (account,)
    assert configured.reached(account) == Address("192.0.2.10", 5060)
    assert configured.addresses.is_pbx_of(account, "198.51.100.7")
    assert await configured.replace(again) == ()
    assert configured.names.asked == before


async def test_a_pbx_is_added_and_taken_away(scene: Scene, configured: Configured) -> None:
    """An account that names it is nobody's before and after; in between it is served."""
    account = await scene.add(hold(pbx="new"))
    new = Pbx(key="new", registrar="sip:new.example.com", tls_names=("sbc.example.com",))
    assert configured.reached(account) is None
    assert await configured.replace(OFFICE, new) == (account,)
    assert configured.reached(account) == Address("192.0.2.20", 5060)
    assert configured.addresses.is_pbx_of(account, "203.0.113.1", ("sbc.example.com",))
    assert await configured.replace(OFFICE) == (account,)
    assert configured.reached(account) is None
    assert not configured.addresses.is_pbx("192.0.2.20", ("sbc.example.com",))
    assert not configured.addresses.is_pbx_of(account, "203.0.113.1", ("sbc.example.com",))


async def test_accounts_that_leave_after_a_reload_are_counted_right(
    scene: Scene, configured: Configured
) -> None:
    """The counts of who uses what stay true over a reload: nothing is kept, nothing is lost."""
    account = await scene.add(hold())
    await configured.replace(Pbx(key="office", registrar="sip:new.example.com"))
    await scene.directory.delete_account(account.key)
    assert dict(configured.addresses._resolved._uses) == {
        Endpoint("new.example.com", None, None): 1  # the configured PBX itself
    }
    await configured.replace()
    assert dict(configured.addresses._resolved._uses) == {}
    assert configured.addresses.ends() == ()
    assert configured.addresses._resolved._keepers == {}


def test_the_pace_changes_at_once() -> None:
    """What waits goes out at the new rate; what may be unanswered grows with it."""
    now = Instant(1000.0)
    lane = PbxLane(10, now)
    for number in range(100):
        lane.push(number, 1)
    sent = 0
    while lane.pop(now) is not None:
        sent += 1
    assert sent == 1
    lane.set_rate(400)
    while lane.pop(Instant(now + 0.1)) is not None:
        sent += 1
    assert sent == 41
