"""Killed in mid-wake and started again, with SIP, time and push in the test's hands."""

import asyncio
from dataclasses import replace

from push_proxy.core.ids import AccountKey, BranchId, CallId, DeviceId, ResponseId, ServerTxn
from push_proxy.core.matching import route_key
from push_proxy.core.model import Address, CallState, Fault, HeldDevice, Verdict
from push_proxy.errors import StoreUnavailable
from push_proxy.signaling.facts import DialogEnded

from .fake_service import KEY, NODE, PBX, FakeService

ONE = BranchId(1)
PHONE = DeviceId("phone")


def restored_txn(service: FakeService) -> ServerTxn:
    """The server transaction that was rebuilt."""
    return next(iter(service.sip._transactions))


def seeds(service: FakeService) -> list[str]:
    return [order.rewrite.branch_seed for order in _forks(service)]


def _forks(service: FakeService) -> list:  # type: ignore[type-arg]
    return [o for txn in service.sip._transactions for o in service.sip.forks(txn)]


async def events(service: FakeService, call: CallId) -> list[str]:
    return [entry.event for entry in (await service.record(call)).timeline]


async def test_after_the_push_was_taken() -> None:
    """The phone has been pushed and sleeps still: the next life waits on, with the time that is
    left, repeats the push once, tells the PBX that it rings, and calls the phone when it comes.
    """
    async with FakeService() as first:
        await first.device()
        txn = first.invite()
        await first.pass_time(1.5)
        assert first.sip.sent(txn) == [100, 180]
        call = first.call_of()
        (held,) = await first.store.held_of_node(NODE)
        assert held.devices[0].accepted_at is not None
        second = await first.killed()
        first.clock.advance(2)
        async with second:
            await second.rebuilt()
            txn = restored_txn(second)
            assert second.sip.opened
            assert second.sip.sent(txn) == [180]
            assert [(push.type, push.call) for push in second.box.got] == [("call", call)]
            second.register()
            assert seeds(second) == [f"{call}/phone/1"]
            second.sip.respond(txn, ONE, 200)
            await second.settled()
            assert second.finals(txn) == [200]
            await second.settled()
            assert await second.store.held_of_node(NODE) == ()
            record = await second.record(call)
            assert record.state is CallState.ANSWERED
            timeline = [entry.event for entry in record.timeline]
            assert timeline.index("node_restarted") < timeline.index("registered")
            assert timeline.index("invite_received") < timeline.index("node_restarted")


async def test_a_ringing_phone_gets_the_same_branch() -> None:
    """Killed while the phone rings, 30 s after the wake's deadline: the INVITE to it has the seed
    that it had, so it is a retransmission; what the phone answers goes to the PBX.
    """
    async with FakeService() as first:
        await first.device()
        txn = first.invite()
        await first.settled()
        first.register()
        first.sip.respond(txn, ONE, 180)
        former = seeds(first)
        await first.pass_time(45)
        second = await first.killed()
        async with second:
            await second.rebuilt()
            txn = restored_txn(second)
            assert seeds(second) == former
            assert second.box.got == []
            second.sip.respond(txn, ONE, 180)
            await second.pass_time(60)
            second.sip.respond(txn, ONE, 200)
            await second.settled()
            assert second.finals(txn) == [200]


async def test_a_ringing_phone_that_is_gone() -> None:
    """One that rang and says nothing any more is not waited for: the deadline is over."""
    async with FakeService() as first:
        await first.device()
        first.register()
        await first.pass_time(1)
        txn = first.invite()
        first.sip.respond(txn, ONE, 180)
        await first.pass_time(45)
        second = await first.killed()
        async with second:
            await second.rebuilt()
            txn = restored_txn(second)
            assert len(seeds(second)) == 1
            await second.pass_time(2.1)
            assert second.finals(txn) == [480]


async def test_the_deadline_passed_meanwhile() -> None:
    """The call ends as it would have ended, as soon as somebody is there to say so."""
    async with FakeService() as first:
        await first.device()
        first.invite()
        await first.pass_time(2)
        call = first.call_of()
        second = await first.killed()
        second.clock.advance(20)
        async with second:
            await second.rebuilt()
            final = second.final(restored_txn(second))
            assert (final.status, dict(final.headers)["X-Push-Reason"]) == (480, "not_woken")
            assert second.box.types() == ["cancel"]
            record = await second.record(call)
            assert record.outcome is not None
            assert record.outcome.verdict is Verdict.NOT_WOKEN


async def test_the_invites_own_end_passed_meanwhile() -> None:
    """Its Expires is over: 487, as RFC 3261 §13.3.1 has it."""
    async with FakeService() as first:
        await first.device()
        first.invite(headers="Expires: 8\r\n")
        await first.pass_time(2)
        second = await first.killed()
        second.clock.advance(8)
        async with second:
            await second.rebuilt()
            assert second.finals(restored_txn(second)) == [487]
            assert second.box.types() == ["cancel"]


async def test_killed_before_the_push_was_answered() -> None:
    """Nobody knows whether the push left: it is repeated under its own name, on a provider that
    takes one push per call as well.
    """
    async with FakeService() as first:
        await first.device()
        first.box.gate = asyncio.Event()
        first.invite()
        await first.settled()
        second = await first.killed()
        async with second:
            await second.rebuilt()
            assert [push.id for push in second.box.got] == [first.box.got[0].id]
            assert second.finals(restored_txn(second)) == []


async def test_a_push_that_was_refused_is_not_repeated() -> None:
    """The provider has refused it: the next life knows, and does not wait."""
    async with FakeService() as first:
        await first.device()
        await first.device("other", token="tok-2")
        first.invite()
        await first.settled()
        (held,) = await first.store.held_of_node(NODE)
        refused = HeldDevice(device=PHONE, pushes=1, failure="rejected", reached=1)
        await first.store.update_held(KEY, held.call, (refused, replace(held.devices[1])))
        second = await first.killed()
        async with second:
            await second.rebuilt()
            assert [push.device.device for push in second.box.got] == ["other"]


async def test_who_refused_is_not_rung_again() -> None:
    """One device has refused while another still wakes: it does not ring a second time, and its
    answer counts when the other does not come.
    """
    async with FakeService() as first:
        await first.device()
        await first.device("other", token="tok-2")
        txn = first.invite()
        await first.settled()
        first.register()
        first.sip.respond(txn, ONE, 180)
        first.sip.respond(txn, ONE, 486, reason="Busy Here")
        await first.settled()
        second = await first.killed()
        async with second:
            await second.rebuilt()
            txn = restored_txn(second)
            assert seeds(second) == []
            assert {push.device.device for push in second.box.got} == {"other"}
            await second.pass_time(20)
            final = second.final(txn)
            assert (final.status, final.reason) == (486, "Busy Here")


async def test_an_invite_that_had_moved() -> None:
    """The INVITE had gone to a second address of the phone: the next life repeats that one, and
    what follows is a third.
    """
    async with FakeService() as first:
        await first.device()
        first.invite()
        await first.settled()
        first.register(port=40000)
        first.register(port=40001)
        call = first.call_of()
        assert seeds(first) == [f"{call}/phone/1", f"{call}/phone/2"]
        await first.settled()
        second = await first.killed()
        async with second:
            await second.rebuilt()
            assert seeds(second) == [f"{call}/phone/2"]
            second.register(port=40002)
            assert seeds(second)[1:] == [f"{call}/phone/3"]


async def test_another_address() -> None:
    """The node has another address now: no SIP can be said, the call is on record as lost with
    its PBX, kept as missed, and the phone that shows it is told.
    """
    async with FakeService() as first:
        await first.device()
        first.invite()
        await first.pass_time(2)
        call = first.call_of()
        second = await first.killed()
        second.restoring._host = "10.0.0.8"
        async with second:
            await second.rebuilt()
            assert second.sip.restores == []
            assert second.box.types() == ["cancel"]
            record = await second.record(call)
            assert record.outcome is not None
            assert (record.outcome.verdict, record.outcome.fault) == (
                Verdict.PBX_LOST,
                Fault.PBX,
            )
            assert "node_restarted" in [entry.event for entry in record.timeline]
            assert await second.store.held_of_node(NODE) == ()


async def test_a_record_that_was_not_written() -> None:
    """Killed before the call's record was written: it is made from the held INVITE."""
    async with FakeService() as first:
        await first.device()
        first.invite()
        await first.settled()
        call = first.call_of()
        assert await first.store.get_call(call) is None
        second = await first.killed()
        second.clock.advance(3)
        async with second:
            await second.rebuilt()
            record = await second.record(call)
            assert (record.caller, record.started_at) == ("555", first.clock.now() - 3)
            second.sip.cancel_from_pbx(restored_txn(second))
            await second.settled()
            assert second.finals(restored_txn(second)) == [487]


async def test_a_call_that_had_been_answered() -> None:
    """Its record says so, though the INVITE is still there: nothing is done."""
    async with FakeService() as first:
        await first.device()
        txn = first.invite()
        await first.settled()
        (held,) = await first.store.held_of_node(NODE)
        first.register()
        first.sip.respond(txn, ONE, 200)
        await first.pass_time(2)
        await first.store.hold_invite(held)
        second = await first.killed()
        async with second:
            await second.rebuilt()
            assert (second.sip.restores, second.box.got) == ([], [])
            assert await second.store.held_of_node(NODE) == ()


async def test_an_answer_leaves_when_the_store_has_let_go() -> None:
    """From the moment in which the PBX has the 2xx, a node that is killed leaves its next life
    nothing to begin again: it would call a phone that talks already.
    """
    async with FakeService() as first:
        await first.device()
        txn = first.invite()
        await first.settled()
        release, let_go = asyncio.Event(), first.store.release_invite
        order: list[str] = []

        async def slow(key: AccountKey, call: CallId, *, node: str = "") -> bool:
            await release.wait()
            done = await let_go(key, call, node=node)
            order.append("released")
            return done

        relay = first.sip.relay

        def relayed(txn: ServerTxn, branch: BranchId, response: ResponseId) -> None:
            order.append("relayed")
            relay(txn, branch, response)

        first.store.release_invite = slow  # type: ignore[method-assign]
        first.sip.relay = relayed  # type: ignore[method-assign]
        first.register()
        first.sip.respond(txn, ONE, 200)
        await first.settled()
        first.sip.cancel_from_pbx(txn)
        await first.settled()
        assert first.finals(txn) == [], "it waits for the store, and a CANCEL is too late"
        release.set()
        await first.settled()
        assert (first.finals(txn), order) == ([200], ["released", "relayed"])


async def test_a_store_that_is_silent_delays_an_answer_a_little() -> None:
    """150 ms after the phone has answered, the PBX hears it all the same."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        silent = asyncio.Event()

        async def never(key: AccountKey, call: CallId, *, node: str = "") -> bool:
            await silent.wait()
            raise StoreUnavailable("no answer")

        service.store.release_invite = never  # type: ignore[method-assign]
        service.register()
        service.sip.respond(txn, ONE, 200)
        await service.pass_time(0.149)
        assert service.finals(txn) == []
        await service.pass_time(0.001)
        assert service.finals(txn) == [200]
        silent.set()
        await service.settled()
        assert service.finals(txn) == [200], "once"


async def test_an_answer_that_waits_when_the_service_stops() -> None:
    """It leaves before the sockets close: the drain takes an answered call for done."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        service.register()
        service.sip.respond(txn, ONE, 200)
        assert (service.finals(txn), service.wakes.waiting) == ([], 0)
        service.wakes.end_all()
        assert service.finals(txn) == [200]
        await service.settled()
        assert service.finals(txn) == [200], "once"


async def test_a_store_that_refuses_does_not_delay_an_answer() -> None:
    """It is away: the PBX hears the answer at once."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()

        async def away(key: AccountKey, call: CallId, *, node: str = "") -> bool:
            raise StoreUnavailable("cut off")

        service.store.release_invite = away  # type: ignore[method-assign]
        service.register()
        service.sip.respond(txn, ONE, 200)
        await service.settled()
        assert service.finals(txn) == [200]


async def test_an_answer_on_a_branch_of_the_former_life() -> None:
    """Neither binding nor record was stored, and the phone repeats its 2xx: the call is answered
    by that device, the other one hears so, and nothing is held or waited for any more.
    """
    async with FakeService() as first:
        await first.device()
        await first.device("other", token="tok-2")
        first.invite()
        await first.settled()
        call = first.call_of()
        second = await first.killed()
        async with second:
            await second.rebuilt()
            txn = restored_txn(second)
            second.sip.answer_from_before(txn, route_key(KEY, PHONE))
            await second.settled()
            told = [
                push.device.device for push in second.box.got if push.type == "answered_elsewhere"
            ]
            assert told == ["other"]
            await second.settled()
            assert second.finals(txn) == [200]
            assert await second.store.held_of_node(NODE) == ()
            await second.pass_time(60)
            record = await second.record(call)
            assert record.outcome is not None
            assert (record.state, record.outcome.device) == (CallState.ANSWERED, PHONE)
            assert second.wakes.waiting == 0


async def test_a_bye_in_the_dialog_of_the_former_life() -> None:
    """The PBX has sent its ACK before the end, so that the phone repeats nothing: the BYE says
    that the call was answered.
    """
    async with FakeService() as first:
        await first.device()
        first.invite()
        await first.settled()
        call = first.call_of()
        second = await first.killed()
        async with second:
            await second.rebuilt()
            second.sip.tell(DialogEnded(call=call, by_device=True, reason=""))
            await second.settled()
            record = await second.record(call)
            assert record.outcome is not None
            assert record.outcome.verdict is Verdict.ANSWERED
            assert (record.state, record.outcome.ended_by) == (CallState.ENDED, "device")
            assert "cancel" not in second.box.types()
            assert second.finals(restored_txn(second)) == [487]
            assert await second.store.held_of_node(NODE) == ()


async def test_a_bye_before_any_answer() -> None:
    """In a call of this life it ends an early dialog, if anything: the phones ring on."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        service.sip.tell(DialogEnded(call=service.call_of(), by_device=False, reason=""))
        assert service.wakes.waiting == 1
        assert service.finals(txn) == []


async def test_over_a_connection() -> None:
    """Over TCP a user agent's call has failed with its connection; a proxy, which a second Via
    tells, waits on.
    """
    async with FakeService() as first:
        await first.device()
        first.invite()
        await first.settled()
        (held,) = await first.store.held_of_node(NODE)
        over_tcp = replace(held, source=Address(PBX.host, PBX.port, "tcp"))
        await first.store.hold_invite(over_tcp)
        second = await first.killed()
        async with second:
            await second.rebuilt()
            assert second.finals(restored_txn(second)) == [480]
            record = await second.record(held.call)
            assert record.outcome is not None
            assert record.outcome.verdict is Verdict.PBX_LOST

    async with FakeService() as first:
        await first.device()
        first.invite()
        await first.settled()
        (held,) = await first.store.held_of_node(NODE)
        raw = held.raw.replace(b"Via:", b"Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKp\r\nVia:", 1)
        by_proxy = replace(held, raw=raw, source=Address(PBX.host, PBX.port, "tcp"))
        await first.store.hold_invite(by_proxy)
        second = await first.killed()
        async with second:
            await second.rebuilt()
            assert second.finals(restored_txn(second)) == []
            assert second.wakes.waiting == 1


async def test_a_node_that_does_not_come_back() -> None:
    """Another node ends its calls, and each call once."""
    async with FakeService() as first:
        await first.device()
        first.invite()
        await first.pass_time(2)
        call = first.call_of()
        other = await first.killed()
        async with other:
            found = await other.store.held_of_node(NODE)
            assert await other.restoring.reap(found) == 1
            assert await other.restoring.reap(found) == 0
            await other.settled()
            assert other.box.types() == ["cancel"]
            record = await other.record(call)
            assert record.outcome is not None
            assert record.outcome.verdict is Verdict.PBX_LOST


async def test_one_more_write_for_a_usual_call() -> None:
    """A call to one phone that is pushed, registers, rings and answers costs the store one write
    beside holding and releasing its INVITE.
    """
    async with FakeService() as service:
        await service.device()
        count = 0
        update = service.store.update_held

        async def counted(key: AccountKey, call: CallId, devices: tuple[HeldDevice, ...]) -> bool:
            nonlocal count
            count += 1
            return await update(key, call, devices)

        service.store.update_held = counted  # type: ignore[method-assign]
        txn = service.invite()
        await service.pass_time(1)
        service.register()
        service.sip.respond(txn, ONE, 100)
        service.sip.respond(txn, ONE, 180)
        await service.pass_time(1)
        service.sip.respond(txn, ONE, 200)
        await service.settled()
        assert count <= 1
