"""The directory: synchronous reads, write-through, bindings behind, expiry."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountId, AccountKey, DeviceId, Instant, TenantId
from push_proxy.core.model import Account, Address, Binding, Device
from push_proxy.errors import Conflict, PreconditionFailed, StoreUnavailable
from push_proxy.observability.metrics import Metrics
from push_proxy.runtime.changes import AccountChanged, BindingChanged, Change, DeviceChanged
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.gauges import count_directory
from push_proxy.runtime.write_behind import WriteBehind
from push_proxy.store.memory import MemoryStore

ALICE = AccountKey("acme/alice")
PHONE = DeviceId("phone")
FLOW = Address("192.0.2.7", 40000)


class HandClock:
    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> Instant:
        return Instant(self.at)


class FailingStore(MemoryStore):
    """A real memory store that can be cut off."""

    away = False

    async def put_account(self, account: Account, *, expected_version: int | None) -> None:
        if self.away:
            raise StoreUnavailable("cut off")
        await super().put_account(account, expected_version=expected_version)

    async def get_account(self, key: AccountKey) -> Account | None:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().get_account(key)

    async def put_binding(self, binding: Binding) -> bool:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().put_binding(binding)


def account(name: str = "alice", **changes: object) -> Account:
    base = Account(
        tenant=TenantId("acme"),
        account=AccountId(name),
        aor=f"sip:{name}@pbx.example.com",
        contact_token=f"token-{name}",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def device(key: AccountKey = ALICE, name: str = "phone", token: str = "t1") -> Device:
    return Device(
        account=key, device=DeviceId(name), provider="webhook", app_id="com.example", token=token
    )


def binding(clock: HandClock, *, expires_s: float = 60, source: Address = FLOW) -> Binding:
    return Binding(
        account=ALICE,
        device=PHONE,
        contact="sip:alice@192.0.2.7:40000",
        source=source,
        local=Address("127.0.0.1", 5060),
        call_id="c1",
        cseq=1,
        expires_at=Instant(clock.at + expires_s),
        route_key="00112233aabbccdd",
    )


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> FailingStore:
    return FailingStore(clock)


@pytest.fixture
async def directory(store: FailingStore, clock: HandClock) -> AsyncIterator[Directory]:
    made = Directory(store, clock)
    await made.load()
    yield made
    store.away = False
    await made.aclose()


async def test_finds_by_every_name(directory: Directory, clock: HandClock) -> None:
    """An account is found by key, AOR, contact token and user; a binding by flow and route key."""
    await directory.put_account(account())
    await directory.put_device(device())
    bound = binding(clock)
    directory.put_binding(bound)
    assert directory.account(ALICE) == account()
    assert directory.by_aor("sip:alice@pbx.example.com") == account()
    assert directory.by_contact_token("token-alice") == account()
    assert directory.by_user("alice") == (account(),)
    assert directory.device(ALICE, PHONE) == replace(device(), seen_at=clock.at)
    assert directory.by_flow(FLOW) == directory.bindings(ALICE) == (bound,)
    assert directory.by_route_key(bound.route_key) == bound


async def test_replacing_forgets_old_names(directory: Directory, clock: HandClock) -> None:
    """A changed AOR or flow is no longer found by its old name, and leaves nothing behind."""
    await directory.put_account(account())
    await directory.put_account(account(aor="sip:bob@pbx.example.com"))
    assert directory.by_aor("sip:alice@pbx.example.com") is None
    assert directory.by_user("alice") == ()
    directory.put_binding(binding(clock))
    directory.put_binding(binding(clock, source=Address("192.0.2.8", 1)))
    assert directory.by_flow(FLOW) == ()
    assert len(directory.by_flow(Address("192.0.2.8", 1))) == 1


async def test_refused_write_changes_nothing(directory: Directory, store: FailingStore) -> None:
    """When the store refuses or is away, memory stays as it was and no listener hears of it."""
    await directory.put_account(account())
    seen: list[Change] = []
    directory.subscribe(seen.append)
    with pytest.raises(Conflict, match="alice"):
        await directory.put_account(account("bob", aor=account().aor))
    store.away = True
    with pytest.raises(StoreUnavailable):
        await directory.put_account(account("carol"))
    assert directory.accounts() == (account(),)
    assert seen == []


async def test_doubtful_write_is_looked_up_again(directory: Directory, store: FailingStore) -> None:
    """A write that timed out but was done all the same appears once the store answers again."""
    store.away = True
    with pytest.raises(StoreUnavailable):
        await directory.put_account(account())
    store.away = False
    await store.put_account(account(), expected_version=0)
    assert await directory._writes.drained(5)
    assert directory.account(ALICE) == account()


async def test_binding_is_taken_while_store_is_away(
    directory: Directory, store: FailingStore, clock: HandClock
) -> None:
    """A REGISTER's binding counts at once; the newest is stored when the store returns."""
    await directory.put_account(account())
    store.away = True
    directory.put_binding(binding(clock))
    newest = binding(clock, expires_s=120)
    directory.put_binding(newest)
    assert directory.binding(ALICE, PHONE) == newest
    async with asyncio.timeout(5):
        while not directory.degraded:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    store.away = False
    assert await directory._writes.drained(5)
    assert await store.bindings(ALICE) == (newest,)
    assert not directory.degraded


async def test_expired_binding_vanishes_and_is_told(directory: Directory, clock: HandClock) -> None:
    """A binding past its time is not found, and listeners learn that it is gone, once."""
    await directory.put_account(account())
    bound = binding(clock)
    directory.put_binding(bound)
    refreshed = binding(clock, expires_s=90)
    directory.put_binding(refreshed)
    seen: list[Change] = []
    directory.subscribe(seen.append)
    clock.at += 61
    directory.expire()
    assert seen == []
    clock.at += 30
    assert directory.bindings(ALICE) == ()
    assert directory.by_flow(FLOW) == ()
    assert directory.by_route_key(bound.route_key) is None
    directory.expire()
    assert seen == [BindingChanged(refreshed, None)]


async def test_refreshes_leave_nothing_behind(directory: Directory, clock: HandClock) -> None:
    """A phone that registers every few seconds costs no more memory than any other."""
    await directory.put_account(account())
    for _ in range(100):
        clock.at += 5
        directory.put_binding(binding(clock, expires_s=3600))
        directory.expire()
    for _ in range(100):
        directory.delete_binding(ALICE, PHONE)
        directory.put_binding(binding(clock, expires_s=3600))
    assert len(directory._expiries) == 1
    shorter = binding(clock, expires_s=60)
    directory.put_binding(shorter)
    seen: list[Change] = []
    directory.subscribe(seen.append)
    clock.at += 61
    directory.expire()
    assert seen == [BindingChanged(shorter, None)]
    clock.at += 3600
    directory.expire()
    assert directory._expiries == []
    assert directory._awaited == {}


async def test_deletion_tells_from_binding_to_account(
    directory: Directory, clock: HandClock
) -> None:
    """Deleting an account removes binding, device and account, in that order."""
    await directory.put_account(account())
    await directory.put_device(device())
    directory.put_binding(binding(clock))
    seen: list[Change] = []
    directory.subscribe(seen.append)
    assert await directory.delete_account(ALICE)
    assert [type(change) for change in seen] == [BindingChanged, DeviceChanged, AccountChanged]
    assert not await directory.delete_account(ALICE)


async def test_exclusive_token_leaves_other_device(directory: Directory) -> None:
    """The same app and token registered elsewhere removes the old device from memory as well."""
    await directory.put_account(account())
    await directory.put_account(account("bob"))
    await directory.put_device(device())
    bob = AccountKey("acme/bob")
    assert (await directory.put_device(device(bob))).moved == ((ALICE, PHONE),)
    assert directory.devices(ALICE) == ()
    assert directory.device(bob, PHONE) == device(bob)


async def test_sign_of_life_only_on_the_flow(directory: Directory, clock: HandClock) -> None:
    """SIP from the binding's own address refreshes it; from another address it does not."""
    await directory.put_account(account())
    bound = binding(clock)
    directory.put_binding(bound)
    later = Instant(clock.at + 5)
    directory.heard(bound.route_key, Address("203.0.113.9", 9), later)
    assert directory.bindings(ALICE)[0].heard_at == 0
    directory.heard(bound.route_key, FLOW, later)
    assert directory.bindings(ALICE)[0].heard_at == later


async def test_restart_finds_everything(
    directory: Directory, store: FailingStore, clock: HandClock
) -> None:
    """A new directory on the same store knows accounts, devices and bindings."""
    await directory.put_account(account())
    await directory.put_device(device())
    directory.put_binding(binding(clock))
    assert await directory._writes.drained(5)
    again = Directory(store, clock)
    await again.load()
    assert again.bindings(ALICE) == (binding(clock),)
    assert again.devices(ALICE) == (replace(device(), seen_at=clock.at),)
    await again.aclose()


async def test_failing_listener_does_not_stop_others(directory: Directory) -> None:
    """One listener's exception keeps no other from hearing, nor the writer from its result."""

    def fails(change: Change) -> None:
        raise ValueError(change)

    seen: list[Change] = []
    directory.subscribe(fails)
    directory.subscribe(seen.append)
    await directory.put_account(account())
    assert seen == [AccountChanged(None, account())]


async def test_bad_job_does_not_block_others() -> None:
    """A write that can never succeed is given up; those behind it are done."""
    done: list[str] = []

    async def bad() -> None:
        raise ValueError("cannot be encoded")

    async def good() -> None:
        done.append("good")

    writes = WriteBehind("test")
    writes.submit("a", bad)
    writes.submit("b", good)
    assert await writes.drained(5)
    assert done == ["good"]
    await writes.aclose()


async def test_gauges_follow_the_directory(directory: Directory, clock: HandClock) -> None:
    """Devices by platform and bindings are counted from the load on, up and down."""
    await directory.put_account(account())
    await directory.put_device(replace(device(), platform="ios"))
    metrics = Metrics()
    count_directory(directory, metrics)
    directory.put_binding(binding(clock))
    await directory.put_device(replace(device(), platform="android"))
    text = metrics.render().decode()
    assert 'push_proxy_devices{platform="android"} 1.0' in text
    assert 'push_proxy_devices{platform="ios"} 0.0' in text
    assert "push_proxy_bindings 1.0" in text
    await directory.delete_account(ALICE)
    text = metrics.render().decode()
    assert 'push_proxy_devices{platform="android"} 0.0' in text
    assert "push_proxy_bindings 0.0" in text


class DoubtfulStore(MemoryStore):
    """Does what it is asked, and says once that it may not have."""

    doubtful = False

    async def put_device(
        self, device: Device, *, expected_version: int | None
    ) -> Sequence[tuple[AccountKey, DeviceId]]:
        removed = await super().put_device(device, expected_version=expected_version)
        self._doubt()
        return removed

    async def put_account(self, account: Account, *, expected_version: int | None) -> None:
        await super().put_account(account, expected_version=expected_version)
        self._doubt()

    def _doubt(self) -> None:
        if self.doubtful:
            self.doubtful = False
            raise StoreUnavailable("no answer")


async def test_change_after_a_doubtful_write_begins_from_what_is_stored() -> None:
    """Who repeats a change at once, after a timeout that did it all the same, is told the version
    that there is, and what is in memory is that one: the next try needs no luck.
    """
    clock = HandClock()
    store = DoubtfulStore(clock)
    directory = Directory(store, clock)
    first = account()
    await directory.put_account(first)
    phone = Device(
        account=ALICE, device=PHONE, provider="webhook", app_id="app", token="t-1", version=1
    )
    await directory.put_device(phone)
    store.doubtful = True
    with pytest.raises(StoreUnavailable):
        await directory.put_device(replace(phone, token="t-2", version=2), expected_version=1)
    assert directory.device(ALICE, PHONE) == phone, "memory does not know yet"
    with pytest.raises(PreconditionFailed):
        await directory.put_device(replace(phone, token="t-3", version=2), expected_version=1)
    known = directory.device(ALICE, PHONE)
    assert known is not None
    assert (known.token, known.version) == ("t-2", 2)
    await directory.put_device(replace(known, token="t-3", version=3), expected_version=2)
    store.doubtful = True
    with pytest.raises(StoreUnavailable):
        await directory.put_account(replace(first, version=2), expected_version=1)
    with pytest.raises(PreconditionFailed):
        await directory.put_account(replace(first, version=2), expected_version=1)
    found = directory.account(ALICE)
    assert found is not None
    assert found.version == 2
    await directory.aclose()
