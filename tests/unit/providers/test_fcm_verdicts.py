"""Every answer of FCM on the wire: what becomes of the push, the token and the app."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from push_proxy.core.events import PushOutcome
from push_proxy.ports import AppState, TokenFate
from push_proxy.providers.fcm_answer import read
from push_proxy.providers.fcm_verdicts import verdict
from tests.doubles.fcm import (
    FcmDouble,
    Play,
    bad_gateway,
    drop,
    error,
    errors,
    refused,
    reset,
    silence,
)

from .fcm_pushes import APP, a_provider, a_push, an_app

ACCEPTED, REJECTED = PushOutcome.ACCEPTED, PushOutcome.REJECTED
UNAVAILABLE, MISCONFIGURED = PushOutcome.UNAVAILABLE, PushOutcome.MISCONFIGURED
KEEP, DEAD, WRONG_APP = TokenFate.KEEP, TokenFate.DEAD, TokenFate.WRONG_APP
OK, UNKNOWN = AppState.OK, AppState.UNKNOWN
THROTTLED, BLOCKED = AppState.THROTTLED, AppState.BLOCKED


@dataclass(frozen=True, slots=True)
class Row:
    """Given this answer (always): outcome, reason, requests, token, and how the app does then."""

    play: Play
    outcome: PushOutcome
    reason: str
    requests: int
    token: TokenFate = KEEP
    state: AppState = UNKNOWN


ROWS = {
    "malformed token": Row(error("INVALID_ARGUMENT"), REJECTED, "INVALID_TOKEN", 1, DEAD, OK),
    "malformed token, by field": Row(
        refused(errors.bad_request("message.token", "Invalid registration token", fcm_detail=True)),
        REJECTED, "INVALID_TOKEN", 1, DEAD, OK,
    ),
    "malformed fid": Row(
        refused(errors.bad_request("message.fid", "Invalid installation", fcm_detail=True)),
        REJECTED, "INVALID_TOKEN", 1, DEAD, OK,
    ),
    "bad field of ours": Row(
        refused(errors.bad_request("message.android.ttl", "Invalid time to live", fcm_detail=True)),
        MISCONFIGURED, "INVALID_ARGUMENT", 1,
    ),
    "unknown field of ours": Row(
        refused(errors.bad_request("message", "Unknown name")), MISCONFIGURED, "INVALID_ARGUMENT", 1
    ),
    "message too big": Row(refused(errors.too_big()), MISCONFIGURED, "MESSAGE_TOO_BIG", 2),
    "bad request without a word": Row(
        refused(errors.html(400, b"")), MISCONFIGURED, "http_400", 1
    ),
    "access token refused": Row(
        refused(errors.unauthenticated("ACCESS_TOKEN_EXPIRED")),
        MISCONFIGURED, "UNAUTHENTICATED", 2, KEEP, BLOCKED,
    ),
    "third party": Row(
        error("THIRD_PARTY_AUTH_ERROR"), MISCONFIGURED, "THIRD_PARTY_AUTH_ERROR", 1
    ),
    "third party, older": Row(error("APNS_AUTH_ERROR"), MISCONFIGURED, "APNS_AUTH_ERROR", 1),
    "no permission": Row(
        refused(errors.forbidden("lab-project")),
        MISCONFIGURED, "PERMISSION_DENIED", 1, KEEP, BLOCKED,
    ),
    "API off": Row(
        refused(errors.service_disabled("lab-project")),
        MISCONFIGURED, "PERMISSION_DENIED", 1, KEEP, BLOCKED,
    ),
    "token of another project": Row(
        error("SENDER_ID_MISMATCH"), REJECTED, "SENDER_ID_MISMATCH", 1, WRONG_APP, OK
    ),
    "app gone": Row(error("UNREGISTERED"), REJECTED, "UNREGISTERED", 1, DEAD, OK),
    "not found, but what": Row(
        refused(errors.google(404, "NOT_FOUND", "Requested entity was not found.")),
        MISCONFIGURED, "NOT_FOUND", 1,
    ),
    "nothing there": Row(
        refused(errors.html(404, errors.HTML_404)), MISCONFIGURED, "http_404", 1, KEEP, BLOCKED
    ),
    "moved": Row(refused(errors.html(302, b"")), MISCONFIGURED, "http_302", 1, KEEP, BLOCKED),
    "quota": Row(error("QUOTA_EXCEEDED"), UNAVAILABLE, "QUOTA_EXCEEDED", 1, KEEP, THROTTLED),
    "quota, later than the call": Row(
        error("QUOTA_EXCEEDED", retry_after=30), UNAVAILABLE, "QUOTA_EXCEEDED", 1, KEEP, THROTTLED
    ),
    "quota of the device": Row(
        refused(errors.device_quota()), UNAVAILABLE, "DEVICE_QUOTA_EXCEEDED", 1
    ),
    "internal": Row(error("INTERNAL"), UNAVAILABLE, "INTERNAL", 2),
    "unavailable": Row(error("UNAVAILABLE"), UNAVAILABLE, "UNAVAILABLE", 2),
    "unavailable for long": Row(
        error("UNAVAILABLE", retry_after=30), UNAVAILABLE, "UNAVAILABLE", 1
    ),
    "unavailable for a moment": Row(
        error("UNAVAILABLE", retry_after=1), UNAVAILABLE, "UNAVAILABLE", 2
    ),
    "bad gateway": Row(bad_gateway(), UNAVAILABLE, "http_502", 2),
    "gateway's time-out": Row(refused(errors.html(504)), UNAVAILABLE, "http_504", 2),
    "silence": Row(silence(), UNAVAILABLE, "timeout", 2),
    "broken connection": Row(drop(), UNAVAILABLE, "disconnected", 2),
    "reset": Row(reset(), UNAVAILABLE, "disconnected", 2),
    "an answer that cannot be read": Row(
        refused(errors.html(200, b"<html>")), ACCEPTED, "http_200", 1, KEEP, OK
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_verdict(fcm: FcmDouble, row: Row) -> None:
    """The answer decides on the push, the token and the app, after no more requests than help."""
    provider, phone = a_provider(fcm, request_s=0.5), fcm.device()
    fcm.always = row.play
    result = await provider.send(a_push(phone, left_s=6.0))
    [health] = provider.health()
    await provider.aclose()
    assert (result.outcome, result.reason) == (row.outcome, row.reason)
    assert (result.attempts, len(fcm.requests)) == (row.requests, row.requests)
    assert (result.token, result.dead_since) == (row.token, None)
    assert health.state is row.state
    assert health.reason == (row.reason if row.state in (BLOCKED, THROTTLED) else "")


@pytest.mark.parametrize("name", ["token fGh2", "X" * 100, "a\nline", ""])
def test_what_is_no_name_of_an_error_is_not_repeated(name: str) -> None:
    """Reasons go into logs and timelines: what stands in Google's place there does not."""
    body = json.dumps({"error": {"status": name}}).encode()
    answer = read(400, body, retry_after=None, unix=0.0)
    assert answer.code == ""
    assert verdict(answer, renewed=False).reason == "http_400"


async def test_the_second_request_helps(fcm: FcmDouble) -> None:
    """After a fault of the moment the second request is taken, and it is the same push."""
    provider, phone = a_provider(fcm, request_s=0.5), fcm.device()
    plays = [error("INTERNAL"), error("UNAVAILABLE"), bad_gateway(), silence(), drop(), reset()]
    for play in plays:
        fcm.requests.clear()
        fcm.next(play)
        result = await provider.send(a_push(phone))
        assert (result.outcome, result.attempts) == (ACCEPTED, 2)
        first, second = fcm.requests
        assert first.body == second.body
    await provider.aclose()


async def test_retry_after_is_waited_for(fcm: FcmDouble) -> None:
    """When FCM wants a second, it gets one; also of a quota, if it says so."""
    provider, phone = a_provider(fcm), fcm.device()
    for code in ("UNAVAILABLE", "QUOTA_EXCEEDED"):
        fcm.requests.clear()
        fcm.next(error(code, retry_after=1))
        assert (await provider.send(a_push(phone))).outcome is ACCEPTED
        first, second = fcm.requests
        assert second.arrived_s - first.arrived_s >= 1
    [health] = provider.health()
    assert health.state is OK
    await provider.aclose()


async def test_throttled_apps_keep_silent(fcm: FcmDouble) -> None:
    """After QUOTA_EXCEEDED nothing is sent for that project until its time is over; other projects
    go on.
    """
    other = fcm.account("other-project")
    provider = a_provider(fcm, an_app(fcm), an_app(fcm, other, app_id="org.example.other"))
    phone, away = fcm.device(), fcm.device("other-project")
    fcm.for_token(phone.token, error("QUOTA_EXCEEDED"))
    await provider.send(a_push(phone))
    result = await provider.send(a_push(phone))
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, "QUOTA_EXCEEDED", 0)
    assert (await provider.send(a_push(away, app_id="org.example.other"))).outcome is ACCEPTED
    assert {each.app_id: each.state for each in provider.health()} == {
        APP: THROTTLED,
        "org.example.other": OK,
    }
    assert len(fcm.requests) == 2
    await provider.aclose()


async def test_third_party_faults_block_late(fcm: FcmDouble) -> None:
    """One iPhone among Android phones cannot keep them from being called; when device after device
    has the fault, the app is blocked.
    """
    provider = a_provider(fcm)
    phones = [fcm.device() for _ in range(4)]
    for phone in phones[:3]:
        fcm.always_for(phone.token, error("THIRD_PARTY_AUTH_ERROR"))
    for _ in range(3):
        await provider.send(a_push(phones[0]))
    assert (await provider.send(a_push(phones[3]))).outcome is ACCEPTED
    for phone in phones[:3]:
        await provider.send(a_push(phone))
    assert [each.state for each in provider.health()] == [BLOCKED]
    assert (await provider.send(a_push(phones[3]))).attempts == 0
    await provider.aclose()


async def test_blocked_app_alone(fcm: FcmDouble) -> None:
    """An account without permission blocks its own app; the other project's is unharmed."""
    other = fcm.account("other-project")
    provider = a_provider(fcm, an_app(fcm), an_app(fcm, other, app_id="org.example.other"))
    fcm.first_account.may_send = False
    phone, away = fcm.device(), fcm.device("other-project")
    for _ in range(3):
        assert (await provider.send(a_push(phone))).outcome is MISCONFIGURED
        assert (await provider.send(a_push(away, app_id="org.example.other"))).outcome is ACCEPTED
    assert [each.project_id for each in fcm.requests].count("lab-project") == 1
    await provider.aclose()


async def test_no_server(fcm: FcmDouble) -> None:
    """Nothing listens, or nothing answers the handshake: asked twice, then given up in time."""
    provider, phone = a_provider(fcm, request_s=0.4), fcm.device()
    await provider.send(a_push(phone))
    fcm.drop_connections()
    await fcm.listener.close()
    result = await provider.send(a_push(phone))
    assert (result.outcome, result.reason) == (UNAVAILABLE, "connect_failed")
    await fcm.listener.listen(mute=True)
    result = await provider.send(a_push(phone))
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, "timeout", 2)
    await fcm.listener.listen()
    assert (await provider.send(a_push(phone))).outcome is ACCEPTED
    await provider.aclose()


async def test_strange_certificate(
    fcm: FcmDouble, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A server that our ca_file does not vouch for gets no access token and no push."""
    from tests.lab.certificates import Authority

    stranger = Authority(tmp_path_factory.mktemp("ca"), name="stranger")
    app = an_app(fcm)
    from dataclasses import replace

    provider = a_provider(fcm, replace(app, ca_file=stranger.ca))
    result = await provider.send(a_push(fcm.device()))
    assert (result.outcome, result.reason, result.attempts) == (
        MISCONFIGURED,
        "oauth_tls_failed",
        0,
    )
    assert fcm.oauth_requests == []
    assert [each.state for each in provider.health()] == [BLOCKED]
    await provider.aclose()
