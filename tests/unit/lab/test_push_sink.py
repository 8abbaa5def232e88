"""The webhook receiver records, verifies and misbehaves as told."""

import asyncio
import hashlib
import hmac
import time

import aiohttp
import pytest

from tests.lab.push_sink import SIGNATURE_HEADER, Push, PushSink, Reply

BODY = b'{"type": "call", "call_id": "c1"}'


def signed(sink: PushSink, body: bytes, at: float) -> dict[str, str]:
    moment = int(at)
    mac = hmac.new(sink.key, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return {SIGNATURE_HEADER: f"t={moment},sha256={mac}"}


async def post(sink: PushSink, headers: dict[str, str], *, within_s: float = 5) -> int:
    timeout = aiohttp.ClientTimeout(total=within_s)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(sink.url, data=BODY, headers=headers) as response,
    ):
        return response.status


async def test_records_and_verifies(push_sink: PushSink) -> None:
    """A right signature is right; another body, key or time is not."""
    now = time.time()
    assert await post(push_sink, signed(push_sink, BODY, now)) == 200
    await post(push_sink, signed(push_sink, b"other", now))
    await post(push_sink, signed(push_sink, BODY, now - 3600))
    await post(push_sink, {})
    errors = [push.signature_error for push in await push_sink.wait(4, kind="call")]
    assert errors[0] == ""
    assert all(errors[1:])
    assert push_sink.pushes[0].call_id == "c1"


async def test_misbehaves_in_turn(push_sink: PushSink) -> None:
    """One-shot replies come in order: an error, a drop, a hang; then all is well again."""
    push_sink.replies += [Reply(status=410), Reply(drop=True), Reply(hang=True)]
    assert await post(push_sink, {}) == 410
    with pytest.raises(aiohttp.ClientError):
        await post(push_sink, {})
    with pytest.raises(TimeoutError):
        await post(push_sink, {}, within_s=0.2)
    assert await post(push_sink, {}) == 200


async def test_slow(push_sink: PushSink) -> None:
    """`after_s` delays the answer, not the record."""
    push_sink.reply = Reply(after_s=0.3)
    await post(push_sink, {})
    assert time.monotonic() - push_sink.pushes[0].arrived_s >= 0.3


async def test_hook_runs_before_the_answer(push_sink: PushSink) -> None:
    """The hook has finished when the push returns."""
    done: list[str] = []

    async def wake(push: Push) -> None:
        await asyncio.sleep(0)
        done.append(push.call_id)

    push_sink.hook = wake
    await post(push_sink, {})
    assert done == ["c1"]


async def test_unreachable_and_back(push_sink: PushSink) -> None:
    """Stopped, it refuses connections; started again, it has the same address."""
    url = push_sink.url
    await push_sink.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(push_sink, {})
    await push_sink.start()
    assert push_sink.url == url
    assert await post(push_sink, {}) == 200
