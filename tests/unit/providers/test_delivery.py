"""One push to its end: two requests at the most, each with a deadline, none after the expiry."""

import asyncio
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, PushId
from push_proxy.core.model import Device
from push_proxy.core.payload import Push
from push_proxy.ports import Clock
from push_proxy.providers.attempt import (
    ACCEPTED,
    MISCONFIGURED,
    SKIPPED,
    UNAVAILABLE,
    Attempt,
)
from push_proxy.providers.delivery import Delivery
from push_proxy.runtime.clock import ManualClock, SystemClock

SILENT = Attempt(UNAVAILABLE, "timeout", again=True)


class Requests:
    """What was sent: number and time allowed; answers as scripted."""

    def __init__(
        self, *answers: Attempt | Exception, then: Callable[[], None] = lambda: None
    ) -> None:
        self.sent: list[tuple[int, float]] = []
        self._answers = list(answers)
        self._then = then

    async def __call__(self, number: int, timeout_s: float) -> Attempt:
        self.sent.append((number, timeout_s))
        answer = self._answers.pop(0)
        self._then()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def delivery(clock: ManualClock) -> Delivery:
    return Delivery("test", clock, request_s=2.5)


def a_push(clock: Clock, *, left_s: float = 15.0) -> Push:
    now = clock.now()
    return Push(
        id=PushId("p"),
        type=PushType.CALL,
        call=CallId("c"),
        device=Device(
            account=AccountKey("acme/alice"),
            device=DeviceId("phone"),
            provider="test",
            app_id="app",
            token="t",
        ),
        sent_at=now,
        expires_at=Instant(now + left_s),
    )


async def test_accepted_at_once(clock: ManualClock, delivery: Delivery) -> None:
    """An accepted push is one request."""
    requests = Requests(Attempt(ACCEPTED, "ok", provider_id="id-1"))
    result = await delivery.deliver(a_push(clock), requests)
    assert (result.outcome, result.attempts, result.provider_id) == (ACCEPTED, 1, "id-1")
    assert requests.sent == [(0, 2.5)]


async def test_silence_is_followed_by_one_more_request(
    clock: ManualClock, delivery: Delivery
) -> None:
    """Silence: a second request, and no third."""
    requests = Requests(SILENT, SILENT)
    result = await delivery.deliver(a_push(clock), requests)
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, "timeout", 2)
    assert [number for number, _ in requests.sent] == [0, 1]


async def test_a_verdict_is_not_asked_for_twice(clock: ManualClock, delivery: Delivery) -> None:
    """What trying again cannot change is sent once."""
    requests = Requests(Attempt(MISCONFIGURED, "BadTopic"))
    result = await delivery.deliver(a_push(clock), requests)
    assert (result.outcome, result.attempts) == (MISCONFIGURED, 1)


async def test_no_request_outlives_the_push(clock: ManualClock, delivery: Delivery) -> None:
    """A request gets no more time than the wake has left."""
    requests = Requests(SILENT, SILENT, then=lambda: clock.advance(0.5))
    await delivery.deliver(a_push(clock, left_s=1.0), requests)
    assert [round(timeout_s, 3) for _, timeout_s in requests.sent] == [1.0, 0.5]


async def test_an_expired_push_is_not_sent(clock: ManualClock, delivery: Delivery) -> None:
    """Nothing leaves for a wake that is over."""
    requests = Requests()
    result = await delivery.deliver(a_push(clock, left_s=0.0), requests)
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, "expired", 0)


async def test_a_pause_beyond_the_end_is_not_waited_for(
    clock: ManualClock, delivery: Delivery
) -> None:
    """Retry-After that reaches beyond the wake's end ends the push at once."""
    requests = Requests(Attempt(UNAVAILABLE, "http_503", again=True, pause_s=20))
    async with asyncio.timeout(5):
        result = await delivery.deliver(a_push(clock), requests)
    assert result.attempts == 1


async def test_a_surprise_is_an_answer_too(clock: ManualClock, delivery: Delivery) -> None:
    """An exception out of a library ends the push, not the wake, and is in the log."""
    with capture_logs() as logs:
        result = await delivery.deliver(a_push(clock), Requests(KeyError("what is this")))
    assert (result.outcome, result.reason) == (UNAVAILABLE, "internal_error")
    assert [line["event"] for line in logs] == ["push adapter failed", "push not taken"]


async def test_a_blocked_app_sends_nothing(clock: ManualClock, delivery: Delivery) -> None:
    """While an app's configuration is known to be wrong no request leaves for it."""
    wrong = Attempt(MISCONFIGURED, "InvalidProviderToken", blocks_s=60)
    await delivery.deliver(a_push(clock), Requests(wrong))
    result = await delivery.deliver(a_push(clock), Requests())
    assert (result.outcome, result.reason, result.attempts) == (
        PushOutcome.MISCONFIGURED,
        "InvalidProviderToken",
        0,
    )


async def test_failures_are_told_once_a_minute(clock: ManualClock, delivery: Delivery) -> None:
    """The log has one line per app, reason and minute; what was skipped on purpose has none."""
    with capture_logs() as logs:
        for _ in range(3):
            await delivery.deliver(a_push(clock), Requests(SILENT, SILENT))
        await delivery.deliver(a_push(clock), Requests(Attempt(SKIPPED, "no_alert_token")))
        assert [line["event"] for line in logs] == ["push not taken"]
        clock.advance(61)
        await delivery.deliver(a_push(clock), Requests(SILENT, SILENT))
    assert [line["reason"] for line in logs] == ["timeout", "timeout"]


async def test_a_short_pause_costs_calls_no_push() -> None:
    """A provider wants a second's rest: pushes that outlive it wait, then one goes first."""
    throttled = Attempt(UNAVAILABLE, "http_429", blocks_s=0.3)
    clock = SystemClock()
    delivery = Delivery("test", clock)
    await delivery.deliver(a_push(clock), Requests(throttled))
    started = time.monotonic()
    results = await asyncio.gather(
        *(delivery.deliver(a_push(clock), Requests(Attempt(ACCEPTED, "ok"))) for _ in range(20))
    )
    assert {(each.outcome, each.attempts) for each in results} == {(ACCEPTED, 1)}
    assert time.monotonic() - started >= 0.3


async def test_a_long_pause_is_an_answer_at_once() -> None:
    """A call that would be over before the provider wants to hear of it is not kept waiting."""
    throttled = Attempt(UNAVAILABLE, "http_429", blocks_s=60)
    clock = SystemClock()
    delivery = Delivery("test", clock)
    await delivery.deliver(a_push(clock), Requests(throttled))
    async with asyncio.timeout(5):
        result = await delivery.deliver(a_push(clock), Requests())
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, "http_429", 0)


async def test_a_push_of_days_is_not_tried_for_days(clock: ManualClock, delivery: Delivery) -> None:
    """One that tells of a missed call is given up when its provider wants an hour's rest."""
    later = Attempt(UNAVAILABLE, "http_503", again=True, pause_s=3600)
    async with asyncio.timeout(5):
        result = await delivery.deliver(a_push(clock, left_s=86_400), Requests(later))
    assert (result.outcome, result.attempts) == (UNAVAILABLE, 1)
