"""runtime.wake_history: kept behind every call, read back after a restart, told once."""

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from push_proxy.core.ids import AccountKey, CallId, DeviceId, TenantId
from push_proxy.core.model import Verdict
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.core.wake_health import Standing, WakeEnd, WakeResult
from push_proxy.errors import StoreUnavailable
from push_proxy.observability.metrics import Metrics
from push_proxy.runtime import wake_history
from push_proxy.runtime.wake_history import WakeHistory
from push_proxy.runtime.wake_latency import BUCKETS_S, WakeLatencies, quantile
from tests.scenarios.fake_service import KEY, FakeService

PHONE, TABLET = DeviceId("phone"), DeviceId("tablet")
ACME = TenantId("acme")


class Store:
    """The memory store, sometimes away; counts what is asked."""

    def __init__(self, service: FakeService) -> None:
        self._store = service.store
        self.away = False
        self.reads = 0
        self.writes = 0

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")

    async def put_wakes(
        self,
        key: AccountKey,
        device: DeviceId,
        results: Sequence[WakeResult],
        *,
        after: CallId | None,
    ) -> bool:
        self._answer()
        self.writes += 1
        return await self._store.put_wakes(key, device, results, after=after)

    async def wakes(self, key: AccountKey, device: DeviceId) -> tuple[WakeResult, ...]:
        self._answer()
        self.reads += 1
        return await self._store.wakes(key, device)

    async def wakes_of_account(self, key: AccountKey) -> Mapping[DeviceId, tuple[WakeResult, ...]]:
        self._answer()
        self.reads += 1
        return await self._store.wakes_of_account(key)

    async def not_waking(self) -> tuple[tuple[AccountKey, DeviceId], ...]:
        self._answer()
        return await self._store.not_waking()


class Scene:
    """One account and its calls; `start` is also what a restart is."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.store = Store(service)
        self.notices: list[Notice] = []
        self.calls = 0
        self.start()

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)

    def start(self) -> None:
        self.metrics = Metrics()
        self.latencies = WakeLatencies(self.service.clock)
        self.history = WakeHistory(
            store=self.store,
            directory=self.service.directory,
            notices=self,
            clock=self.service.clock,
            metrics=self.metrics.wakes,
            latencies=self.latencies,
        )
        self.service.wakes.outcomes.watcher = self.history
        self.history.start()

    async def call(self, *comes: str) -> CallId:
        """A call to all devices; those named register after 2 s, the others not in time."""
        self.calls += 1
        txn = self.service.invite(call_id=f"sip-{self.calls}")
        await self.service.settled()
        call = self.service.box.got[-1].call
        await self.service.pass_time(2)
        for name in comes:
            self.service.register(name)
        if comes:
            self.service.sip.respond(txn, self.service.sip.forks(txn)[0].branch, 180)
            self.service.sip.respond(txn, self.service.sip.forks(txn)[0].branch, 200)
        else:
            await self.service.pass_time(20)
        for name in comes:
            # Asleep again, and long enough for the next call not to find it fresh.
            self.service.directory.delete_binding(KEY, DeviceId(name))
            self.service.wakes.unregistered(KEY, DeviceId(name))
        await self.service.pass_time(60)
        return call

    def told(self) -> list[tuple[str, str | None]]:
        return [(notice.type.value, notice.device) for notice in self.notices]

    def gauge(self) -> float:
        (line,) = [
            line
            for line in self.metrics.render().decode().splitlines()
            if line.startswith("push_proxy_devices_not_waking ")
        ]
        return float(line.rpartition(" ")[2])


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with FakeService() as service:
        await service.device("phone", vendor="Xiaomi")
        made = Scene(service)
        yield made
        made.store.away = False
        await made.history.aclose()


async def test_every_wake_is_kept(scene: Scene) -> None:
    """With what it came to, the newest first; two devices of one call each for itself."""
    await scene.service.device("tablet", token="tok-2")
    first = await scene.call("phone", "tablet")
    second = await scene.call("tablet")
    (phone_2, phone_1) = await scene.history.of_device(KEY, PHONE)
    assert (phone_1.call, phone_1.end, phone_1.verdict) == (first, WakeEnd.WOKE, Verdict.ANSWERED)
    assert (phone_1.wake_s, phone_1.provider) == (2.0, "webhook")
    # The tablet answered after two seconds: that says nothing of the phone.
    assert (phone_2.call, phone_2.end) == (second, WakeEnd.NO_EVIDENCE)
    assert [each.woke for each in await scene.history.of_device(KEY, TABLET)] == [True, True]
    third = await scene.call()
    newest = (await scene.history.of_device(KEY, PHONE))[0]
    assert (newest.call, newest.end, newest.verdict) == (third, WakeEnd.FAILED, Verdict.NOT_WOKEN)
    found = await scene.history.of_account(KEY)
    assert (found[PHONE].wakes, found[PHONE].woken, found[PHONE].last_failure) == (2, 1, newest)


async def test_who_stops_is_told_once_and_who_returns(scene: Scene) -> None:
    """Event, gauge and counter: at the third failure, and at the second wake after it."""
    for _ in range(3):
        await scene.call("phone")
    for _ in range(5):
        await scene.call()
    assert scene.told() == [("device.stopped_waking", "phone")]
    (stopped,) = scene.notices
    assert stopped.account == KEY
    assert dict(stopped.data) == {
        "call_id": (await scene.history.of_device(KEY, PHONE))[2].call,
        "provider": "webhook",
        "app_id": "com.example.phone",
        "platform": "android",
        "vendor": "Xiaomi",
        "verdict": "not_woken",
        "failed_in_a_row": "3",
    }
    assert (scene.gauge(), scene.history.not_waking(ACME)) == (1, 1)
    await scene.call("phone")
    assert len(scene.notices) == 1
    await scene.call("phone")
    assert scene.told()[1:] == [("device.wakes_again", "phone")]
    assert scene.notices[1].data["wake_ms"] == "2000"
    assert scene.gauge() == 0
    text = scene.metrics.render().decode()
    assert 'push_proxy_device_turns_total{turn="stopped"} 1.0' in text
    assert 'push_proxy_device_turns_total{turn="returned"} 1.0' in text


async def test_a_restart_goes_on(scene: Scene) -> None:
    """Two failures before it and one after it are three; who had stopped still has."""
    for comes in (["phone"], ["phone"], ["phone"], [], []):
        await scene.call(*comes)
    await scene.history.aclose()
    scene.start()
    await scene.call()
    assert scene.told() == [("device.stopped_waking", "phone")]
    await scene.history.aclose()
    scene.start()
    await scene.service.settled()
    assert scene.gauge() == 1
    await scene.call()
    await scene.call("phone")
    await scene.call("phone")
    assert [kind for kind, _ in scene.told()] == ["device.stopped_waking", "device.wakes_again"]
    assert scene.gauge() == 0


async def test_the_store_is_away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call waits; a warning does not either; what happened is written when it is back."""
    for _ in range(3):
        await scene.call("phone")
    scene.store.away = True
    for _ in range(3):
        await scene.call()
    assert scene.told() == [("device.stopped_waking", "phone")]
    summary = (await scene.history.of_account(KEY))[PHONE]
    assert (summary.wakes, summary.standing) == (6, Standing.STOPPED)
    with pytest.raises(StoreUnavailable):
        await scene.history.of_device(KEY, PHONE)
    scene.store.away = False
    assert await scene.history._writes.drained(10)
    assert len(await scene.service.store.wakes(KEY, PHONE)) == 6


async def test_unread_while_the_store_is_away(scene: Scene) -> None:
    """Wakes of a device of which nothing is known yet are judged when its past can be read."""
    for _ in range(3):
        await scene.call("phone")
    await scene.history.aclose()
    scene.store.away = True
    scene.start()
    for _ in range(3):
        await scene.call()
    assert scene.notices == []
    assert await scene.history.of_account(KEY) == {}
    scene.store.away = False
    assert await scene.history._writes.drained(10)
    assert scene.told() == [("device.stopped_waking", "phone")]


async def test_the_past_is_at_hand_when_a_call_ends(scene: Scene) -> None:
    """Read while the phone wakes, once: who asks at the call's end finds it in memory."""
    for _ in range(4):
        await scene.call("phone")
    await scene.history.aclose()
    scene.start()
    reads = scene.store.reads
    assert scene.history.summary(KEY, PHONE).wakes == 0
    scene.service.invite(call_id="sip-now")
    await scene.service.settled()
    assert scene.history.summary(KEY, PHONE).woken == 4
    await scene.service.pass_time(30)
    await scene.call()
    assert scene.store.reads == reads + 1


async def test_another_node_has_calls_for_it_too(scene: Scene) -> None:
    """What that one writes is known again after our next write; no wake is lost."""
    for _ in range(3):
        await scene.call("phone")
    ours = scene.history
    for _ in range(2):
        scene.start()  # another node; `ours` goes on knowing what it knew
        await scene.call()
        await scene.history.aclose()
    assert ours.summary(KEY, PHONE).wakes == 3
    scene.service.wakes.outcomes.watcher = ours
    await scene.call("phone")
    await scene.call("phone")
    assert ours.summary(KEY, PHONE).wakes == 7
    assert [each.end for each in await ours.of_device(KEY, PHONE)].count(WakeEnd.FAILED) == 2
    await ours.aclose()


async def test_a_device_that_goes_is_forgotten(scene: Scene) -> None:
    """With its history, its warning, and what was to be written."""
    for comes in (["phone"], ["phone"], ["phone"], [], [], []):
        await scene.call(*comes)
    assert scene.gauge() == 1
    await scene.service.directory.delete_device(KEY, PHONE)
    assert (scene.gauge(), len(scene.history._devices)) == (0, 0)
    await scene.service.device("phone")
    assert await scene.history.of_device(KEY, PHONE) == ()
    await scene.history.aclose()
    scene.start()
    await scene.service.settled()
    assert scene.gauge() == 0


async def test_the_history_knows_better_than_the_index(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that the index calls stopped, though its newest wake woke it, is put right as soon
    as it is looked at.
    """
    for _ in range(3):
        await scene.call("phone")
    await scene.history.aclose()

    async def stale() -> tuple[tuple[AccountKey, DeviceId], ...]:
        return ((KEY, PHONE), (KEY, DeviceId("gone")))

    monkeypatch.setattr(scene.store, "not_waking", stale)
    scene.start()
    await scene.service.settled()
    assert scene.gauge() == 1
    assert (await scene.history.of_account(KEY))[PHONE].standing is Standing.WAKES
    assert scene.gauge() == 0


async def test_memory_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device that was not called for longest leaves it, and is read again when needed."""
    monkeypatch.setattr(wake_history, "IN_MEMORY", 2)
    for number in range(4):
        await scene.service.device(f"d{number}", token=f"t{number}")
    await scene.call("d0", "d1", "d2", "d3")
    found = await scene.history.of_account(KEY)
    assert [found[DeviceId(f"d{number}")].woken for number in range(4)] == [1] * 4
    assert len(scene.history._devices) <= 2
    for number in range(4):
        assert len(await scene.history.of_device(KEY, DeviceId(f"d{number}"))) == 1


async def test_wakes_lost_are_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the store away for too long nothing grows; the metric says so."""
    monkeypatch.setattr(wake_history, "WAITING", 0)
    await scene.call("phone")
    assert "push_proxy_wake_results_lost_total 1.0" in scene.metrics.render().decode()
    assert await scene.history.of_device(KEY, PHONE) == ()


def test_types_of_events() -> None:
    """What operators' filters name."""
    assert NoticeType("device.stopped_waking") is NoticeType.DEVICE_STOPPED_WAKING
    assert NoticeType("device.wakes_again") is NoticeType.DEVICE_WAKES_AGAIN


async def test_latencies_by_platform_and_vendor(scene: Scene) -> None:
    """A tenant's last day: counts, quantiles and a histogram; unknown vendors are one."""
    await scene.service.device("other", token="tok-2", vendor="Garage Phones", platform="Plan 9")
    await scene.call("phone", "other")
    await scene.call("phone")
    await scene.call()
    assert scene.latencies.of(TenantId("globex")) == ()
    phone, other = scene.latencies.of(ACME)
    assert (phone.platform, phone.vendor, other.platform, other.vendor) == (
        "android",
        "xiaomi",
        "other",
        "other",
    )
    assert (phone.wakes, phone.woken, phone.measured) == (3, 2, 2)
    assert phone.histogram[BUCKETS_S.index(2.0)] == 2
    assert phone.p50_s is not None
    assert 1.5 < phone.p50_s <= 2.0
    await scene.service.pass_time(23 * 3600)
    assert len(scene.latencies.of(ACME)) == 2
    await scene.service.pass_time(2 * 3600)
    assert scene.latencies.of(ACME) == ()


def test_quantiles_of_a_histogram() -> None:
    """Spread evenly within a bucket; what is slower than all buckets counts as the last edge."""
    empty = [0] * (len(BUCKETS_S) + 1)
    assert quantile(empty, 0.5) is None
    first = [4, *empty[1:]]
    assert quantile(first, 0.5) == pytest.approx(BUCKETS_S[0] / 2)
    assert quantile([*empty[:-1], 3], 0.5) == BUCKETS_S[-1]
    assert quantile([1, 1, *empty[2:]], 1.0) == BUCKETS_S[1]
