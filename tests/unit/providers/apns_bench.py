"""What tests of the APNs adapter share: a provider against the double, and pushes."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import AnyHttpUrl

from push_proxy.core.actions import PushType
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, PushId
from push_proxy.core.model import Device
from push_proxy.core.payload import Push
from push_proxy.ports import PushResult, SharedValues
from push_proxy.providers.apns import ApnsProvider
from push_proxy.providers.apns_app import apns_apps
from push_proxy.providers.apns_connection import ApnsConnection
from push_proxy.providers.apns_request import ApnsTimes
from push_proxy.runtime.clock import SystemClock
from push_proxy.settings_providers import ApnsSection
from push_proxy.store.memory import MemoryStore
from push_proxy.tasks import spawn
from tests.doubles.apns import BUNDLE, ApnsDouble
from tests.lab.process import poll_until

CLOCK = SystemClock()
TIMES = ApnsTimes(backoff_s=0.1, demand_s=0.2, stagger_s=0.02, tick_s=0.02)


def section(apns: ApnsDouble, *, app_id: str = BUNDLE, **changed: Any) -> ApnsSection:
    """An app with the double's first key, both environments at the double."""
    said: dict[str, Any] = {
        "app_id": app_id,
        "team_id": apns.team_id,
        "key_id": apns.key_id,
        "key_file": apns.key_file,
        "base_url": AnyHttpUrl(apns.base_url),
        "sandbox_base_url": AnyHttpUrl(apns.sandbox.base_url),
        "ca_file": apns.ca_file,
    }
    return ApnsSection(**{**said, **changed})


def with_certificate(apns: ApnsDouble, file: Path, **changed: Any) -> ApnsSection:
    """The same with a certificate."""
    none = {"team_id": None, "key_id": None, "key_file": None}
    return section(apns, **none, certificate_file=file, **changed)


@asynccontextmanager
async def provider(
    *sections: ApnsSection,
    shared: SharedValues | None = None,
    times: ApnsTimes = TIMES,
    request_s: float = 1.0,
    started: bool = True,
) -> AsyncIterator[ApnsProvider]:
    """Configured as the service would."""
    made = ApnsProvider(tuple(apns_apps(sections)), CLOCK, times=times, request_s=request_s)
    if started:
        made.start(shared or MemoryStore(CLOCK))
    try:
        yield made
    finally:
        await made.aclose()


def device(token: str, *, alert_token: str | None = None, **changed: Any) -> Device:
    """A phone of the double's first app."""
    said: dict[str, Any] = {
        "account": AccountKey("acme/alice"),
        "device": DeviceId("phone"),
        "provider": "apns",
        "app_id": BUNDLE,
        "token": token,
        "alert_token": alert_token,
        "token_at": time.time(),
    }
    return Device(**{**said, **changed})


def push(to: Device, kind: PushType = PushType.CALL, *, life_s: float = 10.0, **said: Any) -> Push:
    """A push that is worth something for `life_s`."""
    now = CLOCK.now()
    call: dict[str, Any] = {"call": CallId(str(uuid.uuid4())), "sip_call_id": "a84b4c76e66710"}
    if kind in {PushType.REFRESH, PushType.VOICEMAIL, PushType.MESSAGE}:
        call = {}
    made = Push(
        id=PushId(str(uuid.uuid4())),
        type=kind,
        device=to,
        caller_number="+4930123456",
        caller_name="Erika Mustermann",
        sent_at=now,
        expires_at=Instant(now + life_s),
        **call,
    )
    return replace(made, **said)


def begin(sending: Coroutine[Any, Any, PushResult]) -> asyncio.Task[PushResult]:
    """Send beside everything else."""
    return spawn(sending, name="push of a test")


def connections(of: ApnsProvider) -> list[ApnsConnection]:
    """All that the adapter has now."""
    return [each for pool in of._pools.values() for each in pool.connections]


async def warm(of: ApnsProvider, count: int = 2) -> None:
    """Until so many connections are there."""
    assert await poll_until(lambda: len(connections(of)) >= count, within_s=5)


def faultless(apns: ApnsDouble) -> None:
    """Nothing that HTTP/2 or APNs forbids was done on any connection."""
    assert apns.faults == []


def ids(found: Iterable[Any]) -> list[str]:
    """apns-ids in order."""
    return [each.apns_id for each in found]
