"""Huawei Push Kit against a double that checks tokens and every field."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.core.payload import Privacy
from push_proxy.errors import ConfigurationError
from push_proxy.ports import AppState, TokenFate
from push_proxy.providers import hms_token
from push_proxy.providers.hms import HmsApp, HmsProvider
from push_proxy.providers.hms_verdicts import BLOCKS_S, Said, judge, said
from push_proxy.providers.secret_file import read_secret
from push_proxy.store.memory import MemoryStore
from tests.doubles.hms import LONGEST, HmsDouble, code
from tests.doubles.http_platform import Play
from tests.doubles.pushes import APP, CLOCK, a_push
from tests.lab.process import poll_until

ACCEPTED, REJECTED = PushOutcome.ACCEPTED, PushOutcome.REJECTED
UNAVAILABLE, MISCONFIGURED = PushOutcome.UNAVAILABLE, PushOutcome.MISCONFIGURED
KEEP, DEAD = TokenFate.KEEP, TokenFate.DEAD


@pytest.fixture
async def huawei() -> AsyncIterator[HmsDouble]:
    async with HmsDouble() as double:
        yield double


def provider_of(
    huawei: HmsDouble,
    *,
    client_secret: str = "",
    privacy: Privacy = Privacy.FULL,
    request_s: float = 0.5,
) -> HmsProvider:
    app = HmsApp(
        app_id=APP,
        hms_app_id=huawei.app_id,
        client_secret=client_secret or huawei.client_secret,
        base_url=huawei.url,
        token_uri=huawei.token_uri,
    )
    return HmsProvider([app], CLOCK, privacy=privacy, request_s=request_s)


@pytest.fixture
async def provider(huawei: HmsDouble) -> AsyncIterator[HmsProvider]:
    made = provider_of(huawei)
    yield made
    await made.aclose()


async def test_a_push_arrives(provider: HmsProvider, huawei: HmsDouble) -> None:
    """The phone gets the payload as data, urgently, kept no longer than the call may last."""
    result = await provider.send(a_push("hms", huawei.device()))
    assert (result.outcome, result.reason, result.attempts) == (ACCEPTED, "80000000", 1)
    assert result.provider_id == "request-80000000"
    (phone,) = huawei.delivered
    assert (phone["type"], phone["call_id"], phone["caller_name"]) == ("call", "c-1", "Jörg ?")
    message = json.loads(huawei.requests[0].body)["message"]
    assert message["android"] == {"urgency": "HIGH", "category": "VOIP", "ttl": "15s"}
    assert message.keys() == {"data", "android", "token"}


@pytest.mark.parametrize(
    ("kind", "urgent"),
    [
        (PushType.CALL, True),
        (PushType.CANCEL, True),
        (PushType.ANSWERED_ELSEWHERE, True),
        (PushType.MISSED, False),
        (PushType.MESSAGE, False),
        (PushType.VOICEMAIL, False),
        (PushType.REFRESH, False),
    ],
)
async def test_every_kind(
    provider: HmsProvider, huawei: HmsDouble, kind: PushType, urgent: bool
) -> None:
    """Only what rings or ends ringing is urgent: Huawei counts it."""
    assert (await provider.send(a_push("hms", huawei.device(), kind=kind))).outcome is ACCEPTED
    android = json.loads(huawei.requests[0].body)["message"]["android"]
    assert ("urgency" in android) is urgent
    assert huawei.delivered[0]["type"] == kind


ROWS = [
    ("80000000", 200, ACCEPTED, 1, KEEP, 0),
    ("80100000", 200, ACCEPTED, 1, KEEP, 0),
    ("80100001", 400, MISCONFIGURED, 1, KEEP, 0),
    ("80100003", 400, MISCONFIGURED, 1, KEEP, 0),
    ("80100004", 400, MISCONFIGURED, 1, KEEP, 0),
    ("80100013", 400, MISCONFIGURED, 1, KEEP, 0),
    ("80100016", 400, REJECTED, 2, KEEP, 0),
    ("80200001", 401, MISCONFIGURED, 1, KEEP, BLOCKS_S),
    ("80200003", 401, MISCONFIGURED, 1, KEEP, BLOCKS_S),
    ("80200005", 401, MISCONFIGURED, 1, KEEP, BLOCKS_S),
    ("80300002", 400, MISCONFIGURED, 1, KEEP, BLOCKS_S),
    ("80300007", 400, REJECTED, 1, DEAD, 0),
    ("80300008", 400, MISCONFIGURED, 2, KEEP, 0),
    ("80300010", 400, MISCONFIGURED, 1, KEEP, 0),
    ("80300011", 400, MISCONFIGURED, 2, KEEP, 0),
    ("80600003", 500, UNAVAILABLE, 2, KEEP, 0),
    ("81000001", 500, UNAVAILABLE, 2, KEEP, 0),
    ("", 400, MISCONFIGURED, 1, KEEP, 0),
    ("", 401, MISCONFIGURED, 1, KEEP, BLOCKS_S),
    ("", 404, MISCONFIGURED, 1, KEEP, BLOCKS_S),
    ("", 429, UNAVAILABLE, 2, KEEP, 1.0),
    ("", 500, UNAVAILABLE, 2, KEEP, 0),
    ("", 502, UNAVAILABLE, 2, KEEP, 0),
    ("", 503, UNAVAILABLE, 2, KEEP, 1.0),
]


@pytest.mark.parametrize(("found", "status", "outcome", "attempts", "fate", "blocks_s"), ROWS)
async def test_every_answer(
    provider: HmsProvider,
    huawei: HmsDouble,
    found: str,
    status: int,
    outcome: PushOutcome,
    attempts: int,
    fate: TokenFate,
    blocks_s: float,
) -> None:
    """Each result code and HTTP status: push, token, requests on the wire, and who must wait."""
    play = code(found, status) if found else Play(status=status, body=b"<html>")
    huawei.plays.extend([play, play])
    result = await provider.send(a_push("hms", huawei.device()))
    reason = found or f"http_{status}"
    assert (result.outcome, result.reason, result.token) == (outcome, reason, fate)
    assert len(huawei.requests) == result.attempts == attempts
    assert judge(status, Said(found), renewed=True).blocks_s == blocks_s


def test_one_bad_token_of_one() -> None:
    """80100000 that names our token among the bad ones: it is dead."""
    body = json.dumps(
        {"code": "80100000", "msg": json.dumps({"failure": 1, "illegal_tokens": ["t-1"]})}
    ).encode()
    attempt = judge(200, said(body, token="t-1"))
    assert (attempt.outcome, attempt.token) == (REJECTED, DEAD)
    assert judge(200, said(body, token="t-2")).outcome is ACCEPTED


@pytest.mark.parametrize("body", [b"", b"[]", b"[" * 4000, b'{"code":5}', b'{"code":"<b>"}', b"1"])
def test_answers_that_are_none(body: bytes) -> None:
    """What is no answer of Push Kit is judged by its status, and never quoted."""
    assert said(body, token="t") == Said()
    assert judge(200, said(body, token="t")).reason == "http_200"
    assert judge(200, said(body, token="t")).outcome is MISCONFIGURED


async def test_an_access_token_for_many_pushes(provider: HmsProvider, huawei: HmsDouble) -> None:
    """Simultaneous pushes wait for one access token."""
    tokens = [huawei.device() for _ in range(20)]
    results = await asyncio.gather(*(provider.send(a_push("hms", one)) for one in tokens))
    assert {result.outcome for result in results} == {ACCEPTED}
    assert huawei.tokens_asked == 1


async def test_an_access_token_is_there_before_the_first_call(
    provider: HmsProvider, huawei: HmsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched at the start, and again before it ends: no push ever waits for one."""
    monkeypatch.setattr(hms_token, "_AGAIN_S", 0.05)
    huawei.token_life_s = 0.4
    provider.start(MemoryStore(CLOCK))
    assert await poll_until(lambda: huawei.tokens_asked >= 4, within_s=5)
    assert (await provider.send(a_push("hms", huawei.device()))).attempts == 1
    await provider.aclose()
    asked = huawei.tokens_asked
    await asyncio.sleep(0.5)  # more than its life
    assert huawei.tokens_asked == asked


async def test_an_access_token_that_ended_early(provider: HmsProvider, huawei: HmsDouble) -> None:
    """Refused: one more request with a new one, and the push arrives."""
    await provider.send(a_push("hms", huawei.device()))
    huawei.revoke_access()
    result = await provider.send(a_push("hms", huawei.device()))
    assert (result.outcome, result.attempts, huawei.tokens_asked) == (ACCEPTED, 2, 2)


async def test_wrong_credentials_show_before_the_first_call(huawei: HmsDouble) -> None:
    """A wrong secret blocks the app as soon as the service starts; a check says what to do."""
    provider = provider_of(huawei, client_secret="wrong")
    provider.start(MemoryStore(CLOCK))
    try:
        assert await poll_until(lambda: provider.health()[0].state is AppState.BLOCKED, within_s=5)
        assert provider.health()[0].reason == "oauth_http_400"
        result = await provider.send(a_push("hms", huawei.device()))
        assert (result.outcome, result.reason, result.attempts) == (
            MISCONFIGURED,
            "oauth_http_400",
            0,
        )
        (check,) = [check async for check in provider.check()]
    finally:
        await provider.aclose()
    assert not check.ok
    assert "client_secret_file" in check.text
    assert huawei.requests == []


async def test_credentials_that_are_good_again(
    huawei: HmsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once Huawei takes the secret again, pushes leave at once: nobody waits for a trial."""
    monkeypatch.setattr(hms_token, "_BLOCKS_S", 0.3)
    huawei.oauth_plays.append(Play(status=400))
    provider = provider_of(huawei)
    provider.start(MemoryStore(CLOCK))
    try:
        assert await poll_until(lambda: provider.health()[0].state is AppState.BLOCKED, within_s=5)
        assert await poll_until(lambda: provider.health()[0].state is AppState.OK, within_s=5)
        assert (await provider.send(a_push("hms", huawei.device()))).outcome is ACCEPTED
    finally:
        await provider.aclose()


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (Play(silent=True), "oauth_timeout"),
        (Play(drop=True), "oauth_disconnected"),
        (Play(status=503), "oauth_http_503"),
    ],
)
async def test_an_oauth_server_that_is_down(
    provider: HmsProvider, huawei: HmsDouble, play: Play, reason: str
) -> None:
    """The push is given up in time, and no app is blocked: the next one tries again."""
    huawei.oauth_plays.extend([play, play])
    result = await provider.send(a_push("hms", huawei.device()))
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, reason, 2)
    assert (await provider.send(a_push("hms", huawei.device()))).outcome is ACCEPTED


async def test_no_permission_of_one_device(provider: HmsProvider, huawei: HmsDouble) -> None:
    """80300002 may be one token of another app: only the third in a row blocks the app."""
    for number in range(3):
        huawei.plays.append(code("80300002", 400))
        await provider.send(a_push("hms", huawei.device()))
        result = await provider.send(a_push("hms", huawei.device()))
        assert result.outcome is ACCEPTED, number
    for _ in range(3):
        huawei.plays.append(code("80300002", 400))
        await provider.send(a_push("hms", huawei.device()))
    result = await provider.send(a_push("hms", huawei.device()))
    assert (result.outcome, result.reason, result.attempts) == (MISCONFIGURED, "80300002", 0)


async def test_no_permission_shows_at_once(provider: HmsProvider, huawei: HmsDouble) -> None:
    """Before any push was taken, one 80300002 is enough for the app to show as blocked, and
    pushes go on being tried.
    """
    huawei.plays.append(code("80300002", 400))
    await provider.send(a_push("hms", huawei.device()))
    health = provider.health()[0]
    assert (health.state, health.reason) == (AppState.BLOCKED, "80300002")
    assert (await provider.send(a_push("hms", huawei.device()))).outcome is ACCEPTED
    assert provider.health()[0].state is AppState.OK


async def test_no_permission_for_urgency(provider: HmsProvider, huawei: HmsDouble) -> None:
    """An app that may not push urgently pushes normally from then on, and a log says so."""
    huawei.may_be_urgent = False
    with structlog.testing.capture_logs() as logs:
        result = await provider.send(a_push("hms", huawei.device()))
    assert (result.outcome, result.attempts) == (ACCEPTED, 2)
    assert "AppGallery" in logs[0]["advice"]
    assert (await provider.send(a_push("hms", huawei.device()))).attempts == 1


async def test_long_names_give_way(provider: HmsProvider, huawei: HmsDouble) -> None:
    """A message over 4096 bytes (without the token) is cut, and leaves."""
    push = a_push("hms", huawei.device(), caller_name='"ü' * 4000)
    assert (await provider.send(push)).attempts == 1
    assert huawei.delivered[0]["caller_number"] == "+4930123456"
    assert huawei.delivered[0]["caller_name"].startswith('"ü"ü')
    assert LONGEST < len(huawei.requests[0].body) < LONGEST + 200


async def test_a_name_that_offends(provider: HmsProvider, huawei: HmsDouble) -> None:
    """80100016: once more without the caller's name."""
    huawei.plays.append(code("80100016", 400))
    result = await provider.send(a_push("hms", huawei.device()))
    assert (result.outcome, result.attempts) == (ACCEPTED, 2)
    assert huawei.delivered[0]["caller_name"] == ""


async def test_ids_only(huawei: HmsDouble) -> None:
    """With `privacy: ids_only` nothing of the caller is on the wire."""
    provider = provider_of(huawei, privacy=Privacy.IDS_ONLY)
    await provider.send(a_push("hms", huawei.device()))
    await provider.aclose()
    assert b"4930123456" not in huawei.requests[0].body
    assert "Jörg".encode() not in huawei.requests[0].body


async def test_the_check_reaches_no_phone(provider: HmsProvider, huawei: HmsDouble) -> None:
    """It fetches a token and has a message looked at that is for nobody."""
    checks = [check async for check in provider.check()]
    assert [(check.what, check.ok) for check in checks] == [
        (f"hms {APP}: credentials", True),
        (f"hms {APP}: permission to push", True),
    ]
    assert huawei.looked_at == 1
    assert huawei.delivered == []
    huawei.plays.append(code("80300002", 400))
    *_, check = [check async for check in provider.check()]
    assert not check.ok
    assert "Push Kit" in check.text


async def test_a_provider_that_is_away(provider: HmsProvider, huawei: HmsDouble) -> None:
    """Nothing listens there: two tries, then the truth."""
    token = huawei.device()
    await huawei.stop()
    result = await provider.send(a_push("hms", token))
    assert (result.outcome, result.reason) == (UNAVAILABLE, "oauth_connect_failed")


async def test_which_app(provider: HmsProvider, huawei: HmsDouble) -> None:
    """An app is known by our name of it and by Huawei's."""
    assert provider.app_for(huawei.app_id) == provider.app_for(APP) == APP
    assert provider.app_for("") is None
    result = await provider.send(a_push("hms", "t", app_id="other"))
    assert (result.outcome, result.attempts) == (MISCONFIGURED, 0)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "cannot read"), (b" \n", "is empty"), (b"wo rd\nlie", "alone"), (b"\xff", "alone")],
)
def test_secret_files(tmp_path: Path, content: bytes | None, fault: str) -> None:
    """A secret that cannot be read is refused, naming the setting and not the secret."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=fault) as caught:
        read_secret("providers.hms[0].client_secret_file", path)
    assert "providers.hms[0].client_secret_file" in str(caught.value)
    assert "wo rd" not in str(caught.value)


async def test_nothing_secret_is_said(provider: HmsProvider, huawei: HmsDouble) -> None:
    """Neither logs nor reprs hold the push token, the secret or an access token."""
    token = huawei.device()
    with structlog.testing.capture_logs() as logs:
        for found in ("80300007", "80300002", "80100003"):
            huawei.plays.append(code(found, 400, msg=f"about {token}"))
            await provider.send(a_push("hms", token))
    shown = repr(logs) + repr(
        HmsApp(app_id=APP, hms_app_id="1", client_secret=huawei.client_secret)
    )
    assert logs
    assert token not in shown
    assert huawei.client_secret not in shown
