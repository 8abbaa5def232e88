"""Access tokens of service accounts: fetched early, kept, and what is said when Google refuses."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs
from structlog.types import EventDict

from push_proxy.core.events import PushOutcome
from push_proxy.core.push_advice import known_advice
from push_proxy.ports import AppState, Check
from push_proxy.providers.fcm import FcmProvider
from push_proxy.providers.fcm_account import read_service_account
from push_proxy.providers.fcm_token import AccessToken
from push_proxy.public_http import PublicHttp
from push_proxy.store.memory import MemoryStore
from push_proxy.tasks import spawn
from tests.doubles.fcm import FcmDouble, ServiceAccount, drop, errors, held, refused, silence
from tests.lab.process import poll_until

from .fcm_pushes import APP, CLOCK, a_provider, a_push, an_app, brief


@pytest.fixture
async def provider(fcm: FcmDouble) -> AsyncIterator[FcmProvider]:
    made = a_provider(fcm)
    yield made
    await made.aclose()


def start(provider: FcmProvider) -> None:
    provider.start(MemoryStore(CLOCK))


async def test_before_the_first_call(fcm: FcmDouble, provider: FcmProvider) -> None:
    """The token is there before a push needs it, and one does for all pushes of its hour."""
    start(provider)
    await fcm.wait_oauth(1)
    phone = fcm.device()
    for _ in range(3):
        assert (await provider.send(a_push(phone))).outcome is PushOutcome.ACCEPTED
    [request] = fcm.oauth_requests
    assert request.claims["iss"] == fcm.first_account.email
    assert request.claims["exp"] - request.claims["iat"] == 3600
    assert request.claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"


async def test_renewed_before_it_ends(fcm: FcmDouble, provider: FcmProvider) -> None:
    """After four fifths of its life there is a new one; no push ever comes with one that ended,
    none waits.
    """
    fcm.oauth.life_s = 1.0
    start(provider)
    phone, hold = fcm.device(), asyncio.Event()
    await fcm.wait_oauth(2)
    fcm.oauth.life_s = 3600.0
    await fcm.wait_oauth(3)
    fcm.oauth_always = held(hold)
    assert brief(await provider.send(a_push(phone))) == ("accepted", "http_200", 1)
    first, second, *_ = fcm.oauth_requests
    assert 0.6 < second.arrived_s - first.arrived_s < 1.0 + 1.0


async def test_one_request_for_all_who_wait(fcm: FcmDouble, provider: FcmProvider) -> None:
    """50 pushes without a token, and one request for it."""
    results = await asyncio.gather(*(provider.send(a_push(fcm.device())) for _ in range(50)))
    assert {brief(each) for each in results} == {("accepted", "http_200", 1)}
    assert len(fcm.oauth_requests) == 1


async def test_google_has_a_bad_moment(fcm: FcmDouble, provider: FcmProvider) -> None:
    """5xx and broken connections are asked again with growing pauses; the push waits and leaves."""
    backend = errors.oauth("internal_failure", "Backend Error", status=503)
    fcm.oauth_next(refused(backend), drop())
    sending = spawn(provider.send(a_push(fcm.device())), name="a push that waits")
    assert await poll_until(
        lambda: (
            [(each.state, each.reason) for each in provider.health()]
            == [(AppState.THROTTLED, "oauth_http_503")]
        ),
        within_s=5,
    )
    assert brief(await sending) == ("accepted", "http_200", 1)
    assert [each.state for each in provider.health()] == [AppState.OK]
    assert len(fcm.oauth_requests) >= 3
    times = [each.arrived_s for each in fcm.oauth_requests]
    assert times[1] - times[0] >= 0.9
    assert times[-1] - times[1] >= 1.5


TROUBLES: dict[str, tuple[Callable[[FcmDouble], None], str]] = {
    "disabled": (
        lambda fcm: setattr(fcm.first_account, "disabled", True),
        "oauth_account_disabled",
    ),
    "deleted": (lambda fcm: setattr(fcm.first_account, "deleted", True), "oauth_account_gone"),
    "revoked": (lambda fcm: setattr(fcm.first_account, "key_revoked", True), "oauth_key_revoked"),
    "clock": (lambda fcm: setattr(fcm, "ahead_s", 7200.0), "oauth_clock_wrong"),
    "other": (
        lambda fcm: setattr(fcm, "oauth_always", refused(errors.oauth("invalid_grant", "No."))),
        "oauth_invalid_grant",
    ),
    "scope": (
        lambda fcm: setattr(fcm, "oauth_always", refused(errors.oauth("invalid_scope", "No."))),
        "oauth_invalid_scope",
    ),
    "page": (
        lambda fcm: setattr(fcm, "oauth_always", refused(errors.html(403))),
        "oauth_http_403",
    ),
    "nothing": (
        lambda fcm: setattr(fcm, "oauth_always", refused(errors.html(200, b"{}"))),
        "oauth_no_token",
    ),
}


def told(logs: list[EventDict]) -> list[EventDict]:
    return [line for line in logs if line["event"] == "no access token of FCM"]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_refused_account(fcm: FcmDouble, provider: FcmProvider, trouble: str) -> None:
    """A refused account is a state with a reason, told once with advice and without a stack trace;
    pushes fail at once and Google is not asked for each of them.
    """
    make, reason = TROUBLES[trouble]
    make(fcm)
    with capture_logs() as logs:
        start(provider)
        assert await poll_until(
            lambda: [each.state for each in provider.health()] == [AppState.BLOCKED], within_s=5
        )
        for _ in range(3):
            result = await provider.send(a_push(fcm.device()))
            assert brief(result) == ("misconfigured", reason, 0)
        assert await poll_until(lambda: bool(told(logs)), within_s=5)
    assert [(each.app_id, each.reason) for each in provider.health()] == [(APP, reason)]
    assert len(fcm.oauth_requests) == 1
    assert fcm.requests == []
    assert [line["reason"] for line in told(logs)] == [reason]
    assert known_advice("fcm", reason)
    assert not any("exc_info" in line for line in logs)


async def test_account_comes_back(fcm: FcmDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the account is enabled again, pushes go by themselves."""
    monkeypatch.setattr("push_proxy.providers.fcm_token.BLOCKS_S", 0.2)
    fcm.first_account.disabled = True
    provider = a_provider(fcm)
    start(provider)
    assert await poll_until(lambda: len(fcm.oauth_requests) > 1, within_s=5)
    fcm.first_account.disabled = False
    assert await poll_until(
        lambda: [each.state for each in provider.health()] == [AppState.UNKNOWN], within_s=5
    )
    assert (await provider.send(a_push(fcm.device()))).outcome is PushOutcome.ACCEPTED
    await provider.aclose()


async def test_renewal_refused(fcm: FcmDouble, provider: FcmProvider) -> None:
    """A key revoked while its last token is good: alarm at once, pushes as long as they go."""
    fcm.oauth.life_s = 20.0
    access = provider._projects[APP].access
    await provider.send(a_push(fcm.device()))
    fcm.first_account.key_revoked = True
    await asyncio.wait({access._fetch_now()})
    assert [each.state for each in provider.health()] == [AppState.BLOCKED]
    assert (await provider.send(a_push(fcm.device()))).outcome is PushOutcome.ACCEPTED


async def test_other_projects_go_on(fcm: FcmDouble) -> None:
    """One project's account is refused, another one's OAuth answer hangs, the third one's pushes
    go through.
    """
    bad, slow = fcm.account("bad-project"), fcm.account("slow-project")
    bad.disabled = True
    provider = a_provider(
        fcm,
        an_app(fcm),
        an_app(fcm, bad, app_id="bad"),
        an_app(fcm, slow, app_id="slow", token_uri=fcm.base_url + "/nowhere"),
    )
    start(provider)
    phone = fcm.device()
    assert (await provider.send(a_push(phone))).outcome is PushOutcome.ACCEPTED
    assert await poll_until(
        lambda: (
            {each.app_id: each.reason for each in provider.health()}
            == {APP: "", "bad": "oauth_account_disabled", "slow": "oauth_http_404"}
        ),
        within_s=5,
    )
    await provider.aclose()


async def checks(provider: FcmProvider) -> list[Check]:
    return [each async for each in provider.check()]


async def test_doctor_is_content(fcm: FcmDouble, provider: FcmProvider) -> None:
    """With good credentials both checks are good, and no phone hears of it."""
    found = await checks(provider)
    assert [(each.what, each.ok) for each in found] == [
        (f"fcm {APP}: credentials", True),
        (f"fcm {APP}: permission to push", True),
    ]
    [request] = fcm.requests
    assert request.validate_only
    assert fcm.delivered == []


async def test_doctor_finds(fcm: FcmDouble) -> None:
    """A refused account, a missing role, a clock that is wrong, a server that is silent: each with
    its reason and what to do.
    """

    async def finds(what: str) -> str:
        provider = a_provider(fcm, request_s=0.3)
        [bad] = [each for each in await checks(provider) if not each.ok]
        await provider.aclose()
        assert bad.what == f"fcm {APP}: {what}"
        return bad.text

    fcm.first_account.may_send = False
    assert "PERMISSION_DENIED: " in await finds("permission to push")
    fcm.first_account.may_send = True
    fcm.always = silence()
    assert "timeout: " in await finds("permission to push")
    fcm.ahead_s = 120.0
    fcm.always = refused(errors.fcm("INVALID_ARGUMENT"))
    assert " s behind Google's" in await finds("credentials")
    fcm.first_account.key_revoked = True
    assert "oauth_key_revoked: " in await finds("credentials")
    fcm.oauth_always = silence()
    assert "oauth_timeout: " in await finds("credentials")


async def test_no_secret_is_shown(
    fcm: FcmDouble, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """No token, key, assertion or access token in a log line, at whatever level our loggers are
    set up with, nor in a repr.
    """
    from push_proxy.observability.logs import configure_logs

    root = logging.getLogger()
    former = root.handlers[:], root.level
    try:
        configure_logs("debug")
        app = an_app(fcm)
        provider = a_provider(fcm, app)
        start(provider)
        phones = [fcm.device() for _ in range(3)]
        plays = [errors.fcm("UNREGISTERED"), errors.too_big(), errors.html(200, b"<html>")]
        for phone, play in zip(phones, plays, strict=True):
            fcm.for_token(phone.token, refused(play), refused(play))
            push = a_push(phone)
            results = [await provider.send(push) for _ in range(2)]
            assert phone.token not in repr((push, results, provider.health(), app))
        await provider.aclose()
    finally:
        root.handlers[:], root.level = former
        import structlog

        structlog.reset_defaults()
    written = capsys.readouterr().err + caplog.text
    assert "push not taken" in written
    key = json.loads(fcm.service_account_file.read_text())["private_key"].splitlines()[5]
    secrets = {phone.token for phone in phones} | set(fcm.oauth.tokens)
    secrets |= {each.form["assertion"] for each in fcm.oauth_requests} | {key}
    for secret in secrets:
        assert secret not in written
        assert secret not in repr((app, app.account, provider, provider._projects))


async def test_own_clock(fcm: FcmDouble) -> None:
    """The endpoint's clock shows in its Date header."""
    fcm.ahead_s = 90.0
    access = access_token(fcm, fcm.first_account)
    await access.get(timeout_s=5)
    assert access.skew_s == pytest.approx(-90, abs=5)
    await access.aclose()


def access_token(fcm: FcmDouble, account: ServiceAccount) -> AccessToken:
    return AccessToken(
        PublicHttp(allow_private=True, ca_file=fcm.ca_file),
        read_service_account("x", account.file),
        CLOCK,
        token_uri=fcm.token_uri,
    )
