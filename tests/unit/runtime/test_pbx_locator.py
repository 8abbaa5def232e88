"""runtime.pbx_locator: the questions of RFC 3263, over real DNS to a server of our own."""

from collections.abc import AsyncIterator

import pytest

from push_proxy.core.locating import Located
from push_proxy.core.pbx import Endpoint, endpoint
from push_proxy.runtime.pbx_locator import DnsLocator
from tests.lab.dns_server import DnsServer

ZONE = """
@           NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.pbx.test.
@           NAPTR 20 10 "s" "SIP+D2U"  "" _sip._udp.pbx.test.
_sips._tcp  SRV 10 0 5071 one
_sip._udp   SRV 10 60 5070 one
_sip._udp   SRV 10 40 5070 two
_sip._udp   SRV 20 0 5080 one
_sip._tcp   SRV 0 0 0 .
one    30   A 192.0.2.1
one         AAAA 2001:db8::1
two         A 192.0.2.2
plain       A 192.0.2.3
_sip._tcp.only  SRV 0 0 5090 two
only        A 192.0.2.9
_sip._udp.half  SRV 0 0 5060 two
_sip._udp.half  SRV 0 0 5060 missing
half        A 192.0.2.8
"""


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer("pbx.test.", ZONE, ttl_s=120) as server:
        yield server


async def locate(server: DnsServer, uri: str, said: str | None = None) -> Located:
    return await DnsLocator([server.address]).locate(endpoint(uri, said=said))


def shown(located: Located) -> list[tuple[str, int, int]]:
    return sorted(
        (str(address), target.priority, target.weight)
        for target in located.targets
        for address in target.addresses
    )


async def test_naptr_chooses_the_transport(server: DnsServer) -> None:
    """A bare name: the most wanted service, here TLS, with its port and addresses."""
    found = await locate(server, "sip:pbx.test")
    assert shown(found) == [
        ("tls:192.0.2.1:5071", 10, 0),
        ("tls:[2001:db8::1]:5071", 10, 0),
    ]
    assert found.ttl_s == 30
    assert found.certain


async def test_a_given_transport_needs_no_naptr(server: DnsServer) -> None:
    """SRV of that transport; priorities and weights are kept."""
    found = await locate(server, "sip:pbx.test;transport=udp")
    assert [row for row in shown(found) if "[" not in row[0]] == [
        ("udp:192.0.2.1:5070", 10, 60),
        ("udp:192.0.2.1:5080", 20, 0),
        ("udp:192.0.2.2:5070", 10, 40),
    ]
    assert ("pbx.test.", "NAPTR") not in server.questions


async def test_without_naptr_each_transport_is_tried(server: DnsServer) -> None:
    """Here only TCP has records (RFC 3263 §4.1)."""
    assert shown(await locate(server, "sip:only.pbx.test")) == [("tcp:192.0.2.2:5090", 0, 0)]


async def test_without_srv_the_default_port(server: DnsServer) -> None:
    """A and AAAA alone."""
    assert shown(await locate(server, "sip:plain.pbx.test")) == [("udp:192.0.2.3:5060", 0, 0)]
    tls = await locate(server, "sips:plain.pbx.test")
    assert shown(tls) == [("tls:192.0.2.3:5061", 0, 0)]


async def test_a_port_or_an_address_is_no_question_for_srv(server: DnsServer) -> None:
    """RFC 3263 §4.2; an address is no question at all."""
    assert shown(await locate(server, "sip:plain.pbx.test:5099")) == [("udp:192.0.2.3:5099", 0, 0)]
    assert {kind for _, kind in server.questions} == {"A", "AAAA"}
    server.questions.clear()
    assert shown(await locate(server, "sip:192.0.2.7", "tls")) == [("tls:192.0.2.7:5061", 0, 0)]
    assert server.questions == []


async def test_a_service_that_is_decidedly_not_there(server: DnsServer) -> None:
    """SRV "." means no server, and no fall-back to addresses (RFC 2782)."""
    assert (await locate(server, "sip:pbx.test;transport=tcp")).targets == ()


async def test_a_target_without_address_is_left_out(server: DnsServer) -> None:
    """The other one serves."""
    assert shown(await locate(server, "sip:half.pbx.test")) == [("udp:192.0.2.2:5060", 0, 0)]


async def test_no_name_no_server(server: DnsServer) -> None:
    """NXDOMAIN, failing and silent servers are all told as OSError."""
    with pytest.raises(OSError, match=r"no\.pbx\.test"):
        await locate(server, "sip:no.pbx.test")
    server.failing = True
    with pytest.raises(OSError, match="SERVFAIL"):
        await locate(server, "sip:plain.pbx.test")


async def test_a_name_of_this_machine_needs_no_dns() -> None:
    """Without given name servers addresses come from the system: localhost, /etc/hosts."""
    found = await DnsLocator().locate(Endpoint("localhost", None, None))
    assert "udp:127.0.0.1:5060" in [str(address) for address in found.addresses]
