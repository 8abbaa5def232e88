"""runtime.outgoing_calls: an app's own call as a story with one verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from push_proxy.core.ids import AccountId, AccountKey, CallId, DeviceId, TenantId
from push_proxy.core.model import (
    Account,
    Address,
    CallRecord,
    CallState,
    Direction,
    Fault,
    Verdict,
)
from push_proxy.observability.metrics import Metrics
from push_proxy.runtime.calls import Calls
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.outgoing_calls import OutgoingCalls
from push_proxy.signaling.facts import DialogEnded
from push_proxy.store.memory import MemoryStore

KEY = AccountKey("acme/101")
PHONE = DeviceId("phone")
PBX = Address("192.0.2.10", 5060)


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.metrics = Metrics()
        self.calls = Calls(store=self.store, clock=self.clock, metrics=self.metrics)
        self.outgoing = OutgoingCalls(calls=self.calls, clock=self.clock)

    def call(self, name: str = "call-1", sip_call_id: str = "s") -> CallId:
        record = CallRecord(
            id=CallId(name),
            account=KEY,
            direction=Direction.OUTGOING,
            sip_call_id=sip_call_id,
            callee="200",
            started_at=self.clock.now(),
            state=CallState.CALLING,
        )
        call = self.outgoing.begin(record, PHONE)
        self.outgoing.sent(call, PHONE, PBX)
        return call

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for _ in range(20):
            await asyncio.sleep(0)

    async def stored(self, call: CallId) -> CallRecord:
        await self.pass_time(1.1)
        record = await self.store.get_call(call)
        assert record is not None
        return record

    def counted(self, verdict: Verdict, fault: Fault) -> float:
        labels = {"verdict": verdict.value, "fault": fault.value}
        return self.metrics.registry.get_sample_value("push_proxy_calls_total", labels) or 0.0


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    account = Account(
        tenant=TenantId("acme"), account=AccountId("101"), aor="sip:101@pbx.example.com"
    )
    await scene.store.put_account(account, expected_version=None)
    yield scene
    await scene.calls.aclose()


async def test_answered_and_hung_up(scene: Scene) -> None:
    """The whole story; the far end hangs up; counted once."""
    call = scene.call()
    scene.outgoing.ringing(call, status=180, reason="Ringing")
    live = scene.calls.get(call)
    assert live is not None
    assert live.state is CallState.RINGING
    scene.outgoing.answered(call)
    await scene.pass_time(30)
    scene.calls.dialog_ended(DialogEnded(call=call, by_device=False, reason=""))
    record = await scene.stored(call)
    assert [(entry.event, entry.detail) for entry in record.timeline] == [
        ("invite_received", ""),
        ("invite_sent", "udp:192.0.2.10:5060"),
        ("ringing", "180 Ringing"),
        ("answered", ""),
        ("hung_up", "pbx"),
    ]
    assert record.outcome is not None
    assert (record.outcome.verdict, record.outcome.ended_by) == (Verdict.ANSWERED, "pbx")
    assert record.answered_at is not None
    assert record.ended_at is not None
    assert record.ended_at - record.answered_at >= 30
    assert scene.counted(Verdict.ANSWERED, Fault.NOBODY) == 1


@pytest.mark.parametrize(
    ("status", "local", "rang", "verdict", "ended_by"),
    [
        (486, False, True, Verdict.BUSY, "pbx"),
        (600, False, False, Verdict.BUSY, "pbx"),
        (603, False, True, Verdict.DECLINED, "pbx"),
        (480, False, True, Verdict.NO_ANSWER, "pbx"),
        (408, False, True, Verdict.NO_ANSWER, "pbx"),
        (480, False, False, Verdict.OUTBOUND_FAILED, "pbx"),
        (487, False, True, Verdict.CALLER_CANCELLED, "device"),
        (487, True, False, Verdict.CALLER_CANCELLED, "device"),
        (302, False, False, Verdict.FORWARDED, "pbx"),
        (404, False, False, Verdict.OUTBOUND_FAILED, "pbx"),
        (408, True, False, Verdict.OUTBOUND_FAILED, "pbx"),
        (503, True, True, Verdict.OUTBOUND_FAILED, "pbx"),
    ],
)
async def test_failed(
    scene: Scene, status: int, local: bool, rang: bool, verdict: Verdict, ended_by: str
) -> None:
    """The verdict from the final response and whether it rang; a failure is the PBX's fault."""
    call = scene.call()
    if rang:
        scene.outgoing.ringing(call, status=183, reason="Session Progress")
    scene.outgoing.failed(call, status=status, reason="why", local=local)
    record = await scene.stored(call)
    assert record.outcome is not None
    found = (record.state, record.outcome.verdict, record.outcome.ended_by, record.outcome.status)
    assert found == (CallState.ENDED, verdict, ended_by, status)
    assert record.outcome.phase is (CallState.RINGING if rang else CallState.CALLING)
    assert record.timeline[-1].detail == f"{status} why"
    fault = Fault.PBX if verdict is Verdict.OUTBOUND_FAILED else Fault.NOBODY
    assert record.outcome.fault is fault
    assert scene.counted(verdict, fault) == 1


@pytest.mark.parametrize(
    ("end", "verdict", "fault", "event"),
    [
        (
            lambda out, call: out.vanished(call, "gone"),
            Verdict.CALLER_CANCELLED,
            Fault.NOBODY,
            "app_lost",
        ),
        (
            lambda out, call: out.broken(call, "bad target"),
            Verdict.PROXY_ERROR,
            Fault.PROXY,
            "proxy_error",
        ),
        (
            lambda out, call: out.refused(call, status=403, reason="Account Disabled"),
            Verdict.REFUSED,
            Fault.NOBODY,
            "refused",
        ),
        (
            lambda out, call: out.refused(call, status=503, reason="PBX Address Unknown"),
            Verdict.OUTBOUND_FAILED,
            Fault.PBX,
            "refused",
        ),
    ],
)
async def test_other_ends(
    scene: Scene,
    end: Callable[[OutgoingCalls, CallId], None],
    verdict: Verdict,
    fault: Fault,
    event: str,
) -> None:
    """The app vanished, we failed, we refused, or we know no PBX: each has its own verdict."""
    call = scene.call()
    end(scene.outgoing, call)
    record = await scene.stored(call)
    assert record.outcome is not None
    assert (record.outcome.verdict, record.outcome.fault) == (verdict, fault)
    assert record.timeline[-1].event == event


async def test_a_challenged_call_goes_on(scene: Scene) -> None:
    """The INVITE after the 407 with the same Call-ID is the same call, also seconds later."""
    call = scene.call()
    scene.outgoing.challenged(call, status=407, reason="Proxy Authentication Required")
    await scene.pass_time(5)
    assert scene.call("call-2") == call
    scene.outgoing.answered(call)
    await scene.pass_time(60)
    record = await scene.stored(call)
    events = [entry.event for entry in record.timeline]
    assert events == [
        "invite_received",
        "invite_sent",
        "challenged",
        "invite_received",
        "invite_sent",
        "answered",
    ]
    assert await scene.store.get_call(CallId("call-2")) is None
    assert scene.counted(Verdict.ANSWERED, Fault.NOBODY) == 1
    assert scene.counted(Verdict.OUTBOUND_FAILED, Fault.PBX) == 0


async def test_another_call_meanwhile(scene: Scene) -> None:
    """Another Call-ID is another call, whatever was challenged."""
    call = scene.call()
    scene.outgoing.challenged(call, status=407, reason="x")
    assert scene.call("call-2", sip_call_id="other") == "call-2"


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_challenge_that_nobody_answers(scene: Scene, stopped: bool) -> None:
    """The app has no password: after a while, or at our stop, the call has failed."""
    call = scene.call()
    scene.outgoing.challenged(call, status=407, reason="x")
    if stopped:
        scene.outgoing.aclose()
    else:
        await scene.pass_time(33)
    record = await scene.stored(call)
    assert record.outcome is not None
    found = (record.outcome.verdict, record.outcome.status)
    assert found == (Verdict.OUTBOUND_FAILED, 407)


async def test_two_challenged_calls_with_one_call_id(scene: Scene) -> None:
    """An app that sends an INVITE twice: each of its calls ends, none is kept for ever."""
    first, second = scene.call(), scene.call("call-2")
    scene.outgoing.challenged(first, status=407, reason="x")
    scene.outgoing.challenged(second, status=407, reason="x")
    await scene.pass_time(33)
    for call in (first, second):
        assert (await scene.stored(call)).state is CallState.ENDED
    assert scene.outgoing._challenged == {}


async def test_a_fact_for_a_call_that_is_gone(scene: Scene) -> None:
    """Nothing happens, nothing breaks."""
    gone = CallId("nobody")
    scene.outgoing.ringing(gone, status=180, reason="")
    scene.outgoing.challenged(gone, status=407, reason="")
    assert await scene.store.get_call(gone) is None
