"""Whole calls through wakes, directory, store and records, with SIP and time in memory."""

import asyncio

import pytest

from push_proxy.core.events import AppAction, AppEvent, Event, PushOutcome, TimePassed
from push_proxy.core.ids import BranchId, DeviceId, Instant
from push_proxy.core.model import CallState, Verdict
from push_proxy.core.wake import State, Step, step
from push_proxy.errors import StoreUnavailable
from push_proxy.signaling.facts import DialogEnded
from push_proxy.signaling.fake import Cancelled, Ended, Forked
from tests.scenarios.fake_service import KEY, VIDEO, FakeService

ONE, TWO = BranchId(1), BranchId(2)
PHONE = DeviceId("phone")


async def test_a_call_to_a_sleeping_phone() -> None:
    """Held, pushed, woken, relayed, answered, hung up; the record tells it in this order."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        assert service.sip.sent(txn) == [], "nothing before the INVITE is durable"
        await service.settled()
        assert service.box.types() == ["call"]
        assert service.sip.sent(txn) == [100, 180]
        assert service.wakes.waiting == 1
        (held,) = await service.store.held_invites(KEY)
        assert held.to_tag == "ours"

        await service.pass_time(2)
        binding = service.register()
        (fork,) = service.sip.forks(txn)
        assert fork.rewrite.request_uri == binding.contact
        assert fork.rewrite.destination == binding.source
        call = service.call_of()
        assert fork.rewrite.add == (
            ("P-Called-Party-ID", "<sip:101@pbx.example.com>"),
            ("X-Push-ID", call),
        )
        service.sip.respond(txn, ONE, 180)
        service.sip.respond(txn, ONE, 200)
        await service.settled()
        assert service.sip.sent(txn) == [100, 180, 180, 200]
        assert service.wakes.waiting == service.wakes.lingering == 0
        await service.settled()
        assert await service.store.held_invites(KEY) == ()

        await service.pass_time(60)
        service.sip.tell(DialogEnded(call=call, by_device=True, reason=""))
        await service.pass_time(1)
        assert service.calls.get(call) is None, "a written record leaves memory"
        record = await service.record(call)
        assert record.state is CallState.ENDED
        assert record.answered_at == record.started_at + 2
        assert record.ended_at == record.started_at + 62
        assert record.outcome is not None
        assert (record.outcome.verdict, record.outcome.ended_by) == (Verdict.ANSWERED, "device")
        assert [entry.event for entry in record.timeline] == [
            "invite_received",
            "push_sent",
            "push_accepted",
            "invite_stored",
            "ringing",
            "registered",
            "invite_sent",
            "device_ringing",
            "answered",
            "hung_up",
        ]


async def test_the_push_says_who_calls() -> None:
    """Number and name from P-Asserted-Identity, video from the SDP, the wake's end."""
    async with FakeService() as service:
        await service.device()
        service.invite(headers='P-Asserted-Identity: "Ann B." <tel:+4930123>\r\n', body=VIDEO)
        await service.settled()
        (push,) = service.box.got
        assert (push.caller_number, push.caller_name, push.video) == ("+4930123", "Ann B.", True)
        assert push.sip_call_id == "sip-1"
        assert push.expires_at == service.clock.now() + 15


async def test_privacy_blanks_the_caller() -> None:
    """``Privacy: id``: neither push nor record names the caller, the app gets no identity."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite(
            headers="P-Asserted-Identity: <sip:555@pbx>\r\nPrivacy: id\r\nX-Push-ID: forged\r\n"
        )
        await service.settled()
        (push,) = service.box.got
        assert (push.caller_number, push.caller_name) == ("", "")
        assert (await service.record(push.call)).caller == ""
        service.register()
        (fork,) = service.sip.forks(txn)
        assert {"p-asserted-identity", "x-push-id", "p-called-party-id"} <= set(fork.rewrite.remove)


async def test_nobody_wakes() -> None:
    """480 with the verdict at the deadline, not a moment later; the phone is told it is over."""
    async with FakeService(repush_after_s=None) as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        await service.pass_time(14.99)
        assert service.finals(txn) == []
        await service.pass_time(0.01)
        final = service.final(txn)
        assert (final.status, final.headers) == (480, (("X-Push-Reason", "not_woken"),))
        assert service.box.types() == ["call", "cancel"]
        record = await service.record(service.call_of())
        assert record.outcome is not None
        assert (record.outcome.verdict, record.outcome.ended_by) == (Verdict.NOT_WOKEN, "deadline")


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (PushOutcome.REJECTED, "push_rejected"),
        (PushOutcome.MISCONFIGURED, "push_rejected"),
        (PushOutcome.UNAVAILABLE, "provider_unavailable"),
    ],
)
async def test_no_push_gets_through(outcome: PushOutcome, reason: str) -> None:
    """The PBX does not wait for a timeout that we already know of."""
    async with FakeService() as service:
        await service.device()
        service.box.outcome = outcome
        txn = service.invite()
        await service.settled()
        assert service.final(txn).headers == (("X-Push-Reason", reason),)
        assert service.wakes.waiting == 0


async def test_the_service_stops_while_a_phone_rings() -> None:
    """No caller is left hearing ringing: 480 at once, the phone is called off, and it is ours."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        service.register()
        service.sip.respond(txn, BranchId(1), 180)
        service.wakes.end_all()
        await service.settled()
        final = service.final(txn)
        assert (final.status, final.headers) == (480, (("X-Push-Reason", "proxy_error"),))
        assert [o for o in service.sip.orders if isinstance(o, Cancelled)]
        assert service.wakes.waiting == 0
        record = await service.record(service.call_of())
        assert record.state is CallState.ENDED
        assert record.outcome is not None
        assert (record.outcome.verdict, record.outcome.ended_by) == (Verdict.PROXY_ERROR, "proxy")
        service.wakes.end_all()
        assert len(service.finals(txn)) == 1


async def test_a_fault_of_ours_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the machine fail, the caller is told so: a call without a timer would never end."""

    def faulty(state: State, event: Event, now: Instant) -> Step:
        if isinstance(event, TimePassed):
            raise TypeError("bug")
        return step(state, event, now)

    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        monkeypatch.setattr("push_proxy.runtime.live_wake.step", faulty)
        await service.pass_time(60)
        assert service.final(txn).headers == (("X-Push-Reason", "proxy_error"),)
        assert service.wakes.waiting == 0


async def test_no_device_at_all() -> None:
    """480 at once, and nothing is stored."""
    async with FakeService() as service:
        txn = service.invite()
        assert service.final(txn).headers == (("X-Push-Reason", "no_device"),)
        await service.settled()
        assert await service.store.held_invites(KEY) == ()
        assert service.wakes.lingering == 0


async def test_cancel_while_waking() -> None:
    """487 at once; who registers afterwards gets no INVITE; one cancel push (race 2)."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        service.sip.cancel_from_pbx(txn, 'Q.850;cause=16;text="hung up"')
        assert service.finals(txn) == [487]
        service.register()
        await service.pass_time(100)
        assert service.sip.forks(txn) == []
        assert service.box.types() == ["call", "cancel"]
        assert service.finals(txn) == [487]


async def test_cancel_before_the_store_has_answered() -> None:
    """The INVITE that is stored after the call's end is forgotten all the same."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        service.sip.cancel_from_pbx(txn)
        assert service.sip.sent(txn) == [487]
        await service.settled()
        assert await service.store.held_invites(KEY) == ()
        assert service.wakes.lingering == 0


async def test_register_inside_the_push() -> None:
    """A REGISTER that overtakes the push's answer is not lost (race 1)."""
    async with FakeService() as service:
        await service.device()
        service.box.inside = lambda _: service.register()
        for number in range(1000):
            txn = service.invite(call_id=f"sip-{number}")
            await service.settled()
            assert len(service.sip.forks(txn)) == 1
            service.sip.respond(txn, ONE, 486)
            service.directory.delete_binding(KEY, PHONE)
        assert service.wakes.waiting == service.wakes.lingering == 0


async def test_the_next_calls_register_is_the_next_calls() -> None:
    """INVITE A, CANCEL, INVITE B, REGISTER: only B is delivered (race 3)."""
    async with FakeService() as service:
        await service.device()
        first = service.invite(call_id="a")
        await service.settled()
        service.sip.cancel_from_pbx(first)
        second = service.invite(call_id="b")
        await service.settled()
        service.register()
        assert service.sip.forks(first) == []
        assert len(service.sip.forks(second)) == 1
        service.sip.respond(second, ONE, 486)
        assert service.wakes.waiting == 0


async def test_two_calls_wait_for_one_register() -> None:
    """Both are delivered, and each is cancelled for itself (race 4)."""
    async with FakeService() as service:
        await service.device()
        first = service.invite(call_id="a")
        second = service.invite(call_id="b")
        await service.settled()
        service.register()
        assert [len(service.sip.forks(txn)) for txn in (first, second)] == [1, 1]
        service.sip.respond(first, ONE, 180)
        service.sip.respond(second, ONE, 180)
        service.sip.cancel_from_pbx(first)
        service.sip.respond(second, ONE, 200)
        assert service.finals(first) == [487]
        await service.settled()
        assert service.finals(second) == [200]


async def test_a_burst_of_registers_rings_once() -> None:
    """Three REGISTERs with three Call-IDs: one INVITE (race 5)."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        for number in range(3):
            service.register(call_id=f"r{number}", instance="urn:uuid:1")
        assert len(service.sip.forks(txn)) == 1


async def test_a_token_rotates_while_waking() -> None:
    """Pushed again to the new token; the old one's refusal does not end the call (race 6)."""
    async with FakeService() as service:
        await service.device()
        service.box.gate = asyncio.Event()
        service.box.outcome = PushOutcome.REJECTED
        txn = service.invite()
        await service.settled()
        await service.device(token="tok-2")
        await service.settled()
        assert [push.device.token for push in service.box.got] == ["tok-1", "tok-2"]
        assert len({push.id for push in service.box.got}) == 2
        assert len({push.call for push in service.box.got}) == 1
        service.register()
        service.box.gate.set()
        await service.settled()
        assert service.finals(txn) == []
        service.sip.respond(txn, ONE, 200)
        await service.settled()
        assert service.finals(txn) == [200]


@pytest.mark.parametrize("offset_ms", [-1, 0, 1])
async def test_register_at_the_deadline(offset_ms: int) -> None:
    """One final response, whichever comes first (race 7)."""
    async with FakeService(repush_after_s=None) as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        await service.pass_time(15 + offset_ms / 1000)
        service.register()
        if offset_ms < 0:
            assert len(service.sip.forks(txn)) == 1
            service.sip.respond(txn, ONE, 200)
            await service.settled()
            assert service.finals(txn) == [200]
        else:
            assert service.sip.forks(txn) == []
            assert service.finals(txn) == [480]
        await service.pass_time(100)
        assert len(service.finals(txn)) == 1
        assert service.wakes.waiting == service.wakes.lingering == 0


async def test_the_invite_moves_off_a_dead_flow() -> None:
    """A fresh device that says nothing is pushed; its new flow gets the INVITE, once (race 8)."""
    async with FakeService() as service:
        await service.device()
        service.register(port=40000)
        txn = service.invite()
        assert len(service.sip.forks(txn)) == 1
        await service.settled()
        assert service.box.types() == []
        await service.pass_time(1)
        assert service.box.types() == ["call"]
        service.register(port=41000)
        service.register(port=41000)
        assert [fork.rewrite.destination.port for fork in service.sip.forks(txn)] == [40000, 41000]
        service.sip.respond(txn, TWO, 200)
        await service.settled()
        assert service.finals(txn) == [200]


async def test_answered_on_one_while_another_wakes() -> None:
    """The sleeper is told by push that it is over, and gets no INVITE (race 9)."""
    async with FakeService() as service:
        await service.device("a", token="t-a")
        await service.device("b", token="t-b")
        txn = service.invite()
        await service.settled()
        service.register("a")
        service.sip.respond(txn, ONE, 180)
        service.sip.respond(txn, ONE, 200)
        service.register("b")
        await service.settled()
        assert [(p.device.device, p.type.value) for p in service.box.got[2:]] == [
            ("b", "answered_elsewhere")
        ]
        assert len(service.sip.forks(txn)) == 1


async def test_two_phones_answer() -> None:
    """The PBX gets one 200; the other phone's dialog is ended by us (race 9)."""
    async with FakeService() as service:
        await service.device("a", token="t-a")
        await service.device("b", token="t-b")
        txn = service.invite()
        await service.settled()
        service.register("a", port=1001)
        service.register("b", port=1002)
        service.sip.respond(txn, ONE, 180)
        service.sip.respond(txn, TWO, 180)
        service.sip.respond(txn, TWO, 200)
        assert service.last == Cancelled(txn, ONE, 'SIP;cause=200;text="Call completed elsewhere"')
        service.sip.respond(txn, ONE, 200)
        assert service.last == Ended(txn, ONE)
        await service.settled()
        assert service.finals(txn) == [200]
        assert service.wakes.lingering == 0


async def test_answer_crosses_the_cancel() -> None:
    """487 is out already: the phone's 200 is ACKed and ended, no orphaned media (race 9)."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        service.register()
        service.sip.respond(txn, ONE, 180)
        service.sip.cancel_from_pbx(txn)
        service.sip.respond(txn, ONE, 200)
        assert service.finals(txn) == [487]
        assert service.last == Ended(txn, ONE)


async def test_declined_on_the_push_screen() -> None:
    """603 before SIP is up; a second action comes too late."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        call = service.call_of()
        assert service.wakes.report(call, PHONE, AppEvent.UI_SHOWN, "lock screen")
        assert service.wakes.act(call, PHONE, AppAction.DECLINE)
        assert service.finals(txn) == [603]
        assert not service.wakes.act(call, PHONE, AppAction.BUSY)
        assert not service.wakes.report(call, PHONE, AppEvent.FAILED, "late")
        record = await service.record(call)
        assert record.outcome is not None
        assert record.outcome.verdict is Verdict.DECLINED
        assert record.timeline[-1].event == "app_failed"


async def test_the_store_is_away() -> None:
    """The call goes through all the same; the record is written when the store is back."""

    async def away(*_: object) -> None:
        raise StoreUnavailable("no answer")

    async with FakeService() as service:
        await service.device()
        service.store.hold_invite = away  # type: ignore[method-assign, assignment]
        txn = service.invite()
        await service.settled()
        assert service.sip.sent(txn) == [100, 180]
        service.register()
        service.sip.respond(txn, ONE, 200)
        await service.settled()
        assert service.finals(txn) == [200]
        record = await service.record(service.call_of())
        assert "invite_not_stored" in [entry.event for entry in record.timeline]


async def test_a_flow_that_is_known_dead() -> None:
    """503 of our own transport: the phone is pushed at once, without the second's grace."""
    async with FakeService() as service:
        await service.device()
        service.register()
        txn = service.invite()
        fork = service.last
        assert isinstance(fork, Forked)
        service.sip.respond(txn, ONE, 503, local=True)
        await service.settled()
        assert service.box.types() == ["call"]


async def test_a_call_ends_after_a_restart() -> None:
    """The BYE of a call that only the store remembers ends its record."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        service.register()
        service.sip.respond(txn, ONE, 200)
        call = service.call_of()
        await service.pass_time(1)
        service.calls._live.clear()
        service.sip.tell(DialogEnded(call=call, by_device=False, reason=""))
        await service.settled()
        await service.pass_time(1)
        record = await service.store.get_call(call)
        assert record is not None
        assert record.outcome is not None
        assert (record.state, record.outcome.ended_by) == (CallState.ENDED, "caller")


async def test_a_phone_that_rings_for_ever() -> None:
    """Timer C ends it, though the timer first armed was for something that did not happen."""
    async with FakeService() as service:
        await service.device()
        service.register()
        txn = service.invite()
        service.sip.respond(txn, ONE, 180)
        await service.settled()
        await service.pass_time(184.9)
        assert service.finals(txn) == []
        await service.pass_time(0.1)
        assert service.final(txn).headers == (("X-Push-Reason", "no_answer"),)


async def test_metrics_follow_the_call() -> None:
    """Wakes, pushes, relays and verdicts are counted; nothing waits afterwards."""
    async with FakeService() as service:
        await service.device()
        txn = service.invite()
        await service.settled()
        assert "push_proxy_waiting_calls 1.0" in service.metrics.render().decode()
        await service.pass_time(2)
        service.register()
        service.sip.respond(txn, ONE, 200)
        text = service.metrics.render().decode()
        assert "push_proxy_waiting_calls 0.0" in text
        assert 'push_proxy_calls_total{fault="nobody",verdict="answered"} 1.0' in text
        assert "push_proxy_relay_seconds_count 1.0" in text
        assert (
            'push_proxy_wake_seconds_sum{platform="android",provider="webhook",'
            'result="registered"} 2.0'
        ) in text
