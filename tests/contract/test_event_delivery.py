"""Two nodes at one Redis: each event is delivered once, also when a node or the server ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from unittest.mock import Mock

import pytest

from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.events.hub import Events
from push_proxy.events.pace import Pace
from push_proxy.events.webhook import Webhook
from push_proxy.runtime.clock import SystemClock
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from tests.lab.process import poll_until
from tests.lab.push_sink import PushSink, Reply

from .conftest import RING

PACE = Pace(request_s=5, first_retry_s=0.1, longest_pause_s=0.2, poll_s=0.1, store_pause_s=0.05)


class Nodes:
    """Services on one server."""

    def __init__(self, server: EmbeddedValkey, sink: PushSink, stack: AsyncExitStack) -> None:
        self.server = server
        self.webhook = Webhook(url=sink.url, hmac_key=sink.key, allow_private=True)
        self.meters = Mock()
        self._stack = stack

    async def start(self) -> Events:
        store = RedisStore(self.server.url, ring=RING, clock=SystemClock(), timeout_s=3)
        await store.open()
        self._stack.push_async_callback(store.aclose)
        node = Events(
            [self.webhook], store=store, clock=SystemClock(), meters=self.meters, pace=PACE
        )
        node.start()
        self._stack.push_async_callback(node.aclose)
        return node

    async def delivered(self, count: int) -> None:
        def results() -> list[str]:
            return [call.args[1] for call in self.meters.counted.call_args_list]

        assert await poll_until(lambda: results().count("delivered") >= count, within_s=10)


@pytest.fixture
async def nodes(valkey: EmbeddedValkey, push_sink: PushSink) -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(valkey, push_sink, stack)


def notice(number: int) -> Notice:
    return Notice(
        type=NoticeType.TOKEN_INVALID,
        at=Instant(1.0 * number),
        account=AccountKey(f"acme/{number % 7}"),
        data={"number": str(number)},
    )


def numbers(sink: PushSink) -> list[int]:
    return sorted(int(push.payload["number"]) for push in sink.pushes)


async def test_two_nodes_deliver_each_event_once(nodes: Nodes, push_sink: PushSink) -> None:
    """A hundred told to both; the receiver takes its time."""
    push_sink.reply = Reply(after_s=0.05)
    one, two = await nodes.start(), await nodes.start()
    for number in range(100):
        (one, two)[number % 2].tell(notice(number))
    await nodes.delivered(100)
    await asyncio.sleep(3 * PACE.poll_s)
    assert numbers(push_sink) == list(range(100))


async def test_the_other_node_goes_on_where_one_stopped(nodes: Nodes, push_sink: PushSink) -> None:
    """What one has told and not delivered is delivered by the other."""
    push_sink.reply = Reply(status=503)
    one = await nodes.start()
    for number in range(20):
        one.tell(notice(number))
    await push_sink.wait(3)
    await one.aclose()
    push_sink.reply = Reply()
    push_sink.pushes.clear()
    await nodes.start()
    await nodes.delivered(20)
    assert numbers(push_sink) == list(range(20))


async def test_a_restarted_server_has_kept_them(nodes: Nodes, push_sink: PushSink) -> None:
    """Told while it was away or before: delivered when it is back."""
    push_sink.reply = Reply(status=503)
    node = await nodes.start()
    for number in range(5):
        node.tell(notice(number))
    await push_sink.wait(3)
    await nodes.server.stop()
    for number in range(5, 10):
        node.tell(notice(number))
    push_sink.reply = Reply()
    await nodes.server.start()
    await nodes.delivered(10)
    assert set(numbers(push_sink)) == set(range(10))
