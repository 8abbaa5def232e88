"""The verdict table of APNs on the wire: given that answer, what becomes of push, token and app."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome as O
from push_proxy.ports import AppState as S
from push_proxy.ports import TokenFate as F
from tests.doubles.apns import (
    STATUS,
    ApnsDouble,
    Play,
    empty,
    error,
    reset,
    silence,
    split,
    unavailable_and_away,
)

from .apns_bench import device, faultless, ids, provider, push, section, warm


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What every answer of this kind leads to."""

    outcome: O
    requests: int = 1
    token: F = F.KEEP
    state: S = S.OK


OURS = Row(outcome=O.MISCONFIGURED, state=S.UNKNOWN)
REFUSED = Row(outcome=O.MISCONFIGURED, state=S.BLOCKED)
AGAIN = Row(outcome=O.UNAVAILABLE, requests=2, state=S.UNKNOWN)
DEAD = Row(outcome=O.REJECTED, token=F.DEAD)

TABLE = {
    "BadDeviceToken": DEAD,
    "Unregistered": DEAD,
    "ExpiredToken": DEAD,
    "DeviceTokenNotForTopic": Row(outcome=O.REJECTED, token=F.WRONG_APP),
    "MissingTopic": REFUSED,
    "BadTopic": REFUSED,
    "TopicDisallowed": REFUSED,
    "BadCollapseId": OURS,
    "BadExpirationDate": OURS,
    "BadMessageId": OURS,
    "BadPriority": OURS,
    "InvalidPushType": OURS,
    "DuplicateHeaders": OURS,
    "PayloadEmpty": OURS,
    "MissingDeviceToken": OURS,
    "BadPath": OURS,
    "MethodNotAllowed": OURS,
    "PayloadTooLarge": Row(outcome=O.MISCONFIGURED, requests=2, state=S.UNKNOWN),
    "IdleTimeout": AGAIN,
    # The provider token is minutes old: a new one may not be made yet.
    "ExpiredProviderToken": REFUSED,
    "InvalidProviderToken": REFUSED,
    "MissingProviderToken": REFUSED,
    "UnrelatedKeyIdInToken": REFUSED,
    "BadEnvironmentKeyIdInToken": REFUSED,
    "BadCertificate": REFUSED,
    "BadCertificateEnvironment": REFUSED,
    "Forbidden": REFUSED,
    "TooManyRequests": AGAIN,
    "TooManyProviderTokenUpdates": AGAIN,
    "InternalServerError": AGAIN,
    "ServiceUnavailable": AGAIN,
    "Shutdown": AGAIN,
}


def test_the_table_is_complete() -> None:
    """Every documented reason has a row."""
    assert TABLE.keys() == STATUS.keys()


@pytest.mark.parametrize("how", ["whole", "split"])
@pytest.mark.parametrize(("reason", "row"), TABLE.items())
async def test_row(apns: ApnsDouble, reason: str, row: Row, how: str) -> None:
    """Given this answer, however it is cut: this outcome, token, app state, count of requests."""
    phone = apns.device()
    apns.always = error(reason) if how == "whole" else split(reason)
    async with provider(section(apns)) as one:
        said = push(device(phone.token, environment="production"))
        result = await one.send(said)
        [health] = one.health()
    assert (result.outcome, result.reason, result.token) == (row.outcome, reason, row.token)
    assert len(apns.requests) == result.attempts == row.requests
    assert set(ids(apns.requests)) == {said.id}, "sent again, it is the same push"
    assert health.state is row.state
    assert result.provider_id == ""
    assert result.environment is None
    faultless(apns)


async def test_accepted(apns: ApnsDouble) -> None:
    """200: accepted, in one request; the app works; the id can be given to Apple's support."""
    phone = apns.device()
    async with provider(section(apns)) as one:
        said = push(device(phone.token))
        result = await one.send(said)
        [health] = one.health()
    assert (result.outcome, result.attempts, result.token) == (O.ACCEPTED, 1, F.KEEP)
    assert result.provider_id == said.id == phone.received[0].apns_id
    assert health.state is S.OK
    assert result.environment is None
    faultless(apns)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 413, 429, 500, 503])
async def test_empty_body(apns: ApnsDouble, status: int) -> None:
    """An error without a body is judged by its status, at once."""
    phone = apns.device()
    apns.always = empty(status)
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token, environment="production")))
    assert result.reason == f"http_{status}"
    assert result.outcome is not O.ACCEPTED
    faultless(apns)


async def test_dead_since_the_timestamp(apns: ApnsDouble) -> None:
    """The 410's timestamp comes with the verdict: a token registered after it is another one."""
    phone = apns.device()
    apns.unregister(phone.token, ago_s=120)
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token)))
    assert (result.token, result.reason) == (F.DEAD, "Unregistered")
    assert result.dead_since == pytest.approx(time.time() - 120, abs=5)


@pytest.mark.parametrize(
    "play",
    [error("InternalServerError"), error("ServiceUnavailable"), error("Shutdown"), empty(503),
     reset(), silence(), Play(drop=True, delivers=False), unavailable_and_away(),
     error("TooManyProviderTokenUpdates"), error("IdleTimeout")],
)  # fmt: skip
async def test_second_request_goes_elsewhere(apns: ApnsDouble, play: Play) -> None:
    """Where another try may help it is made at once, on another connection, with the same id."""
    phone = apns.device()
    async with provider(section(apns), request_s=0.4) as one:
        await warm(one)
        apns.next(play)
        said = push(device(phone.token))
        result = await one.send(said)
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 2)
    first, second = apns.requests
    assert first.connection != second.connection
    assert first.apns_id == second.apns_id == said.id
    assert len(phone.received) == 1
    faultless(apns)


async def test_too_many_requests_waits_a_second(apns: ApnsDouble) -> None:
    """A phone that had too many pushes gets one more after a second, if the call still waits."""
    phone = apns.device()
    apns.next(error("TooManyRequests"), Play(), error("TooManyRequests"))
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token)))
        assert (result.outcome, result.attempts) == (O.ACCEPTED, 2)
        first, second = apns.requests
        assert second.arrived_s - first.arrived_s >= 1
        short = await one.send(push(device(phone.token), life_s=0.8))
    assert (short.outcome, short.attempts) == (O.UNAVAILABLE, 1)


async def test_too_large_is_sent_slim(apns: ApnsDouble) -> None:
    """What a server finds too large is sent once more without all that can be left out."""
    phone = apns.device()
    apns.next(error("PayloadTooLarge"))
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token)))
    assert (result.outcome, result.attempts) == (O.ACCEPTED, 2)
    assert phone.received[0].payload["caller_name"] == ""
    assert len(apns.requests[1].body) < len(apns.requests[0].body)


@pytest.mark.parametrize(("home", "other"), [("production", "sandbox"), ("sandbox", "production")])
async def test_wrong_environment(apns: ApnsDouble, home: str, other: str) -> None:
    """A token of the other environment is tried there once, and the answer says where it lives."""
    phone = apns.device(environment=other)
    async with provider(section(apns, environment=home)) as one:
        said = push(device(phone.token))
        result = await one.send(said)
        assert (result.outcome, result.environment, result.attempts) == (O.ACCEPTED, other, 2)
        assert [each.environment for each in apns.requests] == [home, other]
        assert len(phone.received) == 1
        known = await one.send(push(device(phone.token, environment=other)))
    assert (known.outcome, known.attempts, known.environment) == (O.ACCEPTED, 1, None)
    assert len(apns.tokens_seen) == 1, "one provider token for both"
    faultless(apns)


async def test_bad_in_both_environments(apns: ApnsDouble) -> None:
    """Only a token that neither environment knows is dead."""
    apns.app()
    async with provider(section(apns)) as one:
        result = await one.send(push(device("ab" * 32)))
    assert (result.outcome, result.token, result.attempts) == (O.REJECTED, F.DEAD, 2)
    assert result.environment is None


async def test_unknown_environment_and_no_answer(apns: ApnsDouble) -> None:
    """A token is not called dead when the other environment could not be asked."""
    phone = apns.device(environment="sandbox")
    async with provider(section(apns), request_s=0.3) as one:
        apns.next(error("InternalServerError"))
        result = await one.send(push(device(phone.token)))
        assert (result.outcome, result.reason, result.token) == (
            O.REJECTED,
            "BadDeviceToken",
            F.KEEP,
        )
        await apns.sandbox.listen("refusing")
        result = await one.send(push(device(phone.token)))
    assert (result.outcome, result.token) == (O.UNAVAILABLE, F.KEEP)


async def test_gone_in_the_other_environment(apns: ApnsDouble) -> None:
    """A token that is gone where it was at home is dead, with its timestamp."""
    phone = apns.device(environment="sandbox")
    apns.unregister(phone.token)
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token)))
    assert (result.reason, result.token, result.environment) == ("Unregistered", F.DEAD, "sandbox")
    assert result.dead_since is not None


async def test_key_for_one_environment(apns: ApnsDouble) -> None:
    """A key that is not let into the other environment blocks nobody at home."""
    key = apns.key("PRODONLY01", environments=("production",))
    lost, phone = apns.device(environment="sandbox"), apns.device()
    entry = section(apns, key_id=key.key_id, key_file=key.file)
    async with provider(entry) as one:
        result = await one.send(push(device(lost.token)))
        assert (result.outcome, result.reason) == (O.REJECTED, "BadDeviceToken")
        assert result.token is F.WRONG_APP
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED


async def test_one_server_for_both(apns: ApnsDouble) -> None:
    """Where one server stands for both environments there is no other to try."""
    apns.app()
    async with provider(section(apns, sandbox_base_url=None)) as one:
        result = await one.send(push(device("ab" * 32)))
    assert (result.token, result.attempts) == (F.DEAD, 1)


async def test_blocked_app_leaves_others_alone(apns: ApnsDouble) -> None:
    """An app that is refused sends nothing for a while; another app of the same key goes on."""
    good, bad = apns.device(), apns.device("com.example.other")
    apns.always_for(bad.token, error("TopicDisallowed"))
    apps = section(apns), section(apns, app_id="com.example.other")
    async with provider(*apps) as one:
        results = [
            await one.send(push(device(bad.token, app_id="com.example.other"))) for _ in range(5)
        ]
        fine = await one.send(push(device(good.token)))
        states = {health.app_id: health.state for health in one.health()}
    assert [each.attempts for each in results] == [1, 0, 0, 0, 0]
    assert {each.reason for each in results} == {"TopicDisallowed"}
    assert fine.outcome is O.ACCEPTED
    assert states == {"com.example.phone": S.OK, "com.example.other": S.BLOCKED}


@pytest.mark.parametrize("kind", [kind for kind in PushType if kind is not PushType.CALL])
async def test_alerts_never_block_calls(apns: ApnsDouble, kind: PushType) -> None:
    """A certificate for VoIP alone takes no alerts: that must not stop the app's calls."""
    phone, alert = apns.device(), apns.device(kind="alert")
    apns.always_for(alert.token, error("TopicDisallowed"))
    to = device(phone.token, alert_token=alert.token)
    async with provider(section(apns)) as one:
        assert (await one.send(push(to, kind))).outcome is O.MISCONFIGURED
        assert (await one.send(push(to))).outcome is O.ACCEPTED


@pytest.mark.parametrize("kind", [kind for kind in PushType if kind is not PushType.CALL])
async def test_all_but_calls_go_to_the_alert_token(apns: ApnsDouble, kind: PushType) -> None:
    """Never as VoIP push; the phone gets it; its end is the alert token's alone."""
    phone, alert = apns.device(), apns.device(kind="alert")
    to = device(phone.token, alert_token=alert.token)
    async with provider(section(apns)) as one:
        result = await one.send(push(to, kind))
        assert result.outcome is O.ACCEPTED
        [got] = alert.received
        assert got.push_type in {"alert", "background"}
        assert got.payload["type"] == kind
        assert phone.received == []
        apns.unregister(alert.token)
        dead = await one.send(push(to, kind))
    assert (dead.token, dead.of_alert_token) == (F.DEAD, True)
    faultless(apns)


async def test_no_alert_token(apns: ApnsDouble) -> None:
    """Without an alert token nothing is sent but calls."""
    phone = apns.device()
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token), PushType.CANCEL))
    assert (result.outcome, result.reason, result.attempts) == (O.SKIPPED, "no_alert_token", 0)
    assert apns.requests == []


@pytest.mark.parametrize("token", ["", "xyz", "ab/../cd", "ab\r\napns-topic: x", "ä" * 64])
async def test_what_is_no_token(apns: ApnsDouble, token: str) -> None:
    """What cannot be a device token never reaches the wire."""
    apns.app()
    async with provider(section(apns)) as one:
        result = await one.send(push(device(token)))
    assert (result.outcome, result.attempts, result.token) == (O.REJECTED, 0, F.DEAD)
    assert apns.requests == []


async def test_unknown_app(apns: ApnsDouble) -> None:
    """An app that is not configured is the configuration's fault."""
    async with provider(section(apns)) as one:
        result = await one.send(push(device("ab" * 32, app_id="com.example.unknown")))
    assert (result.outcome, result.reason) == (O.MISCONFIGURED, "unknown_app")


async def test_expired_push_is_not_sent(apns: ApnsDouble) -> None:
    """After a push's end nothing leaves."""
    phone = apns.device()
    async with provider(section(apns)) as one:
        result = await one.send(push(device(phone.token), life_s=-1))
    assert (result.outcome, result.attempts) == (O.UNAVAILABLE, 0)
    assert apns.requests == []
