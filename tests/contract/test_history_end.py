"""In Redis an account's calls end together, not before the newest one's time; so do recordings."""

from collections.abc import Awaitable, Callable

import pytest

from push_proxy.ports import Store
from push_proxy.recording_ports import PackedRecording
from push_proxy.store import keys
from push_proxy.store.redis import RedisStore

from .conftest import HISTORY, HandClock
from .samples import ALICE, account, call

KEEP_S = HISTORY.keep_s
Put = Callable[[Store, str, float], Awaitable[None]]


async def put_call(store: Store, name: str, at: float) -> None:
    await store.put_call(call(at, name))


async def put_recording(store: Store, name: str, at: float) -> None:
    record = call(at, name)
    packed = PackedRecording(account=ALICE, call=record.id, at=record.started_at, packed=b"SIP")
    await store.put_recordings([packed], keep_s=KEEP_S)


@pytest.mark.parametrize(
    ("put", "places"),
    [
        (put_call, (keys.calls(ALICE), keys.records(ALICE))),
        (put_recording, keys.recordings(ALICE)),
    ],
    ids=["calls", "recordings"],
)
async def test_a_later_one_moves_the_end_of_all(
    store: Store, clock: HandClock, put: Put, places: tuple[str, str]
) -> None:
    """One that comes a moment later moves nothing."""
    if not isinstance(store, RedisStore):
        return
    await store.put_account(account("alice"), expected_version=None)
    ends = []
    for name, later_s in (("first", 0.0), ("a moment later", 1.0), ("later", KEEP_S / 2)):
        clock.at += later_s
        await put(store, name, clock.at)
        both = [await store._client.call("PEXPIRETIME", place) for place in places]
        assert min(both) >= (clock.at + KEEP_S) * 1000
        ends.append(both)
    assert ends[0] == ends[1] < ends[2]
