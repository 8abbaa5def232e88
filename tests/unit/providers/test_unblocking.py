"""An app that is blocked comes back by itself when its provider takes it again."""

from __future__ import annotations

import time
from dataclasses import replace

from push_proxy.core.ids import Instant
from push_proxy.core.payload import Push
from push_proxy.observability.metrics import Metrics
from push_proxy.ports import AppState, PushProvider
from push_proxy.providers.apns import ApnsProvider
from push_proxy.providers.apns_app import apns_apps
from push_proxy.providers.fcm import FcmProvider
from push_proxy.providers.registry import Providers
from push_proxy.store.memory import MemoryStore
from tests.doubles.apns import ApnsDouble
from tests.doubles.fcm import FcmDouble

from . import apns_bench, fcm_pushes


class Ahead:
    """A clock that the test can put forward."""

    by_s = 0.0

    def now(self) -> Instant:
        return Instant(time.time() + self.by_s)


def timed(push: Push, clock: Ahead) -> Push:
    now = clock.now()
    return replace(push, sent_at=now, expires_at=Instant(now + 12.0))


def state(provider: PushProvider) -> AppState:
    """As Prometheus sees it."""
    metrics = Metrics()
    metrics.watch_providers(Providers([provider]).health)
    lines = metrics.render().decode().splitlines()
    (line,) = [each for each in lines if "provider_state{" in each and each.endswith(" 1.0")]
    return AppState(line.partition('state="')[2].partition('"')[0])


async def test_a_key_that_is_allowed_again(apns: ApnsDouble) -> None:
    """Refused once, then asked at most once a minute; the first push that is taken ends it."""
    clock = Ahead()
    phone = apns.device()
    provider = ApnsProvider(tuple(apns_apps([apns_bench.section(apns)])), clock)
    provider.start(MemoryStore(clock))
    try:
        push = apns_bench.push(apns_bench.device(phone.token))
        assert state(provider) is AppState.UNKNOWN
        apns.keys[apns.key_id].revoked = True
        for seconds, requests in ((0.0, 1), (30.0, 1), (61.0, 2)):
            clock.by_s = seconds
            result = await provider.send(timed(push, clock))
            assert result.reason == "InvalidProviderToken"
            assert len(apns.requests) == requests
            assert state(provider) is AppState.BLOCKED
        apns.keys[apns.key_id].revoked = False
        clock.by_s = 122.0
        assert (await provider.send(timed(push, clock))).reason == "http_200"
        assert state(provider) is AppState.OK
    finally:
        await provider.aclose()


async def test_a_service_account_that_is_enabled_again(fcm: FcmDouble) -> None:
    """As with Apple's keys, at the token endpoint."""
    clock = Ahead()
    fcm.first_account.disabled = True
    provider = FcmProvider([fcm_pushes.an_app(fcm)], clock)
    provider.start(MemoryStore(clock))
    try:
        push = fcm_pushes.a_push(fcm.device())
        for seconds in (0.0, 30.0):
            clock.by_s = seconds
            result = await provider.send(timed(push, clock))
            assert result.reason == "oauth_account_disabled"
            assert state(provider) is AppState.BLOCKED
            assert len(fcm.oauth_requests) == 1
        fcm.first_account.disabled = False
        clock.by_s = 61.0
        assert (await provider.send(timed(push, clock))).reason == "http_200"
        assert state(provider) is AppState.OK
    finally:
        await provider.aclose()
