"""runtime.pbx_addresses: names resolved in the background, trust by address."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from push_proxy.core.locating import Located, Target, plain_target
from push_proxy.core.model import Account, Address
from push_proxy.core.pbx import Endpoint
from push_proxy.runtime.dns_client import system_addresses
from push_proxy.runtime.pbx_addresses import PbxAddresses
from push_proxy.runtime.pbx_locator import DnsLocator, Locator
from push_proxy.runtime.pbx_names import PbxNames
from tests.unit.runtime.sip_scene import NAMES, Names, Scene, hold, trunk


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = await Scene().start()
    yield scene
    await scene.aclose()


def made(scene: Scene, locator: Locator, **more: float) -> PbxAddresses:
    return PbxAddresses(
        scene.directory,
        scene.pbxes,
        own=scene.own,
        clock=scene.clock,
        names=PbxNames(locator, **more),
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


async def test_a_certificate_makes_a_trunk_peer(scene: Scene) -> None:
    """Known by a name of its verified client certificate, whatever its address (RFC 5922)."""
    trunks = replace(scene.pbxes["trunk"], tls_names=("pbx.example.net",))
    scene.pbxes = {**scene.pbxes, "trunk": trunks}
    addresses = made(scene, Names())
    peer, office = await scene.add(trunk("300")), await scene.add(hold())
    names = ("other.example.net", "pbx.example.net")
    assert addresses.is_pbx("198.51.100.1", names)
    assert not addresses.is_pbx("198.51.100.1", names[:1])
    assert not addresses.is_pbx("198.51.100.1")
    assert addresses.is_pbx_of(peer, "198.51.100.1", names)
    assert not addresses.is_pbx_of(office, "198.51.100.1", names)


async def test_all_servers_behind_a_name_are_believed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any of them may call, not only the one that we send to."""
    monkeypatch.setitem(NAMES, "pbx.example.com", ("192.0.2.10", "192.0.2.20"))
    addresses = made(scene, Names())
    account = await scene.add(hold())
    await addresses.start()
    try:
        assert [hop.destination.host for hop in addresses.hops(account)] == [
            "192.0.2.10",
            "192.0.2.20",
        ]
        assert addresses.is_pbx_of(account, "192.0.2.20")
        assert addresses.is_pbx("192.0.2.20")
        assert addresses.is_pbx_itself(Address("192.0.2.20", 5060))
    finally:
        await addresses.aclose()


@pytest.mark.parametrize(
    ("pbx", "account", "expected"),
    [
        ({}, {}, ("udp:192.0.2.10:5060", "", "")),
        ({"transport": "tcp"}, {}, ("tcp:192.0.2.10:5060", "", "")),
        (
            {"transport": "tls", "tls_profile": "office"},
            {},
            ("tls:192.0.2.10:5061", "pbx.example.com", "office"),
        ),
        (
            {"registrar": "sip:pbx.example.com;transport=tls", "server_name": "sip.example.com"},
            {},
            ("tls:192.0.2.10:5061", "sip.example.com", ""),
        ),
        (
            {"transport": "tls"},
            {"transport": "udp"},
            ("tls:192.0.2.10:5061", "pbx.example.com", ""),
        ),
        (
            {"transport": "udp", "server_name": "sip.example.com", "tls_profile": "office"},
            {"outbound_proxy": "sips:pbx.example.com:5071"},
            ("tls:192.0.2.10:5071", "pbx.example.com", "office"),
        ),
        (
            {},
            {"pbx": None, "registrar": "sip:pbx.example.com", "transport": "tls"},
            ("tls:192.0.2.10:5061", "pbx.example.com", ""),
        ),
        (
            {},
            {"pbx": None, "registrar": "sip:192.0.2.9;transport=tls"},
            ("tls:192.0.2.9:5061", "", ""),
        ),
    ],
)
async def test_transport_and_certificate_name(
    scene: Scene,
    pbx: dict[str, str],
    account: dict[str, str | None],
    expected: tuple[str, str, str],
) -> None:
    """A URI's transport, the account's beside its own registrar, the PBX's; over TLS the name that
    the operator wrote, and for an address none.
    """
    scene.pbxes = {**scene.pbxes, "office": replace(scene.pbxes["office"], **pbx)}  # type: ignore[arg-type]
    addresses = made(scene, Names())
    stored = await scene.add(hold(**account))
    await addresses.start()
    hop = addresses.hop(stored)
    await addresses.aclose()
    assert hop is not None
    assert (str(hop.destination), hop.server_name, hop.tls_profile) == expected


async def test_an_account_costs_the_same_however_many_there_are(scene: Scene) -> None:
    """Its endpoints are counted, not collected: the last account of a PBX takes them away."""
    addresses = made(scene, Names())
    await addresses.start()
    own = {"pbx": None, "registrar": "sip:192.0.2.50:5080"}
    one, two = [await scene.add(hold(user, **own)) for user in ("501", "502")]
    assert addresses.is_pbx("192.0.2.50")
    (server,) = [server for end in addresses.ends() for server in addresses.servers(end)]
    assert (server.pbx, list(server.users)) == ("sip:192.0.2.50:5080", [one.aor, two.aor])
    await scene.directory.delete_account(one.key)
    assert addresses.is_pbx("192.0.2.50")
    assert list(server.users) == [two.aor]
    await scene.add(replace(two, registrar="sip:192.0.2.51", version=2))
    assert not addresses.is_pbx("192.0.2.50")
    assert addresses.is_pbx("192.0.2.51")
    await scene.directory.delete_account(two.key)
    assert not addresses.is_pbx("192.0.2.51")
    assert addresses.ends() == ()
    await addresses.aclose()


async def test_a_guess_does_not_replace_what_is_known(scene: Scene) -> None:
    """SRV could not be asked, only an address was found: the known servers stay; where nothing is
    known, the guess is better than nothing.
    """
    account = await scene.add(hold())
    sure = Located((Target("one:5070", (Address("192.0.2.1", 5070),), 10, 0),))
    guess = Located((Target("plain", (Address("192.0.2.9", 5060),)),), certain=False)
    answers = [guess, sure, guess]

    class Shaky:
        async def locate(self, end: Endpoint) -> Located:
            assert end.host == "pbx.example.com"
            return answers.pop(0)

    addresses = made(scene, Shaky())
    await addresses.start()
    end = Endpoint("pbx.example.com", None, None)
    try:
        assert reached(addresses, account) == Address("192.0.2.9", 5060)
        for _ in range(2):
            await addresses._resolved.look_up(end)
            assert reached(addresses, account) == Address("192.0.2.1", 5070)
    finally:
        await addresses.aclose()
