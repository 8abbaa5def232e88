"""Events arrive, signed; what is not taken is tried again, or becomes a dead letter."""

import asyncio
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from push_proxy.core.ids import Instant, TenantId
from push_proxy.core.notices import NoticeType
from push_proxy.core.queued_event import QueuedEvent
from push_proxy.events import message
from tests.lab.push_sink import PushSink, Reply

from .conftest import ACME, QUICK, Scene, notice, numbers, webhook


async def test_an_event_arrives_once_and_signed(scene: Scene, push_sink: PushSink) -> None:
    """With all that the contract names; the same id in header and body."""
    scene.open(webhook(push_sink)).tell(notice(at=Instant(1_000_000.25)))
    (push,) = await push_sink.wait()
    assert push.signature_error == ""
    assert push.headers["Content-Type"] == "application/json"
    name = push.payload.pop("id")
    assert re.fullmatch(r"[0-9a-f-]{36}", name)
    assert push.headers["X-Push-Proxy-Event-Id"] == name
    assert push.payload == {
        "type": "call.missed", "at": "1970-01-12T13:46:40.250Z", "tenant": "acme",
        "account": "101", "device": "phone", "number": "1",
    }  # fmt: skip
    await scene.until(lambda: scene.results() == ["delivered"])
    await asyncio.sleep(3 * QUICK.poll_s)
    assert len(push_sink.pushes) == 1


async def test_without_a_key_nothing_is_signed(scene: Scene, push_sink: PushSink) -> None:
    """As with pushes."""
    scene.open(webhook(push_sink, hmac_key=None)).tell(notice(device=None))
    (push,) = await push_sink.wait()
    assert "X-Push-Proxy-Signature" not in push.headers
    assert push.payload["device"] is None


async def test_only_what_a_webhook_wants(
    scene: Scene, push_sink: PushSink, second_sink: PushSink
) -> None:
    """By type and tenant; the same event has the same id everywhere."""
    events = scene.open(
        webhook(push_sink, types=frozenset({NoticeType.CALL_MISSED})),
        webhook(second_sink, tenant=TenantId("globex")),
    )
    events.tell(notice(1, type=NoticeType.TOKEN_INVALID))
    events.tell(notice(2, "globex/1", type=NoticeType.TOKEN_INVALID))
    events.tell(notice(3, "globex/1"))
    events.tell(notice(4))
    await push_sink.wait(2)
    await second_sink.wait(2)
    assert sorted(numbers(push_sink)) == ["3", "4"]
    assert numbers(second_sink) == ["2", "3"]
    (one,) = [p.payload["id"] for p in push_sink.pushes if p.payload["number"] == "3"]
    assert one == second_sink.pushes[1].payload["id"]


async def test_an_accounts_events_come_in_order(scene: Scene, push_sink: PushSink) -> None:
    """As told, also when many come at once."""
    events = scene.open(webhook(push_sink))
    for number in range(50):
        events.tell(notice(number))
    await push_sink.wait(50)
    assert numbers(push_sink) == [str(number) for number in range(50)]


@pytest.mark.parametrize(
    "reply",
    [Reply(status=500), Reply(status=503), Reply(status=408), Reply(status=425), Reply(status=429),
     Reply(drop=True), Reply(hang=True)],
)  # fmt: skip
async def test_what_may_pass_is_tried_again(
    scene: Scene, push_sink: PushSink, reply: Reply
) -> None:
    """Twice refused, then taken: three requests, one event, each signed for its own time."""
    push_sink.replies.extend([reply, reply])
    pace = replace(QUICK, request_s=0.5) if reply.hang else QUICK
    scene.open(webhook(push_sink), pace=pace).tell(notice())
    pushes = await push_sink.wait(3)
    assert len({push.payload["id"] for push in pushes}) == 1
    assert len({push.body for push in pushes}) == 1
    assert [push.signature_error for push in pushes] == ["", "", ""]
    await scene.until(lambda: scene.results() == ["retried", "retried", "delivered"])
    assert await scene.letters() == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
async def test_a_refusal_is_a_dead_letter_at_once(
    scene: Scene, push_sink: PushSink, status: int
) -> None:
    """One request: asking again would not help."""
    push_sink.reply = Reply(status=status)
    scene.open(webhook(push_sink)).tell(notice())
    ((_, error, attempts),) = await scene.died()
    assert (error, attempts) == (f"http_{status}", 1)
    assert len(push_sink.pushes) == 1


async def test_retry_after_is_honoured(scene: Scene, push_sink: PushSink) -> None:
    """The receiver is left alone for as long as it asks: with this event and with others."""
    push_sink.replies.append(Reply(status=429, headers={"Retry-After": "1"}))
    events = scene.open(webhook(push_sink))
    events.tell(notice(1))
    (first,) = await push_sink.wait(1)
    events.tell(notice(2))
    pushes = await push_sink.wait(3)
    assert pushes[1].arrived_s - first.arrived_s >= 0.95


async def test_pauses_grow(scene: Scene, push_sink: PushSink) -> None:
    """Each is longer than half of what it may be: an exponential back-off with jitter."""
    push_sink.reply = Reply(status=503)
    pace = replace(QUICK, first_retry_s=0.1, longest_retry_s=5.0, longest_pause_s=0.05)
    scene.open(webhook(push_sink), pace=pace).tell(notice())
    pushes = await push_sink.wait(4)
    gaps = [b.arrived_s - a.arrived_s for a, b in pairwise(pushes)]
    for gap, full in zip(gaps, (0.1, 0.2, 0.4), strict=False):
        assert gap >= full * 0.45


async def test_after_its_time_an_event_is_dead(scene: Scene, push_sink: PushSink) -> None:
    """With its last error and how often it was tried."""
    push_sink.reply = Reply(status=503)
    scene.open(webhook(push_sink), pace=replace(QUICK, give_up_s=0.5)).tell(notice())
    ((_, error, attempts),) = await scene.died()
    assert error == "http_503"
    assert attempts == len(push_sink.pushes) >= 2
    assert (await scene.store.claim_events("x", now=Instant(0.0), lease_s=1, limit=1)).events == ()


async def test_a_redirect_is_not_followed(
    scene: Scene, push_sink: PushSink, second_sink: PushSink
) -> None:
    """It is a refusal: who is told is the operator's configuration alone."""
    push_sink.reply = Reply(status=307, headers={"Location": second_sink.url})
    scene.open(webhook(push_sink)).tell(notice())
    ((_, error, _),) = await scene.died()
    assert error == "http_307"
    assert second_sink.pushes == []


async def test_a_private_address_is_refused(scene: Scene, push_sink: PushSink) -> None:
    """Unless it is allowed: the receiver there gets nothing, and the operator hears why."""
    scene.open(webhook(push_sink, allow_private=False)).tell(notice())
    ((_, error, _),) = await scene.died()
    assert error == "address_refused"
    assert push_sink.pushes == []


async def test_a_poisonous_event_keeps_no_other_waiting(scene: Scene, push_sink: PushSink) -> None:
    """One that the receiver always fails on is tried again beside the others."""
    events = scene.open(webhook(push_sink))

    async def fail_on_first(push: object) -> None:
        poison = getattr(push, "payload", {})["number"] == "0"
        push_sink.reply = Reply(status=500 if poison else 200)

    push_sink.hook = fail_on_first
    push_sink.replies.append(Reply(status=500))
    events.tell(notice(0, "acme/1"))
    await push_sink.wait(1)
    for number in range(1, 6):
        events.tell(notice(number, f"acme/{number + 1}"))
    await scene.until(lambda: scene.results().count("delivered") >= 5)


async def test_an_event_that_cannot_be_handled_keeps_no_other_waiting(
    scene: Scene, push_sink: PushSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is logged; the events beside and after it arrive."""
    real = message.body

    def body(event: QueuedEvent) -> bytes:
        if event.notice.data["number"] == "0":
            raise RuntimeError("a fault of ours")
        return real(event)

    monkeypatch.setattr(message, "body", body)
    events = scene.open(webhook(push_sink))
    for number in range(4):
        events.tell(notice(number, f"acme/{number}"))
    await push_sink.wait(3)
    events.tell(notice(4))
    await push_sink.wait(4)
    assert sorted(numbers(push_sink)) == ["1", "2", "3", "4"]


async def test_a_receiver_that_hangs_delays_no_other(
    scene: Scene, push_sink: PushSink, second_sink: PushSink
) -> None:
    """While one receiver keeps all its requests waiting, another gets every event."""
    push_sink.reply = Reply(hang=True)
    pace = replace(QUICK, request_s=30.0)
    events = scene.open(webhook(push_sink), webhook(second_sink), pace=pace)
    for number in range(40):
        events.tell(notice(number, f"acme/{number}"))
    await second_sink.wait(40)
    assert 1 <= len(push_sink.pushes) <= pace.at_once
    assert scene.results() == ["delivered"] * 40


async def test_telling_returns_at_once_and_never_raises(scene: Scene, push_sink: PushSink) -> None:
    """No matter how many, with the store away and values that cannot be written."""
    scene.store.away = True
    events = scene.open(webhook(push_sink), pace=replace(QUICK, memory_limit=100))
    for number in range(1000):
        events.tell(notice(number))
    events.tell(None)  # type: ignore[arg-type]
    assert events.waiting <= 100 + 32
    assert scene.results().count("dropped") >= 800
    scene.store.away = False
    await push_sink.wait(100)
    assert "999" in numbers(push_sink)


async def test_replayed_letters_are_delivered(scene: Scene, push_sink: PushSink) -> None:
    """With the ids that they had; then they are dead letters no more."""
    push_sink.reply = Reply(status=404)
    events = scene.open(webhook(push_sink))
    events.tell(notice(1))
    events.tell(notice(2))
    dead = await scene.died(2)
    push_sink.reply = Reply()
    done = await events.letters.replay(ACME, None)
    assert (done.replayed, done.skipped) == (2, 0)
    pushes = (await push_sink.wait(4))[2:]
    assert {push.payload["id"] for push in pushes} == {name for name, *_ in dead}
    assert await scene.letters() == []
