"""RuStore against a double that checks its service token and every field."""

import json
from collections.abc import AsyncIterator

import pytest
import structlog

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.core.payload import Privacy
from push_proxy.ports import AppState, TokenFate
from push_proxy.providers.rustore import RustoreApp, RustoreProvider
from push_proxy.providers.rustore_verdicts import BLOCKS_S, Said, judge, said
from tests.doubles.http_platform import Play
from tests.doubles.pushes import APP, CLOCK, a_push
from tests.doubles.rustore import BAD_TOKEN, LONGEST, RustoreDouble, error, error_body

ACCEPTED, REJECTED = PushOutcome.ACCEPTED, PushOutcome.REJECTED
UNAVAILABLE, MISCONFIGURED = PushOutcome.UNAVAILABLE, PushOutcome.MISCONFIGURED
KEEP, DEAD = TokenFate.KEEP, TokenFate.DEAD


@pytest.fixture
async def store() -> AsyncIterator[RustoreDouble]:
    async with RustoreDouble() as double:
        yield double


def provider_of(
    store: RustoreDouble,
    *,
    service_token: str = "",
    privacy: Privacy = Privacy.FULL,
    request_s: float = 0.5,
) -> RustoreProvider:
    app = RustoreApp(
        app_id=APP,
        project_id=store.project_id,
        service_token=service_token or store.service_token,
        base_url=store.url,
    )
    return RustoreProvider([app], CLOCK, privacy=privacy, request_s=request_s)


@pytest.fixture
async def provider(store: RustoreDouble) -> AsyncIterator[RustoreProvider]:
    made = provider_of(store)
    yield made
    await made.aclose()


@pytest.mark.parametrize("kind", list(PushType))
async def test_a_push_arrives(
    provider: RustoreProvider, store: RustoreDouble, kind: PushType
) -> None:
    """The phone gets the payload as data, kept no longer than it makes sense."""
    result = await provider.send(a_push("rustore", store.device(), kind=kind))
    assert (result.outcome, result.reason, result.attempts) == (ACCEPTED, "http_200", 1)
    assert store.delivered[0]["type"] == kind
    message = json.loads(store.requests[0].body)["message"]
    assert message["android"] == {"ttl": "15s"}
    assert message.keys() == {"token", "data", "android"}


ROWS = [
    (200, "", ACCEPTED, 1, KEEP, 0),
    (400, "INVALID_ARGUMENT", MISCONFIGURED, 1, KEEP, 0),
    (400, "", MISCONFIGURED, 1, KEEP, 0),
    (401, "UNAUTHENTICATED", MISCONFIGURED, 1, KEEP, BLOCKS_S),
    (401, "", MISCONFIGURED, 1, KEEP, BLOCKS_S),
    (403, "PERMISSION_DENIED", MISCONFIGURED, 1, KEEP, BLOCKS_S),
    (404, "NOT_FOUND", REJECTED, 1, DEAD, 0),
    (404, "UNREGISTERED", REJECTED, 1, DEAD, 0),
    (404, "", MISCONFIGURED, 1, KEEP, BLOCKS_S),
    (405, "", MISCONFIGURED, 1, KEEP, 0),
    (410, "", REJECTED, 1, DEAD, 0),
    (429, "TOO_MANY_REQUESTS", UNAVAILABLE, 1, KEEP, 5.0),
    (500, "INTERNAL", UNAVAILABLE, 2, KEEP, 0),
    (502, "", UNAVAILABLE, 2, KEEP, 0),
    (503, "UNAVAILABLE", UNAVAILABLE, 2, KEEP, 0),
]


@pytest.mark.parametrize(("status", "name", "outcome", "attempts", "fate", "blocks_s"), ROWS)
async def test_every_answer(
    provider: RustoreProvider,
    store: RustoreDouble,
    status: int,
    name: str,
    outcome: PushOutcome,
    attempts: int,
    fate: TokenFate,
    blocks_s: float,
) -> None:
    """Each error: what becomes of push and token, requests on the wire, and who must wait."""
    play = error(status, name) if name else Play(status=status, body=b"<html>")
    store.plays.extend([play, play])
    # A pause of 5 s is more than this call has left.
    result = await provider.send(a_push("rustore", store.device(), left_s=4))
    assert (result.outcome, result.token) == (outcome, fate)
    assert result.reason == (name or f"http_{status}")
    assert len(store.requests) == result.attempts == attempts
    assert judge(status, Said(name)).blocks_s == blocks_s


async def test_a_malformed_token_is_dead(provider: RustoreProvider, store: RustoreDouble) -> None:
    """INVALID_ARGUMENT that is about the push token ends it."""
    store.plays.append(error(400, "INVALID_ARGUMENT", BAD_TOKEN))
    result = await provider.send(a_push("rustore", store.device()))
    assert (result.outcome, result.reason, result.token) == (REJECTED, "INVALID_TOKEN", DEAD)


async def test_an_unknown_token_is_dead(provider: RustoreProvider, store: RustoreDouble) -> None:
    """A phone that RuStore does not know, by its own rules."""
    result = await provider.send(a_push("rustore", "nobody"))
    assert (result.outcome, result.reason, result.token) == (REJECTED, "NOT_FOUND", DEAD)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"[" * 4000, b'{"error":[]}', b'{"error":{"status":"<b>"}}', b"1"]
)
def test_answers_that_are_none(body: bytes) -> None:
    """What is no error of RuStore's is judged by its status, and never quoted."""
    assert said(body) == Said()


def test_errors_without_an_envelope() -> None:
    """An error is understood whether or not it is wrapped."""
    inner = json.dumps(json.loads(error_body(404, "NOT_FOUND"))["error"]).encode()
    assert said(inner) == said(error_body(404, "NOT_FOUND")) == Said("NOT_FOUND")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int) -> None:
    """Once more after it, and nobody else before it."""
    attempt = judge(status, Said(), retry_after_s=7.0)
    assert (attempt.again, attempt.pause_s, attempt.blocks_s) == (True, 7.0, 7.0)


async def test_throttling(provider: RustoreProvider, store: RustoreDouble) -> None:
    """After 429 nothing is sent before the time is over; the app shows as throttled."""
    store.plays.append(error(429, "TOO_MANY_REQUESTS", Retry_After="30"))
    await provider.send(a_push("rustore", store.device()))
    assert provider.health()[0].state is AppState.THROTTLED
    result = await provider.send(a_push("rustore", store.device()))
    assert (result.outcome, result.attempts, len(store.requests)) == (UNAVAILABLE, 0, 1)


async def test_a_wrong_service_token(store: RustoreDouble) -> None:
    """The app is blocked, the check says what to do."""
    provider = provider_of(store, service_token="wrong")
    try:
        result = await provider.send(a_push("rustore", store.device()))
        assert (result.outcome, result.reason) == (MISCONFIGURED, "PERMISSION_DENIED")
        assert provider.health()[0].state is AppState.BLOCKED
        (check,) = [check async for check in provider.check()]
    finally:
        await provider.aclose()
    assert not check.ok
    assert "service_token_file" in check.text


async def test_the_check_reaches_no_phone(provider: RustoreProvider, store: RustoreDouble) -> None:
    """A message is looked at that is for nobody."""
    (check,) = [check async for check in provider.check()]
    assert check.ok
    assert (store.looked_at, store.delivered) == (1, [])
    await store.stop()
    (check,) = [check async for check in provider.check()]
    assert not check.ok
    assert check.text


async def test_long_names_give_way(provider: RustoreProvider, store: RustoreDouble) -> None:
    """A message over 4096 bytes is cut, and leaves."""
    push = a_push("rustore", store.device(), caller_name="ü" * 9000)
    assert (await provider.send(push)).attempts == 1
    assert LONGEST - 1 <= len(store.requests[0].body) <= LONGEST
    assert store.delivered[0]["caller_number"] == "+4930123456"


async def test_a_limit_below_the_known_one(provider: RustoreProvider, store: RustoreDouble) -> None:
    """413: once more without all that can be left out."""
    store.plays.append(Play(status=413))
    result = await provider.send(a_push("rustore", store.device()))
    assert (result.outcome, result.attempts) == (ACCEPTED, 2)
    assert store.delivered[0]["caller_name"] == ""


async def test_ids_only(store: RustoreDouble) -> None:
    """With `privacy: ids_only` nothing of the caller is on the wire."""
    provider = provider_of(store, privacy=Privacy.IDS_ONLY)
    await provider.send(a_push("rustore", store.device()))
    await provider.aclose()
    assert b"4930123456" not in store.requests[0].body
    assert "Jörg".encode() not in store.requests[0].body


@pytest.mark.parametrize(
    ("play", "reason"), [(Play(silent=True), "timeout"), (Play(drop=True), "disconnected")]
)
async def test_no_answer_is_tried_again(
    provider: RustoreProvider, store: RustoreDouble, play: Play, reason: str
) -> None:
    """Silence and broken connections: two requests, the same bytes, then the truth."""
    store.plays.append(play)
    assert (await provider.send(a_push("rustore", store.device()))).attempts == 2
    assert store.requests[0].body == store.requests[1].body
    store.plays.extend([play, play])
    result = await provider.send(a_push("rustore", store.device()))
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, reason, 2)


async def test_which_app(provider: RustoreProvider, store: RustoreDouble) -> None:
    """An app is known by our name of it and by its project's."""
    assert provider.app_for(store.project_id) == provider.app_for(APP) == APP
    assert provider.app_for("") is None
    result = await provider.send(a_push("rustore", "t", app_id="other"))
    assert (result.outcome, result.attempts) == (MISCONFIGURED, 0)


async def test_nothing_secret_is_said(provider: RustoreProvider, store: RustoreDouble) -> None:
    """Neither logs nor reprs hold the push token or the service token."""
    token = store.device()
    with structlog.testing.capture_logs() as logs:
        for status, name in ((404, "NOT_FOUND"), (400, "INVALID_ARGUMENT")):
            store.plays.append(error(status, name, f"about {token}"))
            await provider.send(a_push("rustore", token))
    shown = repr(logs) + repr(
        RustoreApp(app_id=APP, project_id="p", service_token=store.service_token)
    )
    assert logs
    assert token not in shown
    assert store.service_token not in shown
