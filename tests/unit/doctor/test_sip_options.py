"""The doctor's own OPTIONS: as a PBX gets it, and what counts as its answer."""

import pytest

from push_proxy.core.model import Address
from push_proxy.doctor.sip_options import options_status
from push_proxy.tasks import spawn
from tests.lab.ports import free_port
from tests.lab.sip_agent import SipAgent


@pytest.fixture
async def server() -> SipAgent:
    agent = SipAgent("pbx")
    await agent.open()
    return agent


async def status(server: SipAgent, *, timeout_s: float = 3.0) -> str:
    host, port = server.address
    to = Address(host, port, "udp")
    return await options_status(to, name="pbx.example", timeout_s=timeout_s)


async def test_a_pbx_answers(server: SipAgent) -> None:
    """Whatever its final answer is; a provisional one is none."""
    asking = spawn(status(server), name="OPTIONS")
    request = await server.expect(method="OPTIONS", within=2)
    assert request.uri == f"sip:pbx.example:{server.address[1]}"
    assert ";rport" in request.header("Via")
    server.respond(request, 100, "Trying")
    server.respond(request, 404, "Not Found")
    assert await asking == "404 Not Found"
    server.close()


async def test_lost_requests_are_sent_again(server: SipAgent) -> None:
    """After half a second, the same one (RFC 3261 §17.1.2)."""
    asking = spawn(status(server), name="OPTIONS")
    first = await server.expect(method="OPTIONS", within=2)
    again = await server.expect(method="OPTIONS", within=2)
    assert first.raw == again.raw
    server.respond(again, 200, "OK")
    assert await asking == "200 OK"
    server.close()


async def test_answers_to_others_do_not_count(server: SipAgent) -> None:
    """Another branch's answer leaves it silent."""
    asking = spawn(status(server, timeout_s=1.0), name="OPTIONS")
    request = await server.expect(method="OPTIONS", within=2)
    forged = request.raw.replace(b"z9hG4bK", b"z9hG4bKx").partition(b"\r\n")[2]
    peer = request.header("Via").split()[1].partition(";")[0].rpartition(":")
    server.send(b"SIP/2.0 200 OK\r\n" + forged, (peer[0], int(peer[2])))
    with pytest.raises(TimeoutError):
        await asking
    server.close()


async def test_a_closed_port_is_no_silence() -> None:
    """The machine says at once that nobody listens there."""
    to = Address("127.0.0.1", free_port(), "udp")
    with pytest.raises(OSError, match="refused"):
        await options_status(to, name="pbx.example", timeout_s=3.0)
