"""What every store promises of recordings of calls: memory, Valkey and Redis."""

from push_proxy.core.ids import AccountKey, CallId
from push_proxy.ports import Store
from push_proxy.recording_ports import PackedRecording
from push_proxy.store import keys
from push_proxy.store.redis import RedisStore
from push_proxy.store.search import HistoryLimits
from push_proxy.store.secrets import KeyRing

from .conftest import RING, HandClock
from .samples import ALICE, BOB, account

KEEP_S = 600.0
MOST = HistoryLimits().recordings_per_account


def recording(at: float, name: str = "call-1", key: AccountKey = ALICE) -> PackedRecording:
    return PackedRecording(
        account=key,
        call=CallId(name),
        at=at,
        packed=f"the SIP of {name}".encode() + bytes(range(9)),
    )


async def with_accounts(store: Store) -> None:
    for name in ("alice", "bob"):
        await store.put_account(account(name), expected_version=None)


async def kept(store: Store, name: str, key: AccountKey = ALICE) -> bool:
    return await store.get_recording(key, CallId(name)) is not None


async def test_recordings_come_back_whole(store: Store, clock: HandClock) -> None:
    """As written, each in its account alone; written again it is replaced."""
    await with_accounts(store)
    ours, others = recording(clock.at), recording(clock.at, "call-2", BOB)
    await store.put_recordings([ours, others], keep_s=KEEP_S)
    assert await store.get_recording(ALICE, ours.call) == ours.packed
    assert await store.get_recording(BOB, others.call) == others.packed
    assert not await kept(store, "call-2")
    assert not await kept(store, "call-3")
    anew = PackedRecording(account=ALICE, call=ours.call, at=clock.at, packed=b"anew")
    await store.put_recordings([anew], keep_s=KEEP_S)
    assert await store.get_recording(ALICE, ours.call) == b"anew"
    await store.put_recordings([], keep_s=KEEP_S)


async def test_recordings_go_after_their_time(store: Store, clock: HandClock) -> None:
    """``keep_s`` after their call's begin, by our clock; a later one does not prolong them."""
    await with_accounts(store)
    await store.put_recordings([recording(clock.at, "old")], keep_s=KEEP_S)
    clock.at += KEEP_S / 2
    await store.put_recordings([recording(clock.at, "new")], keep_s=KEEP_S)
    assert await kept(store, "old")
    clock.at += KEEP_S / 2 + 1
    assert not await kept(store, "old")
    assert await kept(store, "new")
    # The next one also clears the old one's place.
    await store.put_recordings([recording(clock.at, "newer")], keep_s=KEEP_S)
    if isinstance(store, RedisStore):
        order, data = keys.recordings(ALICE)
        assert sorted(await store._client.call("HKEYS", data)) == [b"new", b"newer"]
        assert await store._client.call("ZCARD", order) == 2
        assert 0 < await store._client.call("PTTL", data) <= KEEP_S * 1000 * 3


async def test_an_account_has_so_many_recordings(store: Store, clock: HandClock) -> None:
    """The oldest calls' go."""
    await with_accounts(store)
    many = [recording(clock.at + number, f"call-{number}") for number in range(MOST + 2)]
    await store.put_recordings(many, keep_s=KEEP_S)
    there = [await kept(store, each.call) for each in (many[0], many[1], many[2], many[-1])]
    assert there == [False, False, True, True]


async def test_recordings_go_with_their_account(store: Store, clock: HandClock) -> None:
    """Nothing of them is left; one that comes after the account is not kept."""
    await with_accounts(store)
    both = [recording(clock.at), recording(clock.at, "call-2", BOB)]
    await store.put_recordings(both, keep_s=KEEP_S)
    await store.delete_account(ALICE)
    await store.put_recordings([recording(clock.at, "late")], keep_s=KEEP_S)
    await store.put_account(account("alice"), expected_version=0)
    assert not await kept(store, "call-1")
    assert not await kept(store, "late")
    assert await kept(store, "call-2", BOB)


async def test_recordings_are_sealed(store: Store, clock: HandClock) -> None:
    """Nobody reads them in Redis; resealed they need the old key no more."""
    await with_accounts(store)
    await store.put_recordings([recording(clock.at)], keep_s=KEEP_S)
    if not isinstance(store, RedisStore):
        return
    _, data = keys.recordings(ALICE)
    stored = await store._client.call("HGET", data, "call-1")
    assert b"SIP" not in stored
    old = store._codec.ring
    both = KeyRing({"new": b"n" * 32, "test": b"k" * 32})
    object.__setattr__(store._codec, "ring", both)
    await store.reseal()
    object.__setattr__(store._codec, "ring", KeyRing({"new": b"n" * 32}))
    assert await kept(store, "call-1")
    object.__setattr__(store._codec, "ring", old)
    assert RING is old
