"""HEP 3: what a collector gets, and that one which is away costs nothing."""

import asyncio
import socket
import struct

import pytest

from push_proxy.core.ids import Instant
from push_proxy.core.model import Address
from push_proxy.recorder.hep_export import HepExport, HepTarget
from push_proxy.recorder.hep_packet import packet
from push_proxy.signaling.captured import Captured
from push_proxy.tasks import spawn
from tests.lab.process import poll_until

from .hep_reader import read
from .messages import PBX, US, message

RAW = message("INVITE sip:101@10.0.0.7 SIP/2.0")
SEEN = Captured(Instant(1_700_000_000.25), False, False, PBX, US, "sip-1", RAW)


@pytest.mark.parametrize(("host", "family"), [("192.0.2.10", 2), ("2001:db8::10", 10)])
@pytest.mark.parametrize(("transport", "protocol"), [("udp", 17), ("tcp", 6), ("tls", 6)])
def test_a_packet_says_what_where_and_when(
    host: str, family: int, transport: str, protocol: int
) -> None:
    """Read by the specification: addresses, ports, time, agent, password, Call-ID, the message."""
    data = packet(
        RAW,
        at=Instant(1_700_000_000.25),
        source=Address(host, 40_000, transport),
        target=Address("0.0.0.0", 5060, transport),
        correlation_id="sip-1",
        capture_id=2001,
        password=b"s3cret",
    )
    assert data is not None
    found = read(data)
    assert (found.family, found.protocol, found.kind) == (family, protocol, 1)
    assert (found.source, found.source_port, found.target_port) == (host, 40_000, 5060)
    assert found.target == ("0.0.0.0" if family == 2 else "::")
    assert (found.seconds, found.microseconds) == (1_700_000_000, 250_000)
    assert (found.capture_id, found.password) == (2001, b"s3cret")
    assert (found.correlation_id, found.payload) == (b"sip-1", RAW)


def test_what_no_datagram_holds_is_left_out() -> None:
    """Rather than a packet that no network carries."""
    data = packet(
        b"x" * 65_500, at=Instant(1), source=PBX, target=US, correlation_id="a", capture_id=1
    )
    assert data is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_collector_gets_the_message(host: str) -> None:
    """By address or by name; before its name is known messages are counted and gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.setblocking(False)
        export = HepExport(HepTarget(host=host, port=collector.getsockname()[1], capture_id=5))

        async def arrives() -> bytes:
            return await asyncio.get_running_loop().sock_recv(collector, 65_535)

        reading = spawn(arrives(), name="collector")
        for _ in range(200):
            export.send(SEEN)
            await asyncio.sleep(0.01)
            if reading.done():
                break
        found = read(await asyncio.wait_for(reading, 5))
        assert found.payload == RAW
        assert (found.capture_id, found.source, found.target) == (5, "192.0.2.10", "10.0.0.7")
        export.close()
        sent = export.sent
        export.send(SEEN._replace(sent=True))
        assert (export.sent, export.dropped) == (sent, export.dropped)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no-such-host.invalid"])
async def test_a_collector_that_is_away_costs_nothing(host: str) -> None:
    """Whether nobody listens, nothing is routed there, or the name leads nowhere: nothing is
    raised, nothing waits, and what is not sent is counted.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    export = HepExport(HepTarget(host=host, port=port))
    for _ in range(500):
        export.send(SEEN)
    await poll_until(lambda: export._looking is None or export._looking.done(), within_s=5)
    export.send(SEEN)
    assert export.sent + export.dropped == 501
    if host != "192.0.2.1":
        assert export.dropped > 0
    export.close()


def test_lengths_are_in_network_order() -> None:
    """The header as the specification draws it."""
    data = packet(b"x", at=Instant(1), source=PBX, target=US, correlation_id="", capture_id=1)
    assert data is not None
    assert data[:4] + data[4:6] == b"HEP3" + struct.pack("!H", len(data))
