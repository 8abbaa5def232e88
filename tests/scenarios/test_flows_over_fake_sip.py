"""Calls to phones on TCP and TLS, whose connections come and go: the real call path, SIP faked."""

import pytest

from push_proxy.core.ids import BranchId, DeviceId
from push_proxy.core.model import Address, Binding
from push_proxy.signaling.facts import FlowLost
from tests.scenarios.fake_service import US, FakeService

ONE, TWO = BranchId(1), BranchId(2)


def connect(
    service: FakeService, port: int, *, name: str = "phone", host: str = "198.51.100.7"
) -> Binding:
    """The phone opens a connection and registers over it."""
    source = Address(host, port, "tls")
    service.sip.connections[source] = US
    return service.register(name, source=source, contact=f"sip:101@{host}:{port};transport=tls")


async def test_a_phone_whose_connection_is_gone_is_pushed_at_once() -> None:
    """However lately it was heard: nothing is sent into the dead connection."""
    async with FakeService() as service:
        await service.device()
        binding = connect(service, 40000)
        service.sip.lose_connection(binding.source)
        txn = service.invite()
        assert service.sip.forks(txn) == []
        await service.settled()
        assert service.box.types() == ["call"]
        connect(service, 41000)
        service.sip.respond(txn, ONE, 200)
        await service.settled()
        assert service.finals(txn) == [200]


async def test_the_connection_ends_while_the_phone_rings() -> None:
    """Wi-Fi to LTE with a FIN: pushed, and rung once more where it registers; it answers there."""
    async with FakeService() as service:
        await service.device()
        binding = connect(service, 40000)
        txn = service.invite()
        service.sip.respond(txn, ONE, 180)
        await service.settled()
        assert service.box.types() == []
        service.sip.lose_connection(binding.source)
        await service.settled()
        assert service.box.types() == ["call"]
        connect(service, 41000, host="203.0.113.9")
        forks = [(fork.branch, fork.rewrite.destination.port) for fork in service.sip.forks(txn)]
        assert forks == [(ONE, 40000), (TWO, 41000)]
        service.sip.respond(txn, TWO, 180)
        service.sip.respond(txn, TWO, 200)
        await service.settled()
        assert service.finals(txn) == [200]
        record = await service.record(service.call_of())
        assert [entry.event for entry in record.timeline].count("flow_failed") == 1


@pytest.mark.parametrize("pushable", [True, False])
async def test_a_half_open_connection(pushable: bool) -> None:
    """No FIN, no answer: a push after a second, and the INVITE moves to the new connection."""
    async with FakeService() as service:
        if pushable:
            await service.device()
        connect(service, 40000)
        txn = service.invite()
        await service.pass_time(2)
        assert service.box.types() == (["call"] if pushable else [])
        connect(service, 41000)
        assert [f.rewrite.destination.port for f in service.sip.forks(txn)] == [40000, 41000]
        service.sip.respond(txn, TWO, 180)
        service.sip.lose_connection(Address("198.51.100.7", 40000, "tls"), "timed out")
        service.sip.respond(txn, TWO, 200)
        await service.settled()
        assert service.finals(txn) == [200]


async def test_a_phone_without_push_target_gets_the_time_of_a_wake() -> None:
    """Its connection ends as the call comes: it is rung when it is back, or 480 at the deadline."""
    async with FakeService() as service:
        binding = connect(service, 40000)
        txn = service.invite()
        service.sip.lose_connection(binding.source)
        await service.pass_time(10)
        assert service.finals(txn) == []
        connect(service, 41000)
        service.sip.respond(txn, TWO, 200)
        await service.settled()
        assert service.finals(txn) == [200]
        other = connect(service, 42000)
        txn = service.invite(call_id="sip-2")
        service.sip.lose_connection(other.source)
        await service.pass_time(15)
        assert service.finals(txn) == [480]


async def test_a_phone_that_is_off_is_not_waited_for() -> None:
    """Its connection ended more than a minute ago, and it has no push target: 480 at once."""
    async with FakeService() as service:
        binding = connect(service, 40000)
        service.sip.lose_connection(binding.source)
        await service.pass_time(61)
        txn = service.invite()
        assert service.finals(txn) == [480]
        connect(service, 41000)
        service.sip.lose_connection(Address("198.51.100.7", 41000, "tls"))
        await service.pass_time(59)
        txn = service.invite(call_id="sip-2")
        assert service.finals(txn) == []
        connect(service, 42000)
        assert len(service.sip.forks(txn)) == 1


async def test_two_phones_on_one_connection() -> None:
    """Behind one edge proxy: both fail at once, both are rung again, one answers."""
    async with FakeService() as service:
        first, second = connect(service, 40000, name="a"), connect(service, 40000, name="b")
        txn = service.invite()
        assert len(service.sip.forks(txn)) == 2
        service.sip.lose_connection(first.source)
        assert first.source == second.source
        connect(service, 41000, name="a")
        connect(service, 41000, name="b")
        forks = service.sip.forks(txn)
        assert [fork.rewrite.destination.port for fork in forks] == [40000] * 2 + [41000] * 2
        service.sip.respond(txn, forks[2].branch, 200)
        await service.settled()
        assert service.finals(txn) == [200]
        assert len({fork.rewrite.route_key for fork in forks}) == 2


async def test_every_register_of_a_phone_that_flaps_is_rung_once() -> None:
    """Ten connections in a row: one INVITE each, never two at a time, one final response."""
    async with FakeService() as service:
        await service.device()
        binding = connect(service, 40000)
        txn = service.invite()
        for number in range(10):
            service.sip.lose_connection(binding.source)
            await service.settled()
            binding = connect(service, 41000 + number)
            connect(service, 41000 + number)
        assert len(service.sip.forks(txn)) == 11
        service.sip.respond(txn, BranchId(11), 200)
        await service.settled()
        assert service.finals(txn) == [200]
        await service.pass_time(100)
        assert service.wakes.waiting == service.wakes.lingering == 0


async def test_a_connection_that_nobody_registered_on() -> None:
    """Ports are scanned: their connections' ends change nothing."""
    async with FakeService() as service:
        stranger = Address("192.0.2.66", 1, "tcp")
        service.sip.tell(FlowLost(remote=stranger, local=US, outgoing=False, reason="closed"))
        binding = connect(service, 40000)
        assert service.directory.has_flow(binding)
        assert service.directory.binding(binding.account, DeviceId("phone")) is not None
