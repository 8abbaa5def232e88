"""Events outlive restarts, reloads and a store that is away; two nodes deliver each once."""

import asyncio
import ssl
import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.lab.push_sink import PushSink, Reply

from .conftest import QUICK, Scene, notice, numbers, webhook


async def test_a_restart_in_back_off_loses_nothing(scene: Scene, push_sink: PushSink) -> None:
    """Told before, refused, delivered after: the same id, and the attempts go on counting."""
    push_sink.reply = Reply(status=503)
    before = scene.open(webhook(push_sink))
    before.tell(notice())
    await push_sink.wait(2)
    await before.aclose()
    first = push_sink.pushes[-1]
    await asyncio.sleep(2 * QUICK.longest_retry_s)
    count = len(push_sink.pushes)
    push_sink.reply = Reply()
    scene.open(webhook(push_sink))
    pushes = await push_sink.wait(count + 1)
    assert pushes[-1].payload["id"] == first.payload["id"]


async def test_what_is_under_way_at_a_stop_is_not_lost(scene: Scene, push_sink: PushSink) -> None:
    """Claimed and unanswered: the next start need not wait for the end of a lease."""
    push_sink.replies.append(Reply(hang=True))
    before = scene.open(webhook(push_sink), pace=replace(QUICK, request_s=60.0))
    before.tell(notice())
    await push_sink.wait(1)
    await before.aclose()
    scene.open(webhook(push_sink))
    await push_sink.wait(2)


async def test_a_stop_finishes_what_is_nearly_done(scene: Scene, push_sink: PushSink) -> None:
    """A receiver that answers a moment later gets no event twice."""
    push_sink.reply = Reply(after_s=0.3)
    before = scene.open(webhook(push_sink))
    before.tell(notice())
    await push_sink.wait(1)
    await before.aclose()
    assert scene.results() == ["delivered"]
    scene.open(webhook(push_sink)).tell(notice(2))
    await push_sink.wait(2)
    assert numbers(push_sink) == ["1", "2"]


async def test_two_nodes_deliver_an_event_once(scene: Scene, push_sink: PushSink) -> None:
    """Both look at the same outbox; a slow receiver is no reason for the other node."""
    push_sink.reply = Reply(after_s=0.25)
    one, two = scene.open(webhook(push_sink)), scene.open(webhook(push_sink))
    for number in range(20):
        (one, two)[number % 2].tell(notice(number, f"acme/{number}"))
    await push_sink.wait(20)
    await scene.until(lambda: scene.results().count("delivered") == 20)
    await asyncio.sleep(3 * QUICK.poll_s)
    assert sorted(numbers(push_sink), key=int) == [str(number) for number in range(20)]


async def test_a_dead_nodes_events_are_taken_over(scene: Scene, push_sink: PushSink) -> None:
    """Claimed by a node that was killed: another one delivers them when the lease is over."""
    first, second = webhook(push_sink), scene
    dead = scene.open(first)
    await dead.aclose()
    second.running.clear()
    dead.tell(notice())
    dead._writer.start()
    await dead._writer.aclose()
    now = dead._clock.now()
    claimed = await scene.store.claim_events(first.key, now=now, lease_s=0.5, limit=9)
    assert len(claimed.events) == 1
    scene.open(first)
    await push_sink.wait(1)
    assert len(push_sink.pushes) == 1


async def test_a_store_that_is_away_delays_events_only(scene: Scene, push_sink: PushSink) -> None:
    """They wait in memory, and come when it is back."""
    events = scene.open(webhook(push_sink))
    scene.store.away = True
    for number in range(5):
        events.tell(notice(number))
    await asyncio.sleep(0.2)
    assert push_sink.pushes == []
    assert events.waiting >= 5
    scene.store.away = False
    await push_sink.wait(5)
    assert numbers(push_sink) == ["0", "1", "2", "3", "4"]


async def test_a_reload_keeps_what_waits(
    scene: Scene, push_sink: PushSink, second_sink: PushSink
) -> None:
    """A webhook that stays, with another key or more types, gets what it had not taken."""
    push_sink.reply = Reply(status=503)
    events = scene.open(webhook(push_sink))
    events.tell(notice(1))
    await push_sink.wait(1)
    push_sink.key = b"another key than before"
    await events.replace([webhook(push_sink), webhook(second_sink)])
    push_sink.reply = Reply()
    pushes = await push_sink.wait(len(push_sink.pushes) + 1)
    assert pushes[-1].signature_error == ""
    events.tell(notice(2))
    await second_sink.wait(1)
    assert numbers(second_sink) == ["2"]


async def test_a_reload_reads_no_file_beside_calls(
    scene: Scene, push_sink: PushSink, second_sink: PushSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's certificates take tens of milliseconds: a thread of its own reads them."""
    events = scene.open(webhook(push_sink))
    loop, readers = threading.get_ident(), set[int]()
    real = ssl.create_default_context

    def noted(*given: Any, **more: Any) -> ssl.SSLContext:
        readers.add(threading.get_ident())
        return real(*given, **more)

    monkeypatch.setattr(ssl, "create_default_context", noted)
    await events.replace([webhook(push_sink), webhook(second_sink)])
    assert readers
    assert loop not in readers


async def test_a_webhook_that_goes_is_told_no_more(
    scene: Scene, push_sink: PushSink, second_sink: PushSink
) -> None:
    """Events of after the reload go to those that are left."""
    events = scene.open(webhook(push_sink), webhook(second_sink))
    await events.replace([webhook(second_sink)])
    events.tell(notice(1))
    await second_sink.wait(1)
    assert push_sink.pushes == []
    assert not events.has(webhook(push_sink).key)


@pytest.mark.parametrize("limit", [3])
async def test_a_receiver_that_is_long_away_costs_the_oldest(
    scene: Scene, push_sink: PushSink, limit: int
) -> None:
    """Its outbox is capped; what was dropped is counted."""
    push_sink.reply = Reply(status=503)
    pace = replace(QUICK, outbox_limit=limit, longest_pause_s=1.0, first_retry_s=1.0)
    events = scene.open(webhook(push_sink), pace=pace)
    events.tell(notice(0))
    await push_sink.wait(1)
    for number in range(1, 6):
        events.tell(notice(number))
    await scene.until(lambda: scene.results().count("dropped") >= 1)
    dropped = sum(
        call.args[2] for call in scene.meters.counted.call_args_list if call.args[1] == "dropped"
    )
    assert dropped == 3
    push_sink.reply = Reply()
    await scene.until(lambda: scene.results().count("delivered") == limit)
    assert numbers(push_sink)[-limit:] == ["3", "4", "5"]
