"""runtime.pbx_addresses: names resolved in the background, trust by address."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from push_proxy.core.locating import Located, plain_target
from push_proxy.core.model import Account, Address
from push_proxy.core.pbx import Endpoint
from push_proxy.runtime.dns_client import system_addresses
from push_proxy.runtime.pbx_addresses import PbxAddresses
from push_proxy.runtime.pbx_locator import DnsLocator, Locator
from tests.unit.runtime.sip_scene import Scene, hold, trunk


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = await Scene().start()
    yield scene
    await scene.aclose()


def made(scene: Scene, locator: Locator, **more: float) -> PbxAddresses:
    return PbxAddresses(
        scene.directory, scene.pbxes, own=scene.own, clock=scene.clock, locator=locator, **more
    )


def reached(addresses: PbxAddresses, account: Account) -> Address | None:
    hop = addresses.hop(account)
    return None if hop is None else hop.destination


async def test_trust_is_by_address_and_account(scene: Scene) -> None:
    """Registrar's addresses and peers, any port; networks count; others do not."""
    office, peer = await scene.add(hold()), await scene.add(trunk())
    addresses = scene.addresses
    assert addresses.is_pbx_of(office, "192.0.2.10")
    assert not addresses.is_pbx_of(office, "192.0.2.77")
    assert addresses.is_pbx_of(peer, "192.0.2.77")
    assert addresses.is_pbx_of(peer, "192.0.2.200")
    assert not addresses.is_pbx_of(peer, "192.0.2.10")
    assert addresses.is_pbx("192.0.2.129")
    assert not addresses.is_pbx("198.51.100.1")
    assert not addresses.is_pbx("not an address")
    assert addresses.is_pbx_itself(Address("192.0.2.10", 5060))
    assert not addresses.is_pbx_itself(Address("192.0.2.10", 5061))


async def test_an_outbound_proxy_is_where_requests_go_and_is_trusted(scene: Scene) -> None:
    """It calls on the PBX's behalf."""
    account = await scene.add(hold(outbound_proxy="sip:192.0.2.30:5080"))
    assert reached(scene.addresses, account) == Address("192.0.2.30", 5080)
    assert scene.addresses.is_pbx_of(account, "192.0.2.30")
    assert scene.addresses.is_pbx("192.0.2.30")


async def test_an_account_of_an_unconfigured_pbx_trusts_nobody(scene: Scene) -> None:
    """Removed from the configuration: nothing is taken and nothing sent."""
    account = await scene.add(hold(pbx="gone"))
    assert not scene.addresses.is_pbx_of(account, "192.0.2.10")
    assert reached(scene.addresses, account) is None


async def test_a_failing_resolver_keeps_what_was_known(scene: Scene) -> None:
    """And what changes is taken over at the next round; families we lack are passed over."""
    answers: list[tuple[str, ...] | OSError] = [
        ("2001:db8::1", "192.0.2.1"),
        OSError("servers down"),
        ("192.0.2.2",),
    ]
    asked = asyncio.Event()

    class Rotating:
        async def locate(self, end: Endpoint) -> Located:
            assert end.host == "pbx.example.com"
            answer = answers.pop(0) if answers else ("192.0.2.2",)
            asked.set()
            if isinstance(answer, OSError):
                raise answer
            return Located(plain_target(end, answer), 0.01)

    account = await scene.add(hold())
    addresses = made(scene, Rotating(), min_ttl_s=0.01, retry_s=0.01)
    heard: list[Endpoint] = []
    addresses.on_resolved(heard.append)
    await addresses.start()
    try:
        assert reached(addresses, account) == Address("192.0.2.1", 5060)
        async with asyncio.timeout(5):
            while reached(addresses, account) != Address("192.0.2.2", 5060):
                asked.clear()
                await asked.wait()
                assert reached(addresses, account) is not None
        assert [end.host for end in heard] == ["pbx.example.com"] * 2
        assert not addresses.is_pbx("192.0.2.1")
    finally:
        await addresses.aclose()


async def test_a_name_that_no_resolver_takes_harms_nobody(scene: Scene) -> None:
    """Stored before such names were refused: the start and all other PBXs go on."""
    bad = await scene.add(hold("666", pbx=None, registrar="sip:pbx..example.com"))
    good = await scene.add(hold("667", pbx=None, registrar="sip:localhost"))
    addresses = made(scene, DnsLocator())
    await addresses.start()
    try:
        assert reached(addresses, bad) is None
        assert reached(addresses, good) == Address("127.0.0.1", 5060)
    finally:
        await addresses.aclose()


async def test_the_systems_resolver_knows_localhost() -> None:
    """The real one."""
    assert "127.0.0.1" in await system_addresses("localhost")
    assert await system_addresses("127.0.0.1") == ("127.0.0.1",)
