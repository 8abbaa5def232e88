"""The webhook provider against a real HTTP server that misbehaves in every way."""

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import web

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, PushId
from push_proxy.core.model import Device
from push_proxy.core.payload import Push
from push_proxy.errors import ConfigurationError
from push_proxy.ports import TokenFate
from push_proxy.providers.registry import Providers
from push_proxy.providers.webhook import WebhookEndpoint, WebhookProvider, read_hmac_key
from push_proxy.runtime.clock import SystemClock
from tests.lab.ports import free_port
from tests.lab.push_sink import PushSink, Reply

APP = "com.example.phone"
KEY = b"webhook key of the test"
CLOCK = SystemClock()


def a_push(*, left_s: float = 15.0, app_id: str = APP) -> Push:
    now = CLOCK.now()
    return Push(
        id=PushId("p-1"),
        type=PushType.CALL,
        call=CallId("c-1"),
        sip_call_id="sip-1",
        device=Device(
            account=AccountKey("acme/alice"),
            device=DeviceId("phone"),
            provider="webhook",
            app_id=app_id,
            token="t-1",
        ),
        caller_number="100",
        caller_name="Jörg \udcff",
        video=False,
        sent_at=now,
        expires_at=Instant(now + left_s),
    )


@pytest.fixture
async def sink() -> AsyncIterator[PushSink]:
    async with PushSink(key=KEY) as made:
        yield made


def provider_for(url: str, **options: object) -> WebhookProvider:
    endpoint = WebhookEndpoint(app_id=APP, url=url, hmac_key=KEY)
    return WebhookProvider([endpoint], CLOCK, **options)  # type: ignore[arg-type]


@pytest.fixture
async def provider(sink: PushSink) -> AsyncIterator[WebhookProvider]:
    made = provider_for(sink.url, request_s=0.3)
    yield made
    await made.aclose()


async def test_signed_push_arrives(provider: WebhookProvider, sink: PushSink) -> None:
    """A push arrives once, as JSON, with a signature that verifies over its body."""
    result = await provider.send(a_push())
    assert (result.outcome, result.reason, result.attempts) == (
        PushOutcome.ACCEPTED,
        "http_200",
        1,
    )
    (push,) = sink.pushes
    assert push.signature_error == ""
    assert push.headers["Content-Type"] == "application/json"
    assert push.payload["token"] == "t-1"
    assert push.payload["caller_name"] == "Jörg ?"


async def test_times_are_the_worlds(sink: PushSink) -> None:
    """Our clock counts from its start: after a suspended machine or a late NTP step it is an hour
    behind, but a signature of then, or a push that has expired, would be turned down for ever.
    """

    class Behind(SystemClock):
        def now(self) -> Instant:
            return Instant(super().now() - 3600)

    behind = Behind()
    endpoint = WebhookEndpoint(app_id=APP, url=sink.url, hmac_key=KEY)
    provider = WebhookProvider([endpoint], behind)
    now = behind.now()
    try:
        await provider.send(replace(a_push(), sent_at=now, expires_at=Instant(now + 15)))
    finally:
        await provider.aclose()
    (push,) = sink.pushes
    assert push.signature_error == ""
    expires_in_s = datetime.fromisoformat(push.payload["expires_at"]).timestamp() - time.time()
    assert 10 < expires_in_s <= 15


@pytest.mark.parametrize(
    ("status", "outcome", "attempts"),
    [
        (204, PushOutcome.ACCEPTED, 1),
        (404, PushOutcome.REJECTED, 1),
        (410, PushOutcome.REJECTED, 1),
        (400, PushOutcome.MISCONFIGURED, 1),
        (401, PushOutcome.MISCONFIGURED, 1),
        (429, PushOutcome.UNAVAILABLE, 1),
        (500, PushOutcome.UNAVAILABLE, 2),
        (503, PushOutcome.UNAVAILABLE, 2),
    ],
)
async def test_statuses(
    provider: WebhookProvider, sink: PushSink, status: int, outcome: PushOutcome, attempts: int
) -> None:
    """Each class of answer is judged; only 5xx is tried again, once."""
    sink.reply = Reply(status=status)
    result = await provider.send(a_push())
    assert (result.outcome, result.reason) == (outcome, f"http_{status}")
    assert len(sink.pushes) == result.attempts == attempts
    assert (result.token is TokenFate.DEAD) is (outcome is PushOutcome.REJECTED)


async def test_resend_is_the_same_bytes(provider: WebhookProvider, sink: PushSink) -> None:
    """After a 500 the same body with the same ids and signature comes again and is accepted."""
    sink.replies.append(Reply(status=500))
    result = await provider.send(a_push())
    assert (result.outcome, result.attempts) == (PushOutcome.ACCEPTED, 2)
    first, second = sink.pushes
    assert first.body == second.body
    assert json.loads(first.body)["push_id"] == "p-1"


async def test_silence_is_resent_once(provider: WebhookProvider, sink: PushSink) -> None:
    """A server that hangs is given two requests of bounded length, then up."""
    sink.reply = Reply(hang=True)
    started = time.monotonic()
    result = await provider.send(a_push())
    assert (result.outcome, result.reason) == (PushOutcome.UNAVAILABLE, "timeout")
    assert result.attempts == len(sink.pushes) == 2
    assert 0.6 <= time.monotonic() - started < 5


async def test_hang_then_answer(provider: WebhookProvider, sink: PushSink) -> None:
    """Silence followed by an answer to the second request is a push accepted."""
    sink.replies.append(Reply(hang=True))
    assert (await provider.send(a_push())).outcome is PushOutcome.ACCEPTED


async def test_dropped_connection_is_resent(provider: WebhookProvider, sink: PushSink) -> None:
    """A connection closed without an answer (a stale kept one) costs one immediate resend."""
    sink.replies.append(Reply(drop=True))
    result = await provider.send(a_push())
    assert (result.outcome, result.attempts) == (PushOutcome.ACCEPTED, 2)
    assert result.elapsed_s < 1.0


async def test_server_restart_between_pushes(provider: WebhookProvider, sink: PushSink) -> None:
    """A backend that was restarted is reached by the next push."""
    await provider.send(a_push())
    await sink.stop()
    await sink.start()
    assert (await provider.send(a_push())).outcome is PushOutcome.ACCEPTED


async def test_never_beyond_expiry(sink: PushSink) -> None:
    """No request outlives the push, and an expired push is not sent at all."""
    provider = provider_for(sink.url)
    sink.reply = Reply(hang=True)
    started = time.monotonic()
    result = await provider.send(a_push(left_s=0.1))
    assert (result.reason, result.attempts) == ("timeout", 1)
    assert time.monotonic() - started < 2.0, "a request may take 2.5 s otherwise"
    result = await provider.send(a_push(left_s=-1))
    assert (result.outcome, result.reason) == (PushOutcome.UNAVAILABLE, "expired")
    assert len(sink.pushes) == 1
    await provider.aclose()


async def test_nobody_listens() -> None:
    """A refused connection is a result with a reason, not an exception, after one resend."""
    provider = provider_for(f"http://127.0.0.1:{free_port()}/")
    result = await provider.send(a_push())
    assert (result.outcome, result.reason, result.attempts) == (
        PushOutcome.UNAVAILABLE,
        "connect_failed",
        2,
    )
    await provider.aclose()


@pytest.mark.parametrize("url", ["http://", "http://[::1", "nonsense", "http://a..b/"])
async def test_bad_url_is_a_result(url: str) -> None:
    """A URL that cannot be used is a result too."""
    provider = provider_for(url)
    assert (await provider.send(a_push())).outcome is not PushOutcome.ACCEPTED
    await provider.aclose()


async def test_unknown_name() -> None:
    """A name that does not resolve is told as such."""
    provider = provider_for("http://nowhere.invalid/", request_s=2.0)
    assert (await provider.send(a_push())).reason in {"dns_failed", "timeout"}
    await provider.aclose()


async def test_redirect_is_not_followed(provider: WebhookProvider, sink: PushSink) -> None:
    """A redirect would carry the push token elsewhere: it is refused."""
    sink.reply = Reply(status=307, headers={"Location": sink.url})
    result = await provider.send(a_push())
    assert (result.outcome, result.reason) == (PushOutcome.MISCONFIGURED, "http_307")
    assert len(sink.pushes) == 1


async def test_long_or_endless_body_is_not_read() -> None:
    """An answer with an endless body is judged by its status, at once, and read no further."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                sent += 65536
        except ConnectionError:
            return response

    app = web.Application()
    app.router.add_post("/", endless)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    provider = provider_for(f"http://127.0.0.1:{port}/")
    result = await provider.send(a_push())
    assert (result.outcome, result.attempts) == (PushOutcome.ACCEPTED, 1)
    assert result.elapsed_s < 2.0
    assert sent < 50_000_000
    await provider.aclose()
    await runner.cleanup()


async def test_connection_is_kept(provider: WebhookProvider, sink: PushSink) -> None:
    """Pushes one after another use one connection, also when the answers have bodies."""
    peers: set[object] = set()

    async def note(_: object) -> None:
        assert sink._runner is not None
        assert sink._runner.server is not None
        peers.update(sink._runner.server.connections)

    sink.hook = note
    sink.reply = Reply(status=200, body=b'{"ok": true}' * 20)
    for _ in range(10):
        assert (await provider.send(a_push())).outcome is PushOutcome.ACCEPTED
    assert len(peers) == 1


async def test_untrusted_certificate(tmp_path: Path) -> None:
    """A certificate that nobody vouches for is refused, told, and not tried again."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    await asyncio.to_thread(
        subprocess.run,
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    taken = 0

    async def take(_: web.Request) -> web.Response:
        nonlocal taken
        taken += 1
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    stranger = provider_for(f"https://127.0.0.1:{port}/")
    result = await stranger.send(a_push())
    assert (result.outcome, result.reason, result.attempts) == (
        PushOutcome.MISCONFIGURED,
        "tls_failed",
        1,
    )
    assert taken == 0
    friend = provider_for(f"https://127.0.0.1:{port}/", ca_file=certificate)
    assert (await friend.send(a_push())).outcome is PushOutcome.ACCEPTED
    await stranger.aclose()
    await friend.aclose()
    await runner.cleanup()


async def test_many_at_once(sink: PushSink) -> None:
    """A hundred pushes at once all arrive, once each."""
    provider = provider_for(sink.url, request_s=10.0)
    results = await asyncio.gather(*(provider.send(a_push()) for _ in range(100)))
    assert {result.outcome for result in results} == {PushOutcome.ACCEPTED}
    assert len(sink.pushes) == 100
    await provider.aclose()


async def test_registry_finds_by_provider_and_app(provider: WebhookProvider) -> None:
    """A device gets its provider only when that serves its app."""
    providers = Providers([provider])
    device = a_push().device
    assert providers.for_device(device) is provider
    assert providers.for_device(replace(device, app_id="other")) is None
    assert providers.for_device(replace(device, provider="apns")) is None
    assert providers.serves("webhook", APP)
    await providers.aclose()
    assert not providers.serves("webhook", APP)


async def test_unknown_app_is_a_result(provider: WebhookProvider) -> None:
    """A push for an app that is not configured (any more) is a result, not an exception."""
    result = await provider.send(a_push(app_id="gone"))
    assert (result.outcome, result.attempts) == (PushOutcome.MISCONFIGURED, 0)


def test_key_file(tmp_path: Path) -> None:
    """A key file is read without its line end; a missing or short one is told by name."""
    path = tmp_path / "hmac.key"
    with pytest.raises(ConfigurationError, match=r"a\.key: cannot read"):
        read_hmac_key("a.key", path)
    path.write_text("abc\n")
    with pytest.raises(ConfigurationError, match=r"a\.key: .*too few"):
        read_hmac_key("a.key", path)
    path.write_text("0123456789\n")
    assert read_hmac_key("a.key", path) == b"0123456789"
