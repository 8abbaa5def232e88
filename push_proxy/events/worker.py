"""Delivers what waits for one webhook, round by round, beside all others."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import structlog

from ..core.ids import AccountKey, Instant
from ..core.queued_event import DeadLetter, QueuedEvent
from ..errors import StoreUnavailable
from ..event_ports import EventMeters, EventStore
from ..ports import Clock
from ..public_http import PublicHttp, Unanswered
from ..tasks import spawn
from . import message
from .judging import Judgement, judge_silence, judge_status, pause_s, retry_s
from .pace import Pace
from .webhook import Webhook

_log = structlog.get_logger(__name__)
_FINISH_S = 1.0
Bury = Callable[[DeadLetter], Awaitable[None]]


class Worker:
    """One webhook's deliveries. A round claims what is due and ends when all of it is judged."""

    def __init__(
        self,
        webhook: Webhook,
        *,
        store: EventStore,
        clock: Clock,
        pace: Pace,
        meters: EventMeters,
        bury: Bury,
    ) -> None:
        """``bury`` keeps an event that was given up; it may raise `errors.StoreUnavailable`.

        Raises `errors.ConfigurationError` when the webhook's ``ca_file`` cannot be read.
        """
        self.webhook = webhook
        self.waiting = 0
        """Events that it has not taken yet, as far as known."""
        self._store = store
        self._clock = clock
        self._pace = pace
        self._meters = meters
        self._bury = bury
        self._http = PublicHttp(allow_private=webhook.allow_private, ca_file=webhook.ca_file)
        self._more = asyncio.Event()
        self._mine: dict[str, QueuedEvent] = {}
        self._failures = 0
        self._after_s = 0.0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._task = spawn(self._run(), name=f"events for {self.webhook.host}")

    def wake(self, added: int) -> None:
        """So many more are in the outbox."""
        self.waiting += added
        self._more.set()

    async def aclose(self) -> None:
        """Finish what is under way, if that is soon; what was not judged is anybody's again."""
        self._stopping = True
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=_FINISH_S if self._mine else 0)
            self._task.cancel()
            await asyncio.wait((self._task,))
        now = self._clock.now()
        try:
            for event in self._mine.values():
                await self._store.postpone_event(self.webhook.key, event, due=now)
        except StoreUnavailable as error:
            _log.info("claimed events wait for the end of their lease", error=str(error))
        await self._http.aclose()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                idle_s = await self._round()
            except StoreUnavailable:
                # Readiness tells it; what was claimed is anybody's again when its lease is over.
                self._mine = {}
                await asyncio.sleep(self._pace.store_pause_s)
            except Exception:  # noqa: BLE001 - logged
                # One event that cannot be handled must not end all that come after it.
                _log.exception("delivery of events failed", host=self.webhook.host)
                self._mine = {}
                await asyncio.sleep(self._pace.longest_pause_s)
            else:
                if self._failures:
                    idle_s = pause_s(self._pace, failures=self._failures, after_s=self._after_s)
                    await asyncio.sleep(idle_s)
                elif idle_s > 0:
                    await self._idle(idle_s)

    async def _idle(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._more.wait()
        except TimeoutError:
            return

    async def _round(self) -> float:
        """Returns how long nothing is to be done, unless something new comes."""
        now = self._clock.now()
        self._more.clear()
        claimed = await self._store.claim_events(
            self.webhook.key, now=now, lease_s=self._pace.lease_s, limit=self._pace.at_once
        )
        self.waiting = claimed.waiting
        if not claimed.events:
            due_s = self._pace.poll_s if claimed.next_at is None else claimed.next_at - now
            return min(self._pace.poll_s, max(0.05, due_s))
        self._mine = {event.id: event for event in claimed.events}
        self._after_s = 0.0
        results = await asyncio.gather(
            *(self._in_turn(events) for events in _by_account(claimed.events)),
            return_exceptions=True,
        )
        taken: list[bool | None] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            taken += result
        if any(taken):
            self._failures = 0
        elif False in taken:
            self._failures += 1
        return 0.0

    async def _in_turn(self, events: Iterable[QueuedEvent]) -> list[bool | None]:
        """One account's events in their order; for each whether it was taken, None: given up."""
        return [await self._deliver(event) for event in events if not self._stopping]

    async def _deliver(self, event: QueuedEvent) -> bool | None:
        now = self._clock.now()
        if now - event.queued_at > self._pace.give_up_s:
            await self._give_up(replace(event, last_error=event.last_error or "too_late"), now)
            return None
        judged = await self._attempt(event, now)
        now = self._clock.now()
        if judged.taken:
            await self._store.remove_event(self.webhook.key, event.id)
            self._settled(event, "delivered")
            self.waiting = max(0, self.waiting - 1)
            return True
        tried = replace(event, attempts=event.attempts + 1, last_error=judged.error)
        if not judged.again:
            await self._give_up(tried, now)
            return None
        self._after_s = max(self._after_s, judged.after_s or 0.0)
        wait_s = retry_s(
            self._pace, attempts=tried.attempts, after_s=judged.after_s, chance=random.random()
        )
        await self._store.postpone_event(self.webhook.key, tried, due=Instant(now + wait_s))
        self._settled(event, "retried")
        return False

    async def _attempt(self, event: QueuedEvent, now: Instant) -> Judgement:
        content = message.body(event)
        headers = message.headers(event, content, key=self.webhook.hmac_key, unix=int(now))
        try:
            answer = await self._http.post(
                self.webhook.url, content, headers, timeout_s=self._pace.request_s
            )
        except Unanswered as error:
            return judge_silence(error.reason)
        return judge_status(answer.status, answer.headers.get("Retry-After"), now=now)

    async def _give_up(self, event: QueuedEvent, now: Instant) -> None:
        # Buried first: between the two the event is there twice, never not at all.
        webhook = self.webhook
        await self._bury(
            DeadLetter(event=event, webhook=webhook.key, host=webhook.host, died_at=now)
        )
        await self._store.remove_event(webhook.key, event.id)
        self._settled(event, "dead")
        self.waiting = max(0, self.waiting - 1)
        _log.warning(
            "event could not be delivered: it is among the dead letters",
            kind=event.notice.type.value,
            event_id=event.id,
            host=webhook.host,
            attempts=event.attempts,
            error=event.last_error,
        )

    def _settled(self, event: QueuedEvent, result: str) -> None:
        self._mine.pop(event.id, None)
        self._meters.counted(event.notice.type, result)


def _by_account(events: Iterable[QueuedEvent]) -> Iterable[list[QueuedEvent]]:
    groups: dict[AccountKey, list[QueuedEvent]] = {}
    for event in events:
        groups.setdefault(event.notice.account, []).append(event)
    return groups.values()
