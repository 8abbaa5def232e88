"""Each fault of firebase-admin and httpx that was measured is gone, and stays away."""

from __future__ import annotations

import asyncio
import time

import httpx

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.providers.fcm_lines import AT_ONCE
from push_proxy.providers.registry import Providers
from push_proxy.providers.webhook import WebhookEndpoint, WebhookProvider
from push_proxy.tasks import spawn
from tests.doubles.fcm import FcmDouble, error, errors, held, refused, silence
from tests.lab.process import poll_until
from tests.lab.push_sink import PushSink

from .fcm_pushes import APP, CLOCK, a_provider, a_push, brief


async def test_no_seven_seconds_of_repeats(fcm: FcmDouble) -> None:
    """503 is repeated by nobody but us: two requests, and the answer within a second. The SDK alone
    sends five in seven seconds.
    """
    fcm.always = error("UNAVAILABLE")
    provider = a_provider(fcm)
    began = time.monotonic()
    assert brief(await provider.send(a_push(fcm.device()))) == ("unavailable", "UNAVAILABLE", 2)
    assert time.monotonic() - began < 5
    assert len(fcm.requests) == 2
    await provider.aclose()


async def test_no_two_minutes_of_silence(fcm: FcmDouble) -> None:
    """A request without an answer ends when its time is over, not after 120 s; the push's end is an
    end for both of them.
    """
    fcm.always = silence()
    provider = a_provider(fcm, request_s=0.3)
    result = await provider.send(a_push(fcm.device(), left_s=0.5))
    assert (result.outcome, result.reason) == (PushOutcome.UNAVAILABLE, "timeout")
    assert len(fcm.requests) == 2
    await provider.aclose()


async def test_refused_access_token_is_renewed_once(fcm: FcmDouble) -> None:
    """401 costs one new access token and one more request, also for many pushes at once; the SDK
    alone fetches two by force and sends three.
    """
    provider, phone = a_provider(fcm), fcm.device()
    await provider.send(a_push(phone))
    fcm.revoke_tokens()
    results = await asyncio.gather(*(provider.send(a_push(phone)) for _ in range(20)))
    assert {brief(each) for each in results} == {("accepted", "http_200", 2)}
    assert len(fcm.oauth_requests) == 2
    assert len(fcm.requests) == 1 + 40
    fcm.always = refused(errors.unauthenticated("ACCESS_TOKEN_EXPIRED"))
    assert brief(await provider.send(a_push(phone))) == ("misconfigured", "UNAUTHENTICATED", 2)
    assert (len(fcm.requests), len(fcm.oauth_requests)) == (43, 3)
    await provider.aclose()


async def test_oauth_holds_up_nothing(fcm: FcmDouble) -> None:
    """While Google's OAuth server keeps its answer, the event loop runs, another provider's push
    goes through, and a push by FCM waits for it: it leaves as soon as the answer comes.
    """
    release = asyncio.Event()
    fcm.oauth_next(held(release))
    async with PushSink(key=b"webhook key of the test") as sink:
        endpoint = WebhookEndpoint(app_id=APP, url=sink.url, hmac_key=sink.key)
        webhook, provider = WebhookProvider([endpoint], CLOCK), a_provider(fcm, request_s=0.3)
        push = a_push(fcm.device())
        waiting = spawn(provider.send(push), name="a push that waits")
        await fcm.wait_oauth(1)
        # Longer than a request may take: the push's own time counts.
        turns, until = 0, time.monotonic() + 0.7
        while time.monotonic() < until:
            await asyncio.sleep(0)
            turns += 1
        assert (await webhook.send(push)).outcome is PushOutcome.ACCEPTED
        assert not waiting.done()
        assert fcm.requests == []
        release.set()
        result = await waiting
        assert brief(result) == ("accepted", "http_200", 1)
        assert result.elapsed_s >= 0.7
        assert turns > 50
        await webhook.aclose()
        await provider.aclose()


async def test_oauth_that_hangs_for_good(fcm: FcmDouble) -> None:
    """A push that gets no access token ends in its time, with nothing sent; closing does not wait
    for Google.
    """
    fcm.oauth_always = silence()
    provider = a_provider(fcm)
    result = await provider.send(a_push(fcm.device(), left_s=0.5))
    assert brief(result) == ("unavailable", "oauth_timeout", 0)
    assert fcm.requests == []
    assert len(fcm.oauth_requests) == 1
    async with asyncio.timeout(5):
        await provider.aclose()


async def test_reload_in_a_running_loop(fcm: FcmDouble) -> None:
    """A provider for the same service account replaces the former one inside the event loop, while
    a push is on its way; both do their work. `delete_app` cannot be called there at all.
    """
    release, phone = asyncio.Event(), fcm.device()
    former, new = a_provider(fcm), a_provider(fcm)
    providers = Providers([former])
    fcm.next(held(release))
    with providers.in_use(former):
        under_way = spawn(former.send(a_push(phone)), name="a push under way")
        await fcm.wait(1)
        providers.replace([new])
        assert (await new.send(a_push(phone))).outcome is PushOutcome.ACCEPTED
        release.set()
        assert brief(await under_way) == ("accepted", "http_200", 1)
    assert await poll_until(lambda: len(fcm.open_lines) == 2, within_s=2), "the new one's are left"
    await providers.aclose()
    assert await poll_until(lambda: not fcm.open_lines, within_s=2)


async def test_three_hundred_at_once(fcm: FcmDouble) -> None:
    """300 pushes at once all go through with one request each, however long the first wait: 180 are
    on their way together on two connections, the others take their turn, and that time is not
    taken from their requests. httpx alone lost 40.
    """
    release = asyncio.Event()
    fcm.always = held(release)
    provider = a_provider(fcm, request_s=20.0)
    phones = [fcm.device() for _ in range(300)]
    sending = [
        spawn(provider.send(a_push(phone, left_s=60.0)), name="one of 300") for phone in phones
    ]
    await fcm.wait(AT_ONCE, within=60)
    await asyncio.sleep(0.1)
    assert len(fcm.requests) == AT_ONCE == 180
    assert not any(each.done() for each in sending)
    release.set()
    results = await asyncio.gather(*sending)
    assert {brief(each) for each in results} == {("accepted", "http_200", 1)}
    assert all(len(phone.received) == 1 for phone in phones)
    assert len({each.connection for each in fcm.requests}) == 2
    assert (len(fcm.oauth_requests), fcm.faults) == (1, [])
    await provider.aclose()


async def test_its_turn_never_came(fcm: FcmDouble) -> None:
    """A push behind too many that get no answer ends in its time, with nothing sent."""
    fcm.always = silence()
    provider, phone = a_provider(fcm, request_s=20.0), fcm.device()
    crowd = [
        spawn(provider.send(a_push(phone, left_s=60.0)), name="one of the crowd")
        for _ in range(AT_ONCE)
    ]
    await fcm.wait(AT_ONCE, within=60)
    result = await provider.send(a_push(phone, left_s=0.5))
    assert brief(result) == ("unavailable", "expired", 0)
    assert len(fcm.requests) == AT_ONCE
    for each in crowd:
        each.cancel()
    await asyncio.wait(crowd)
    await provider.aclose()


async def test_pushes_that_wait_to_be_repeated_hold_up_no_call(fcm: FcmDouble) -> None:
    """However many pushes wait as long as FCM asked them to, a call's push is sent at once."""
    patient, phone = fcm.device(), fcm.device()
    fcm.always_for(patient.token, error("UNAVAILABLE", retry_after=30))
    provider = a_provider(fcm)
    crowd = [
        spawn(provider.send(a_push(patient, PushType.MISSED, left_s=86_400.0)), name="patient")
        for _ in range(AT_ONCE)
    ]
    await fcm.wait(AT_ONCE, within=60)
    await asyncio.sleep(0.2)
    assert not any(each.done() for each in crowd)
    async with asyncio.timeout(2):
        assert brief(await provider.send(a_push(phone))) == ("accepted", "http_200", 1)
    for each in crowd:
        each.cancel()
    await asyncio.wait(crowd)
    await provider.aclose()


async def test_a_late_answer_spoils_nothing(fcm: FcmDouble) -> None:
    """One push gets no answer; others on the same connection, begun before its end, get theirs
    there; those begun after it go elsewhere. httpx alone fails all of them together.
    """
    release, provider = asyncio.Event(), a_provider(fcm, request_s=0.4)
    unlucky, lucky, later = fcm.device(), fcm.device(), fcm.device()
    await provider.send(a_push(later))
    fcm.for_token(unlucky.token, silence(), silence())
    failing = spawn(provider.send(a_push(unlucky)), name="a push without an answer")
    await fcm.wait(2)
    await asyncio.sleep(0.2)
    fcm.for_token(lucky.token, held(release))
    waiting = spawn(provider.send(a_push(lucky)), name="a push with a late answer")
    await fcm.wait(1, where=lambda each: each.token == unlucky.token and each.connection != 2)
    release.set()
    assert brief(await waiting) == ("accepted", "http_200", 1)
    assert (await failing).reason == "timeout"
    assert brief(await provider.send(a_push(later))) == ("accepted", "http_200", 1)
    connections = [each.connection for each in fcm.requests if each.token == later.token]
    assert connections[0] != connections[1]
    assert fcm.faults == []
    await provider.aclose()


async def test_a_cancelled_push_spoils_nothing(fcm: FcmDouble) -> None:
    """A caller hangs up while his push is on its way, again and again: the connection goes on, and
    no half of a frame is ever seen.
    """
    provider, phone = a_provider(fcm), fcm.device()
    await provider.send(a_push(phone))
    for turns in range(30):
        sending = spawn(provider.send(a_push(phone)), name="a push that is cancelled")
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
    assert brief(await provider.send(a_push(phone))) == ("accepted", "http_200", 1)
    assert {each.connection for each in fcm.requests} == {fcm.requests[0].connection}
    assert fcm.faults == []
    await provider.aclose()


async def test_frozen_connection(fcm: FcmDouble) -> None:
    """A connection that is dead without a word (NAT) costs one request's time; the second goes by
    another one.
    """
    provider, phone = a_provider(fcm, request_s=0.3), fcm.device()
    await provider.send(a_push(phone))
    fcm.freeze_connections()
    assert brief(await provider.send(a_push(phone))) == ("accepted", "http_200", 2)
    await provider.aclose()


async def test_connections_that_google_closes(fcm: FcmDouble) -> None:
    """After GOAWAY between two pushes the next one arrives, once."""
    provider, phone = a_provider(fcm), fcm.device()
    await provider.send(a_push(phone))
    fcm.go_away()
    assert (await provider.send(a_push(phone))).outcome is PushOutcome.ACCEPTED
    assert len(phone.received) == 2
    await provider.aclose()


async def test_goaway_in_the_middle(fcm: FcmDouble) -> None:
    """GOAWAY while pushes are on their way: each is answered in the end. httpx gives those up that
    the server would have answered; what is sent again is the same push, so that the app can tell.
    """
    release, provider = asyncio.Event(), a_provider(fcm)
    phones = [fcm.device() for _ in range(20)]
    for phone in phones:
        fcm.for_token(phone.token, held(release))
    sending = [spawn(provider.send(a_push(phone)), name="one of 20") for phone in phones]
    await fcm.wait(20)
    assert fcm.go_away() == 1
    release.set()
    results = await asyncio.gather(*sending)
    assert {each.outcome for each in results} == {PushOutcome.ACCEPTED}
    assert max(each.attempts for each in results) <= 2
    assert all(len({each.data["push_id"] for each in phone.received}) == 1 for phone in phones)
    await provider.aclose()


async def test_closing_in_the_middle(fcm: FcmDouble) -> None:
    """Closing ends pushes under way as failed, not as cancelled, and leaves nothing open."""
    fcm.always = silence()
    provider = a_provider(fcm)
    sending = spawn(provider.send(a_push(fcm.device(), left_s=2.0)), name="a push under way")
    await fcm.wait(1)
    await provider.aclose()
    assert (await sending).outcome is PushOutcome.UNAVAILABLE
    assert (await provider.send(a_push(fcm.device()))).reason == "disconnected"
    assert await poll_until(lambda: not fcm.open_lines, within_s=2)


async def test_httpx_alone_has_the_fault() -> None:
    """The reason for our own connections stands: httpx keeps one exception for a whole one."""
    import inspect

    from httpcore._async.http2 import AsyncHTTP2Connection

    source = inspect.getsource(AsyncHTTP2Connection._read_incoming_data)
    assert "self._read_exception = exc" in source, f"httpx {httpx.__version__}: fcm_lines.py can go"
