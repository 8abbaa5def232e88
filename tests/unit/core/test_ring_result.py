"""core.ring_result: how long callers of sleeping phones wait for one to ring."""

import pytest

from push_proxy.core.events import (
    CallerCancelled,
    DeviceRegistered,
    Event,
    Invite,
    InviteStored,
    PushAnswered,
    PushOutcome,
    ResponseReceived,
    TimePassed,
    WakeSettings,
)
from push_proxy.core.ids import BranchId, CallId, DeviceId, Instant, ResponseId
from push_proxy.core.model import Verdict
from push_proxy.core.part import push_id
from push_proxy.core.ring_result import RingEnd, RingResult, ring_result
from push_proxy.core.wake import Ended, start, step

from .playbook import START, asleep, binding, fresh

CALL, PHONE = CallId("call-1"), DeviceId("phone")


def accepted() -> PushAnswered:
    push = push_id(CALL, PHONE, "call/1")
    return PushAnswered(device=PHONE, push=push, outcome=PushOutcome.ACCEPTED, reason="200")


def responds(status: int) -> ResponseReceived:
    return ResponseReceived(
        branch=BranchId(1), response=ResponseId(status), status=status, reason="", local=False
    )


def ended(
    events: list[tuple[float, Event]], verdict: Verdict, *, also_awake: bool = False
) -> RingResult | None:
    """The result of a call to one sleeping phone; seconds are the INVITE's age."""
    invite = Invite(call=CALL, received_at=START)
    others = (fresh("desk"),) if also_awake else ()
    state, _ = start(invite, (asleep("phone"), *others), WakeSettings(), START)
    state, _ = step(state, InviteStored(ok=True), START)
    now = START
    for age_s, event in events:
        now = Instant(START + age_s)
        state, _ = step(state, event, now)
    assert isinstance(state, Ended)
    return ring_result(state.last, verdict, now)


@pytest.mark.parametrize(
    ("events", "verdict", "expected"),
    [
        pytest.param(
            [
                (0.1, accepted()),
                (2.0, DeviceRegistered(binding("phone"))),
                (2.5, responds(180)),
                (9.0, responds(200)),
            ],
            Verdict.ANSWERED,
            RingResult(RingEnd.RANG, 2.5, PHONE),
            id="until the first 18x, however long it rings",
        ),
        pytest.param(
            [(0.1, accepted()), (2.0, DeviceRegistered(binding("phone"))), (3.0, responds(200))],
            Verdict.ANSWERED,
            RingResult(RingEnd.RANG, 3.0, PHONE),
            id="answered without ringing",
        ),
        pytest.param(
            [(0.1, accepted()), (60.0, TimePassed())],
            Verdict.NOT_WOKEN,
            RingResult(RingEnd.FAILED, 60.0, PHONE),
            id="never woke",
        ),
        pytest.param(
            [(0.1, accepted()), (3.0, CallerCancelled(""))],
            Verdict.CALLER_CANCELLED,
            RingResult(RingEnd.GAVE_UP, 3.0, PHONE),
            id="the caller had no patience",
        ),
        pytest.param(
            [(0.1, accepted()), (9.0, CallerCancelled(""))],
            Verdict.NOT_WOKEN,
            RingResult(RingEnd.FAILED, 9.0, PHONE),
            id="the caller waited long enough",
        ),
    ],
)
def test_result(
    events: list[tuple[float, Event]], verdict: Verdict, expected: RingResult | None
) -> None:
    """Each end of a call to one sleeping phone."""
    result = ended(events, verdict)
    assert result is not None
    assert expected is not None
    assert (result.end, result.device) == (expected.end, expected.device)
    assert result.seconds == pytest.approx(expected.seconds)


def test_awake_phone_beside_it() -> None:
    """Its caller hears ringing at once, whatever sleeps: no evidence of waking."""
    events: list[tuple[float, Event]] = [(0.1, responds(180)), (3.0, CallerCancelled(""))]
    assert ended(events, Verdict.CALLER_CANCELLED, also_awake=True) is None
