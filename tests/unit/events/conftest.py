"""Events on the wire: the real delivery, a receiver's double, a store in memory."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from push_proxy.core.ids import AccountKey, DeviceId, TenantId
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.errors import StoreUnavailable
from push_proxy.events.hub import Events
from push_proxy.events.pace import Pace
from push_proxy.events.webhook import Webhook
from push_proxy.runtime.clock import SystemClock
from push_proxy.store.memory import MemoryStore
from tests.lab.process import poll_until
from tests.lab.push_sink import PushSink

ACME = TenantId("acme")
QUICK = Pace(
    request_s=5.0, first_retry_s=0.1, longest_retry_s=0.4, longest_pause_s=0.2, poll_s=0.1,
    store_pause_s=0.05,
)  # fmt: skip


class FickleStore(MemoryStore):
    """Can be away for all that concerns events."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.away = False

    async def put_events(self, *args: Any, **more: Any) -> int:
        self._check()
        return await super().put_events(*args, **more)

    async def claim_events(self, *args: Any, **more: Any) -> Any:
        self._check()
        return await super().claim_events(*args, **more)

    async def remove_event(self, *args: Any, **more: Any) -> None:
        self._check()
        await super().remove_event(*args, **more)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("no answer")


class Scene:
    """One store, and as many services on it as a test wants."""

    def __init__(self) -> None:
        self.store = FickleStore()
        self.meters = Mock()
        self.running: list[Events] = []

    def open(self, *webhooks: Webhook, pace: Pace = QUICK) -> Events:
        """A service starts."""
        events = Events(
            webhooks, store=self.store, clock=SystemClock(), meters=self.meters, pace=pace
        )
        events.start()
        self.running.append(events)
        return events

    async def letters(self) -> list[tuple[str, str, int]]:
        """Event id, last error and attempts of each dead letter, newest first."""
        page = await self.store.dead_letters(ACME, limit=99, cursor=None)
        return [(one.event.id, one.event.last_error, one.event.attempts) for one in page.letters]

    async def died(self, count: int = 1, *, within_s: float = 5.0) -> list[tuple[str, str, int]]:
        """The dead letters as soon as there are so many."""
        await self.until(lambda: self.results().count("dead") >= count, within_s=within_s)
        return await self.letters()

    def results(self) -> list[str]:
        """What was counted."""
        return [call.args[1] for call in self.meters.counted.call_args_list]

    async def until(self, condition: Callable[[], bool], *, within_s: float = 5.0) -> None:
        assert await poll_until(condition, within_s=within_s), self.results()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    for events in made.running:
        await events.aclose()


@pytest.fixture
async def second_sink() -> AsyncIterator[PushSink]:
    async with PushSink() as sink:
        yield sink


def webhook(sink: PushSink, **changes: Any) -> Webhook:
    base = Webhook(url=sink.url, hmac_key=sink.key, allow_private=True)
    return replace(base, **changes)


def notice(number: int = 1, account: str = "acme/101", **changes: Any) -> Notice:
    base = Notice(
        type=NoticeType.CALL_MISSED,
        at=SystemClock().now(),
        account=AccountKey(account),
        device=DeviceId("phone"),
        data={"number": str(number)},
    )
    return replace(base, **changes)


def numbers(sink: PushSink) -> list[str]:
    """Of the notices that arrived, in their order."""
    return [push.payload["number"] for push in sink.pushes]
