"""Web Push against a push service that checks every header and signature, and apps that decrypt."""

import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.core.ids import CallId
from push_proxy.core.payload import Privacy
from push_proxy.core.web_subscription import web_subscription
from push_proxy.errors import ConfigurationError
from push_proxy.ports import AppState, TokenFate
from push_proxy.providers import vapid, webpush_service
from push_proxy.providers.vapid import Statement, VapidKey, read_vapid_key
from push_proxy.providers.webpush import WebpushApp, WebpushProvider
from push_proxy.providers.webpush_message import LONGEST_TEXT, headers
from push_proxy.providers.webpush_verdicts import judge
from tests.doubles.http_platform import Play
from tests.doubles.pushes import APP, CLOCK, a_push
from tests.doubles.webpush import LONGEST, Subscription, WebpushDouble, vapid_key_file
from tests.lab.certificates import Authority

MAIL = "mailto:operator@example.com"
ACCEPTED, REJECTED = PushOutcome.ACCEPTED, PushOutcome.REJECTED
UNAVAILABLE, MISCONFIGURED = PushOutcome.UNAVAILABLE, PushOutcome.MISCONFIGURED


@pytest.fixture
async def service(authority: Authority) -> AsyncIterator[WebpushDouble]:
    async with WebpushDouble(authority) as double:
        yield double


@pytest.fixture
def key(tmp_path: Path) -> VapidKey:
    vapid_key_file(tmp_path / "vapid.pem")
    return read_vapid_key("vapid_key_file", tmp_path / "vapid.pem", subject=MAIL)


def provider_of(
    key: VapidKey, authority: Authority, *, privacy: Privacy = Privacy.FULL, request_s: float = 0.4
) -> WebpushProvider:
    app = WebpushApp(app_id=APP, key=key, allow_private=True, ca_file=authority.ca)
    return WebpushProvider([app], CLOCK, privacy=privacy, request_s=request_s)


@pytest.fixture
async def provider(key: VapidKey, authority: Authority) -> AsyncIterator[WebpushProvider]:
    made = provider_of(key, authority)
    yield made
    await made.aclose()


@pytest.fixture
def app(service: WebpushDouble, key: VapidKey) -> Subscription:
    return service.subscribe(key.public)


async def test_an_app_reads_its_push(
    provider: WebpushProvider, service: WebpushDouble, app: Subscription
) -> None:
    """The app decrypts the payload; on the way it is unreadable, urgent and never stored."""
    result = await provider.send(a_push("webpush", app.token))
    assert (result.outcome, result.reason, result.attempts) == (ACCEPTED, "http_201", 1)
    (said,) = service.delivered
    assert (said["type"], said["call_id"]) == ("call", "c-1")
    assert said["caller_name"] == "Jörg ?"
    (request,) = service.requests
    assert b"call" not in request.body
    assert request.headers["TTL"] == "0"
    assert request.headers["Urgency"] == "high"


async def test_a_bare_endpoint_only_wakes(
    provider: WebpushProvider, service: WebpushDouble, app: Subscription
) -> None:
    """A device that gave an endpoint alone (RFC 8599's pn-prid) gets an empty push."""
    result = await provider.send(a_push("webpush", app.endpoint))
    assert result.outcome is ACCEPTED
    assert service.requests[0].body == b""
    assert service.delivered == [{}]


@pytest.mark.parametrize(
    ("kind", "urgency", "ttl"),
    [
        (PushType.CALL, "high", "0"),
        (PushType.CANCEL, "high", "0"),
        (PushType.ANSWERED_ELSEWHERE, "high", "0"),
        (PushType.MISSED, "normal", "15"),
        (PushType.MESSAGE, "normal", "15"),
        (PushType.VOICEMAIL, "normal", "15"),
        (PushType.REFRESH, "normal", "15"),
    ],
)
async def test_every_kind(
    provider: WebpushProvider,
    service: WebpushDouble,
    app: Subscription,
    kind: PushType,
    urgency: str,
    ttl: str,
) -> None:
    """What rings is urgent and now or never; the rest is kept while it makes sense."""
    assert (await provider.send(a_push("webpush", app.token, kind=kind))).outcome is ACCEPTED
    (request,) = service.requests
    assert (request.headers["Urgency"], request.headers["TTL"]) == (urgency, ttl)
    assert service.delivered[0]["type"] == kind


async def test_a_call_gives_way_to_its_own_end(
    provider: WebpushProvider, service: WebpushDouble, app: Subscription
) -> None:
    """All pushes of a call have one topic, that of another call is another; and so is that of the
    word that it was missed, which the call's end would take out of the queue.
    """
    call = a_push("webpush", app.token)
    await provider.send(call)
    await provider.send(replace(call, type=PushType.CANCEL))
    await provider.send(replace(call, call=CallId("c-2")))
    await provider.send(replace(call, type=PushType.MISSED))
    await provider.send(replace(call, call=CallId("c-2"), type=PushType.MISSED))
    first, end, *others = (request.headers["Topic"] for request in service.requests)
    assert first == end
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    ("kind", "policy"), [(PushType.CALL, "no-cache"), (PushType.VOICEMAIL, "cache")]
)
def test_windows_wants_it_twice(kind: PushType, policy: str) -> None:
    """Edge's push service refuses TTL 0 unless a header of its own agrees; nobody else gets it."""
    push = a_push("webpush", "t", kind=kind)
    edge = web_subscription("https://wns2-par02p.notify.windows.com/w/?token=x")
    assert headers(push, edge, authorization="")["X-WNS-Cache-Policy"] == policy
    other = web_subscription("https://notify.windows.com.example/w/?token=x")
    assert "X-WNS-Cache-Policy" not in headers(push, other, authorization="")


async def test_one_statement_for_many_pushes(
    provider: WebpushProvider, service: WebpushDouble, key: VapidKey
) -> None:
    """The VAPID token is signed once for a push service, whoever is pushed to."""
    for _ in range(3):
        await provider.send(a_push("webpush", service.subscribe(key.public).token))
    assert len(service.delivered) == 3
    assert len(service.statements) == 1


async def test_a_statement_is_renewed_before_it_ends(
    key: VapidKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a day valid, renewed an hour before; also when the clock was put back."""
    statement = Statement(key, "https://push.example.net")
    now = time.time()
    monkeypatch.setattr(vapid.time, "time", lambda: now)
    first = statement.header()
    now += vapid.VALID_S - 3601
    assert statement.header() == first
    now += 2
    second = statement.header()
    assert second != first
    now -= 24 * 3600
    assert statement.header() != second


async def test_long_names_give_way(
    provider: WebpushProvider, service: WebpushDouble, app: Subscription
) -> None:
    """A payload over the limit is cut to exactly what every push service takes, and leaves."""
    push = a_push("webpush", app.token, caller_name="N" * 9000)
    assert (await provider.send(push)).outcome is ACCEPTED
    assert len(service.requests[0].body) == LONGEST
    (said,) = service.delivered
    assert 0 < len(said["caller_name"]) < 9000
    assert said["caller_number"] == "+4930123456"
    assert len(json.dumps(said, separators=(",", ":"))) == LONGEST_TEXT


async def test_a_service_that_takes_less(
    authority: Authority, provider: WebpushProvider, key: VapidKey
) -> None:
    """413: once more without all that can be left out."""
    async with WebpushDouble(authority, longest=450) as small:
        app = small.subscribe(key.public)
        result = await provider.send(a_push("webpush", app.token, caller_name="N" * 500))
        assert (result.outcome, result.attempts) == (ACCEPTED, 2)
        assert small.delivered[0]["caller_name"] == ""
        assert small.delivered[0]["call_id"] == "c-1"


async def test_ids_only(
    key: VapidKey, authority: Authority, service: WebpushDouble, app: Subscription
) -> None:
    """With `privacy: ids_only` not even the app's own text holds the caller."""
    provider = provider_of(key, authority, privacy=Privacy.IDS_ONLY)
    await provider.send(a_push("webpush", app.token))
    await provider.aclose()
    assert not service.delivered[0].keys() & {"caller_name", "caller_number", "video"}


ROWS = [
    (200, ACCEPTED, 1, TokenFate.KEEP),
    (201, ACCEPTED, 1, TokenFate.KEEP),
    (202, ACCEPTED, 1, TokenFate.KEEP),
    (204, ACCEPTED, 1, TokenFate.KEEP),
    (301, REJECTED, 1, TokenFate.KEEP),
    (307, REJECTED, 1, TokenFate.KEEP),
    (400, MISCONFIGURED, 1, TokenFate.KEEP),
    (401, MISCONFIGURED, 1, TokenFate.KEEP),
    (403, MISCONFIGURED, 1, TokenFate.KEEP),
    (404, REJECTED, 1, TokenFate.DEAD),
    (405, MISCONFIGURED, 1, TokenFate.KEEP),
    (406, UNAVAILABLE, 1, TokenFate.KEEP),
    (408, UNAVAILABLE, 2, TokenFate.KEEP),
    (410, REJECTED, 1, TokenFate.DEAD),
    (413, MISCONFIGURED, 2, TokenFate.KEEP),
    (425, UNAVAILABLE, 2, TokenFate.KEEP),
    (429, UNAVAILABLE, 1, TokenFate.KEEP),
    (500, UNAVAILABLE, 2, TokenFate.KEEP),
    (502, UNAVAILABLE, 2, TokenFate.KEEP),
    (503, UNAVAILABLE, 2, TokenFate.KEEP),
]


@pytest.mark.parametrize(("status", "outcome", "attempts", "fate"), ROWS)
async def test_every_answer(
    provider: WebpushProvider,
    service: WebpushDouble,
    app: Subscription,
    status: int,
    outcome: PushOutcome,
    attempts: int,
    fate: TokenFate,
) -> None:
    """Each answer: what becomes of push and token, and how many requests were made.

    Redirects go nowhere: their target got nothing.
    """
    elsewhere = service.subscribe(app.server_key)
    for _ in range(2):
        service.plays.append(Play(status=status, headers={"Location": elsewhere.endpoint}))
    result = await provider.send(a_push("webpush", app.token))
    assert (result.outcome, result.reason, result.token) == (outcome, f"http_{status}", fate)
    assert len(service.requests) == result.attempts == attempts
    assert {request.path for request in service.requests} == {
        app.endpoint.removeprefix(service.url)
    }


def test_retry_after() -> None:
    """429 and 503 with Retry-After: once more after it, and nobody else before it."""
    for status in (429, 503):
        attempt = judge(status, retry_after_s=7.0)
        assert (attempt.again, attempt.pause_s, attempt.blocks_s) == (True, 7.0, 7.0)


async def test_a_throttled_call_still_arrives(
    provider: WebpushProvider, service: WebpushDouble, app: Subscription
) -> None:
    """429 with a Retry-After that the call outlives: the push arrives after it."""
    service.plays.append(Play(status=429, headers={"Retry-After": "1"}))
    started = time.monotonic()
    result = await provider.send(a_push("webpush", app.token))
    assert (result.outcome, result.attempts) == (ACCEPTED, 2)
    assert time.monotonic() - started >= 1


async def test_throttling_is_a_services_own(
    authority: Authority, provider: WebpushProvider, service: WebpushDouble, key: VapidKey
) -> None:
    """One subscription's 429 stops nobody; the third in a row stops that service, no other."""
    *apps, good = [service.subscribe(key.public) for _ in range(4)]

    async def throttled(app: Subscription) -> None:
        service.plays.append(Play(status=429, headers={"Retry-After": "60"}))
        result = await provider.send(a_push("webpush", app.token))
        assert (result.outcome, result.attempts) == (UNAVAILABLE, 1)

    for app in apps:
        await throttled(app)
        assert (await provider.send(a_push("webpush", good.token))).outcome is ACCEPTED
    assert provider.health()[0].state is AppState.OK
    for app in apps:
        await throttled(app)
    before = len(service.requests)
    result = await provider.send(a_push("webpush", good.token))
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, "http_429", 0)
    assert len(service.requests) == before
    assert provider.health()[0].state is AppState.THROTTLED
    async with WebpushDouble(authority) as other:
        result = await provider.send(a_push("webpush", other.subscribe(key.public).token))
        assert result.outcome is ACCEPTED
    assert provider.health()[0].state is AppState.OK


async def test_subscriptions_of_another_key(
    provider: WebpushProvider, service: WebpushDouble, app: Subscription
) -> None:
    """One made for another VAPID key fails alone; three in a row, and it is our key that is wrong:
    the app shows as blocked.
    """
    others = [service.subscribe("BF" + "x" * 85) for _ in range(3)]
    result = await provider.send(a_push("webpush", others[0].token))
    assert (result.outcome, result.reason) == (MISCONFIGURED, "http_403")
    assert provider.health()[0].state is AppState.BLOCKED
    assert (await provider.send(a_push("webpush", app.token))).outcome is ACCEPTED
    assert provider.health()[0].state is AppState.OK
    for other in others:
        await provider.send(a_push("webpush", other.token))
    assert provider.health()[0].state is AppState.BLOCKED
    result = await provider.send(a_push("webpush", app.token))
    assert (result.outcome, result.reason, result.attempts) == (MISCONFIGURED, "http_403", 0)


async def test_a_refused_statement_is_made_anew(
    provider: WebpushProvider,
    service: WebpushDouble,
    app: Subscription,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """401 (the clock was wrong, say): the next push signs a new statement."""
    await provider.send(a_push("webpush", app.token))
    service.plays.append(Play(status=401))
    await provider.send(a_push("webpush", app.token))
    later = time.time() + 5
    monkeypatch.setattr(vapid.time, "time", lambda: later)
    assert (await provider.send(a_push("webpush", app.token))).outcome is ACCEPTED
    assert len(service.statements) == 2


@pytest.mark.parametrize(
    ("play", "reason"), [(Play(silent=True), "timeout"), (Play(drop=True), "disconnected")]
)
async def test_no_answer_is_tried_again(
    provider: WebpushProvider, service: WebpushDouble, app: Subscription, play: Play, reason: str
) -> None:
    """Silence and broken connections: two requests, the same bytes, then the truth."""
    service.plays.append(play)
    assert (await provider.send(a_push("webpush", app.token))).outcome is ACCEPTED
    assert service.requests[0].body == service.requests[1].body
    service.plays.extend([play, play])
    result = await provider.send(a_push("webpush", app.token))
    assert (result.outcome, result.reason, result.attempts) == (UNAVAILABLE, reason, 2)


async def test_private_addresses_are_refused(
    key: VapidKey, authority: Authority, service: WebpushDouble, app: Subscription
) -> None:
    """An app cannot make us call at loopback: nothing is connected to unless it is allowed."""
    strict = WebpushProvider([WebpushApp(app_id=APP, key=key, ca_file=authority.ca)], CLOCK)
    try:
        result = await strict.send(a_push("webpush", app.token))
    finally:
        await strict.aclose()
    assert (result.outcome, result.reason) == (REJECTED, "address_refused")
    assert result.token is TokenFate.KEEP
    assert service.requests == []


async def test_what_is_no_subscription_is_dead(provider: WebpushProvider) -> None:
    """A token that came in before it was checked ends there; nothing is sent."""
    result = await provider.send(a_push("webpush", "http://push.example.net/x"))
    assert (result.outcome, result.reason, result.attempts, result.token) == (
        REJECTED,
        "bad_subscription",
        0,
        TokenFate.DEAD,
    )


async def test_certificates_are_checked(
    key: VapidKey, service: WebpushDouble, app: Subscription, tmp_path: Path
) -> None:
    """A push service whose certificate is not trusted gets nothing."""
    stranger = Authority(tmp_path / "other", "other")
    provider = provider_of(key, stranger)
    result = await provider.send(a_push("webpush", app.token))
    await provider.aclose()
    assert (result.outcome, result.reason) == (MISCONFIGURED, "tls_failed")
    assert service.requests == []


async def test_which_app(key: VapidKey) -> None:
    """RFC 8599 has no pn-param for Web Push: the only app is meant, among several none."""
    one = WebpushProvider([WebpushApp(app_id=APP, key=key)], CLOCK)
    two = WebpushProvider([WebpushApp(app_id=name, key=key) for name in ("a", "b")], CLOCK)
    assert (one.app_for(""), one.app_for(APP), one.app_for("x")) == (APP, APP, None)
    assert (two.app_for(""), two.app_for("b")) == (None, "b")
    assert one.public_key(APP) == key.public
    assert one.public_key("x") is None
    result = await one.send(a_push("webpush", "https://a.example/x", app_id="other"))
    assert (result.outcome, result.attempts) == (MISCONFIGURED, 0)


async def test_services_are_forgotten(key: VapidKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apps name push services without end: the ones not used for longest are forgotten."""
    monkeypatch.setattr(webpush_service, "_MOST", 2)
    services = webpush_service.PushServices(key)
    first = services.at("https://a.example")
    second = services.at("https://b.example")
    assert services.at("https://a.example") is first
    services.at("https://c.example")
    assert services.at("https://a.example") is first
    assert services.at("https://b.example") is not second


async def test_the_check_shows_what_apps_subscribe_with(
    provider: WebpushProvider, key: VapidKey
) -> None:
    """It says the public key, which apps need."""
    (check,) = [check async for check in provider.check()]
    assert check.ok
    assert key.public in check.text
    assert len(base64.urlsafe_b64decode(key.public + "=")) == 65


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot read"),
        (b"", "no private key"),
        (b"not a key", "no private key"),
        ("encrypted", "is encrypted"),
        ("P-384", "curve P-256"),
        ("RSA", "curve P-256"),
    ],
)
def test_keys_that_cannot_be_used(tmp_path: Path, content: bytes | str | None, fault: str) -> None:
    """An unusable key file is refused, naming the setting and what to do."""
    path = tmp_path / "vapid.pem"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "P-384":
        vapid_key_file(path, ec.SECP384R1())
    elif content == "RSA":
        key = rsa.generate_private_key(65537, 2048)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    elif content == "encrypted":
        sealed = BestAvailableEncryption(b"secret")
        key = ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
    with pytest.raises(ConfigurationError, match=fault) as caught:
        read_vapid_key("providers.webpush[0].vapid_key_file", path, subject=MAIL)
    assert "providers.webpush[0].vapid_key_file" in str(caught.value)


async def test_nothing_secret_is_said(
    provider: WebpushProvider, service: WebpushDouble, app: Subscription, key: VapidKey
) -> None:
    """Neither logs nor reprs hold the endpoint, the keys or the statement."""
    with structlog.testing.capture_logs() as logs:
        for status in (403, 410, 413, 500):
            service.plays.extend([Play(status=status)] * 2)
            await provider.send(a_push("webpush", app.token))
            service.plays.clear()
    assert logs
    said = repr(logs) + repr(key) + repr(WebpushApp(app_id=APP, key=key))
    assert app.endpoint.rpartition("/")[2] not in said
    assert json.loads(app.token)["keys"]["auth"] not in said
    assert "vapid t=" not in said
    assert "PRIVATE" not in said
