"""Ten thousand stored calls, straight into a service's store, and what they look like."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Sequence

from push_proxy.core.ids import AccountId, CallId, DeviceId, Instant, TenantId, account_key
from push_proxy.core.model import (
    CallRecord,
    CallState,
    Direction,
    Fault,
    Outcome,
    TimelineEntry,
    Verdict,
)
from push_proxy.demo.service import TENANT
from push_proxy.runtime.clock import SystemClock
from push_proxy.store.redis import RedisStore
from push_proxy.store.secrets import load_key_ring
from tests.lab.service import LabService

CALLS = 10_000
ACCOUNTS = 20
"""Of one account no more than a thousand calls are kept."""
EVERY_S = 30.0
_AT_ONCE = 40
_ENDINGS = [
    *[(Verdict.ANSWERED, Fault.NOBODY)] * 6,
    (Verdict.CALLER_CANCELLED, Fault.NOBODY),
    (Verdict.NO_ANSWER, Fault.NOBODY),
    (Verdict.NOT_WOKEN, Fault.PHONE_OR_NETWORK),
]
RARE = 7_654
"""The number of the one call that nobody answered for a rare reason."""


def records(count: int = CALLS, *, now: float) -> list[CallRecord]:
    """Calls of the past, the newest first; every one has its own number and Call-ID."""
    endings = itertools.cycle(_ENDINGS)
    return [_record(number, next(endings), now=now) for number in range(count)]


def _record(number: int, ending: tuple[Verdict, Fault], *, now: float) -> CallRecord:
    began = now - 3600 - number * EVERY_S
    verdict, fault = (Verdict.PUSH_REJECTED, Fault.APP_CONFIGURATION) if number == RARE else ending
    answered = verdict is Verdict.ANSWERED
    device = DeviceId("handset")
    steps = ["invite_received", "push_sent", "push_accepted"]
    steps += ["registered", "invite_sent", "device_ringing", "answered"] if answered else []
    timeline = [
        TimelineEntry(Instant(began + place * 0.4), step, device if place else None)
        for place, step in enumerate(steps)
    ]
    return CallRecord(
        id=CallId(str(uuid.UUID(int=number + 1))),
        account=account_key(TenantId(TENANT), AccountId(f"old-{number % ACCOUNTS}")),
        direction=Direction.INCOMING,
        sip_call_id=f"{number:06d}-history@pbx.test",
        caller=f"+4144{number:07d}",
        callee=f"5{number % ACCOUNTS:03d}",
        started_at=Instant(began),
        answered_at=Instant(began + 3.0) if answered else None,
        ended_at=Instant(began + 60.0),
        state=CallState.ENDED,
        outcome=Outcome(
            verdict=verdict,
            fault=fault,
            phase=CallState.ANSWERED if answered else CallState.WAKING,
            ended_by="caller",
            status=200 if answered else 480,
        ),
        timeline=tuple(timeline),
    )


async def remember(service: LabService, calls: Sequence[CallRecord]) -> None:
    """Put calls into the service's store, as if they had been made; and their accounts."""
    for number in range(ACCOUNTS):
        await service.put_account(
            f"old-{number}", f"sip:5{number:03d}@pbx.test", registrar="sip:127.0.0.1", enabled=False
        )
    data_dir = service.directory / "data"
    clock = SystemClock()
    ring = load_key_ring(keys=(), key_file=None, data_dir=data_dir)
    (socket,) = data_dir.glob("**/*.sock")
    store = RedisStore(f"unix://{socket}", ring=ring, clock=clock)
    try:
        for first in range(0, len(calls), _AT_ONCE):
            await asyncio.gather(*map(store.put_call, calls[first : first + _AT_ONCE]))
    finally:
        await store.aclose()


async def ten_thousand(service: LabService) -> list[CallRecord]:
    """Made and put; the newest first."""
    calls = records(now=time.time())
    await remember(service, calls)
    return calls
