"""Each row of both verdict tables to its end: given that answer, this metric, this token in the
store, these events, and this many requests on the wire; then what the next push does.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.core.ids import AccountId, Instant, TenantId
from push_proxy.core.model import Account, Device, TokenState
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.core.payload import Push
from push_proxy.observability.metrics import Metrics
from push_proxy.ports import PushProvider, TokenFate
from push_proxy.providers.registry import Providers
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.pusher import Pusher
from push_proxy.runtime.tokens import Tokens
from push_proxy.store.memory import MemoryStore
from tests.doubles.apns import ApnsDouble, error
from tests.doubles.fcm import FcmDouble

from . import apns_bench, fcm_pushes, test_apns_table, test_fcm_verdicts

STATES = {
    TokenFate.KEEP: TokenState.GOOD,
    TokenFate.WRONG_APP: TokenState.WRONG_APP,
    TokenFate.DEAD: TokenState.DEAD,
}


@dataclass(slots=True)
class Service:
    """What stands between a wake and a provider."""

    directory: Directory
    store: MemoryStore
    metrics: Metrics
    pusher: Pusher
    notices: list[Notice] = field(default_factory=list)

    def tell(self, notice: Notice) -> None:
        """From the tokens."""
        self.notices.append(notice)

    async def stored(self, device: Device) -> Device:
        """As the store has it once all is written."""
        await self.directory.aclose()
        found = await self.store.get_device(device.account, device.device)
        assert found is not None
        return found

    def count(self, name: str, **labels: str) -> float:
        """A sample of the metrics."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def a_service(provider: PushProvider, device: Device) -> AsyncIterator[Service]:
    clock = SystemClock()
    store, metrics = MemoryStore(clock), Metrics()
    directory = Directory(store, clock)
    service = Service(directory, store, metrics, pusher=None)  # type: ignore[arg-type]
    tokens = Tokens(directory=directory, clock=clock, metrics=metrics, notices=service)
    tokens.start()
    service.pusher = Pusher(
        providers=Providers([provider]), clock=clock, metrics=metrics, learn=tokens.learn
    )
    account = Account(
        tenant=TenantId("acme"), account=AccountId("alice"), aor="sip:alice@pbx.example.com"
    )
    await directory.put_account(account)
    await directory.put_device(device)
    yield service
    await directory.aclose()


async def ends(
    service: Service, push: Push, outcome: PushOutcome, token: TokenFate, requests: int
) -> None:
    """Send it, and look at all that it has led to."""
    device = push.device
    result = await service.pusher.send(push)
    assert result.attempts == requests
    labels = {"provider": device.provider, "type": "call", "result": outcome.value}
    assert service.count("push_proxy_pushes_total", **labels) == 1
    known = service.directory.device(device.account, device.device)
    assert known is not None
    state = known.token_fault.state if known.token_fault else TokenState.GOOD
    assert state is STATES[token]
    assert await service.stored(device) == known
    dropped = service.count(
        "push_proxy_tokens_dropped_total", provider=device.provider, reason=result.reason
    )
    told = [notice.type for notice in service.notices]
    if token is TokenFate.DEAD:
        assert (known.token, dropped, told) == ("", 1, [NoticeType.TOKEN_INVALID])
        assert not service.pusher.serves(known), "it is never pushed to again"
    else:
        assert (known.token, dropped, told) == (device.token, 0, [])


@pytest.mark.parametrize(("reason", "row"), test_apns_table.TABLE.items())
async def test_apns(apns: ApnsDouble, reason: str, row: test_apns_table.Row) -> None:
    """APNs (platform rules B1)."""
    phone = apns.device()
    apns.always = error(reason)
    device = apns_bench.device(phone.token, environment="production")
    device = replace(device, token_at=time.time() - 60)
    async with (
        apns_bench.provider(apns_bench.section(apns)) as provider,
        a_service(provider, device) as service,
    ):
        push = apns_bench.push(device, PushType.CALL)
        await ends(service, push, row.outcome, row.token, row.requests)
    assert len(apns.requests) == row.requests


@pytest.mark.parametrize("row", test_fcm_verdicts.ROWS.values(), ids=test_fcm_verdicts.ROWS.keys())
async def test_fcm(fcm: FcmDouble, row: test_fcm_verdicts.Row) -> None:
    """FCM (platform rules B2)."""
    phone = fcm.device()
    fcm.always = row.play
    silent = row.reason == "timeout"
    provider = fcm_pushes.a_provider(fcm, request_s=0.5 if silent else 3.0)
    try:
        push = fcm_pushes.a_push(phone, left_s=4.0)
        push = replace(push, device=replace(push.device, token_at=Instant(time.time() - 60)))
        async with a_service(provider, push.device) as service:
            await ends(service, push, row.outcome, row.token, row.requests)
    finally:
        await provider.aclose()
    assert len([request for request in fcm.requests if not request.validate_only]) == row.requests
