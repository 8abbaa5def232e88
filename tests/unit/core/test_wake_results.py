"""core.wake_results: what a call says of each device that it pushed."""

import pytest

from push_proxy.core.events import (
    AppActed,
    AppAction,
    AppEvent,
    AppReported,
    CallerCancelled,
    DeviceRegistered,
    Event,
    GivingUp,
    Invite,
    InviteStored,
    PushAnswered,
    PushOutcome,
    TimePassed,
    WakeSettings,
)
from push_proxy.core.ids import CallId, DeviceId, Instant
from push_proxy.core.model import Verdict
from push_proxy.core.part import push_id
from push_proxy.core.wake import Ended, start, step
from push_proxy.core.wake_health import WakeEnd
from push_proxy.core.wake_results import wake_results

from .playbook import START, asleep, binding

CALL, PHONE = CallId("call-1"), DeviceId("phone")
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
Told = tuple[WakeEnd, Verdict, float | None, str]


def answer(outcome: PushOutcome = PushOutcome.ACCEPTED, reason: str = "200") -> PushAnswered:
    push = push_id(CALL, PHONE, "call/1")
    return PushAnswered(device=PHONE, push=push, outcome=outcome, reason=reason)


def registers() -> DeviceRegistered:
    return DeviceRegistered(binding("phone"))


def told(events: list[tuple[float, Event]], verdict: Verdict, **settings: float) -> Told:
    """What is said of the one phone when the call has ended; seconds are the INVITE's age."""
    invite = Invite(call=CALL, received_at=START)
    state, _ = start(invite, (asleep("phone"),), WakeSettings(**settings), START)
    state, _ = step(state, InviteStored(ok=True), START)
    now = START
    for age_s, event in events:
        now = Instant(START + age_s)
        state, _ = step(state, event, now)
    assert isinstance(state, Ended)
    ((device, result),) = wake_results(state.last, verdict, now)
    assert (device, result.call, result.at) == (PHONE, CALL, START)
    return result.end, result.verdict, result.wake_s, result.reason


CANCELLED, NOT_WOKEN = Verdict.CALLER_CANCELLED, Verdict.NOT_WOKEN
WOKE, FAILED, NOTHING = WakeEnd.WOKE, WakeEnd.FAILED, WakeEnd.NO_EVIDENCE


@pytest.mark.parametrize(
    ("events", "verdict", "expected"),
    [
        pytest.param(
            [(0.1, answer()), (2.5, registers()), (9, CallerCancelled(""))],
            CANCELLED,
            (WOKE, CANCELLED, 2.5, ""),
            id="it registered: how the call ended is the call's",
        ),
        pytest.param(
            [(0.1, answer()), (2, AppActed(device=PHONE, action=AppAction.DECLINE))],
            Verdict.DECLINED,
            (WOKE, Verdict.DECLINED, None, ""),
            id="its owner declined on the push screen",
        ),
        pytest.param(
            [(0.1, answer()), (15, TimePassed())],
            NOT_WOKEN,
            (FAILED, NOT_WOKEN, None, ""),
            id="nothing until the deadline",
        ),
        pytest.param(
            [
                (0.1, answer()),
                (1, AppReported(device=PHONE, event=AppEvent.PUSH_RECEIVED)),
                (15, TimePassed()),
            ],
            Verdict.WOKE_NOT_REGISTERED,
            (FAILED, Verdict.WOKE_NOT_REGISTERED, None, ""),
            id="the app reported and did not come",
        ),
        pytest.param(
            [(0.1, answer()), (5.2, CallerCancelled(""))],
            NOT_WOKEN,
            (FAILED, NOT_WOKEN, None, ""),
            id="the caller was patient",
        ),
        pytest.param(
            [(0.1, answer()), (5, CallerCancelled(""))],
            CANCELLED,
            (NOTHING, CANCELLED, None, ""),
            id="the caller gave up within seconds",
        ),
        pytest.param(
            [(0.1, answer()), (3, CallerCancelled(ELSEWHERE))],
            Verdict.ANSWERED_ELSEWHERE,
            (NOTHING, Verdict.ANSWERED_ELSEWHERE, None, ""),
            id="another phone was faster",
        ),
        pytest.param(
            [(0.1, answer(PushOutcome.REJECTED, "Unregistered"))],
            Verdict.PUSH_REJECTED,
            (FAILED, Verdict.PUSH_REJECTED, None, "Unregistered"),
            id="its token is dead",
        ),
        pytest.param(
            [(0.1, answer(PushOutcome.MISCONFIGURED, "InvalidProviderToken"))],
            Verdict.PUSH_REJECTED,
            (NOTHING, Verdict.PUSH_REJECTED, None, "InvalidProviderToken"),
            id="our credentials are at fault",
        ),
        pytest.param(
            [(0.1, answer(PushOutcome.UNAVAILABLE, "503"))],
            Verdict.PROVIDER_UNAVAILABLE,
            (NOTHING, Verdict.PROVIDER_UNAVAILABLE, None, "503"),
            id="the provider did not take it",
        ),
        pytest.param(
            [(15, TimePassed())],
            Verdict.PROVIDER_UNAVAILABLE,
            (NOTHING, Verdict.PROVIDER_UNAVAILABLE, None, ""),
            id="the provider said nothing",
        ),
        pytest.param(
            [(0.1, answer()), (12, GivingUp("stopped"))],
            Verdict.PROXY_ERROR,
            (NOTHING, Verdict.PROXY_ERROR, None, ""),
            id="we were stopped",
        ),
    ],
)
def test_what_a_call_says_of_a_device(
    events: list[tuple[float, Event]], verdict: Verdict, expected: Told
) -> None:
    """Only what the device itself did or did not do is evidence."""
    assert told(events, verdict) == expected


def test_an_early_end_of_waiting_counts() -> None:
    """A device that is given up after ``ack_s`` has failed, however short that is."""
    events: list[tuple[float, Event]] = [(0.1, answer()), (3, TimePassed())]
    assert told(events, NOT_WOKEN, ack_s=3.0)[:2] == (FAILED, NOT_WOKEN)


def test_who_was_not_pushed_was_not_woken() -> None:
    """A phone that is awake says nothing of wakes."""
    invite = Invite(call=CALL, received_at=START)
    awake = asleep("phone", binding=binding("phone"), fresh=True)
    state, _ = start(invite, (awake,), WakeSettings(), START)
    state, _ = step(state, CallerCancelled(""), Instant(START + 0.5))
    assert isinstance(state, Ended)
    assert list(wake_results(state.last, CANCELLED, Instant(START + 0.5))) == []
