"""Tokens looked after: dropped once and at once, told, counted; idle devices asked and dropped."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.core.idle import IdleRules
from push_proxy.core.ids import AccountKey, DeviceId, Instant, PushId
from push_proxy.core.model import Device, TokenState
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.core.payload import Push
from push_proxy.observability.metrics import Metrics
from push_proxy.ports import PushResult, TokenFate
from push_proxy.providers.registry import Providers
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.directory import Directory
from push_proxy.runtime.idle_devices import STEPS_PER_TICK, IdleDevices
from push_proxy.runtime.pusher import Pusher
from push_proxy.runtime.tokens import Tokens

from .test_devices_behind import BOB, Store
from .test_directory import ALICE, PHONE, HandClock, account, binding, device

DAY = 86_400.0
GONE = PushResult(outcome=PushOutcome.REJECTED, reason="http_410", token=TokenFate.DEAD)
TAKEN = PushResult(outcome=PushOutcome.ACCEPTED, reason="http_200")
AWAY = PushResult(outcome=PushOutcome.UNAVAILABLE, reason="timeout")


class Provider:
    """Takes every push as the test says; each may be held back."""

    name = "webhook"

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.answers: list[PushResult] = []
        self.answer = TAKEN
        self.gates: list[asyncio.Event] = []

    def serves(self, _app_id: str) -> bool:
        return True

    def app_for(self, _pn_param: str) -> str | None:
        return None

    def start(self, _shared: Any) -> None:
        """Nothing."""

    async def send(self, push: Push) -> PushResult:
        self.pushes.append(push)
        answer = self.answers.pop(0) if self.answers else self.answer
        if self.gates:
            await self.gates.pop(0).wait()
        return answer

    def health(self) -> Sequence[Any]:
        return ()

    def check(self) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing."""


class Scene:
    """Directory, pusher, tokens and idle devices, on a clock of the test's."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_700_000_000.0)
        self.store = Store(self.clock)  # type: ignore[arg-type]
        self.directory = Directory(self.store, self.clock)
        self.directory._writes._retry_s = 0.01
        self.metrics = Metrics()
        self.notices: list[Notice] = []
        self.provider = Provider()
        self.tokens = Tokens(
            directory=self.directory, clock=self.clock, metrics=self.metrics, notices=self
        )
        self.tokens.start()
        self.pusher = Pusher(
            providers=Providers([self.provider]),
            clock=self.clock,
            metrics=self.metrics,
            learn=self.tokens.learn,
        )
        self.idle = IdleDevices(
            directory=self.directory,
            pusher=self.pusher,
            tokens=self.tokens,
            clock=self.clock,
            rules=IdleRules(idle_s=90 * DAY, refresh_s=7 * DAY),
        )

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)

    def device(self, key: AccountKey = ALICE, name: str = "phone") -> Device:
        found = self.directory.device(key, DeviceId(name))
        assert found is not None
        return found

    def snapshot(self) -> Push:
        """A push on its way."""
        now = self.clock.now()
        return Push(
            id=PushId("p1"),
            type=PushType.CALL,
            device=self.device(),
            sent_at=now,
            expires_at=Instant(now + 10),
        )

    async def push(self) -> PushResult:
        return await self.pusher.send_without_call(self.device(), PushType.CALL, within_s=10)

    def dropped(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "push_proxy_tokens_dropped_total", {"provider": "webhook", "reason": reason}
        )
        return value or 0.0

    async def round(self) -> None:
        """The sweep over all accounts, with what it starts done."""
        for _ in range(3):
            await self.round_once()

    async def round_once(self) -> None:
        self.idle.step()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    await made.directory.load()
    for name in ("alice", "bob"):
        await made.directory.put_account(account(name))
    now = made.clock.now()
    await made.directory.put_device(replace(device(), token_at=now, seen_at=now))
    yield made
    made.store.away = False
    await made.directory.aclose()


async def test_a_dead_token_is_dropped_once_and_told_once(scene: Scene) -> None:
    """Two answers about it: one metric, one notice, and nothing to push to any more."""
    gate = asyncio.Event()
    scene.provider.answers = [GONE, GONE]
    scene.provider.gates = [gate, gate]
    both = asyncio.gather(scene.push(), scene.push())
    await asyncio.sleep(0)
    assert len(scene.provider.pushes) == 2
    gate.set()
    await both
    assert scene.dropped("http_410") == 1
    assert [notice.type for notice in scene.notices] == [NoticeType.TOKEN_INVALID]
    assert scene.notices[0].data == {
        "reason": "http_410",
        "provider": "webhook",
        "app_id": "com.example",
    }
    assert not scene.pusher.serves(scene.device())
    assert (await scene.push()).reason == "no_target"
    assert len(scene.provider.pushes) == 2


async def test_it_is_gone_although_the_store_is_away(scene: Scene) -> None:
    """No second push leaves; the store learns of it when it is back."""
    scene.store.away = True
    scene.provider.answer = GONE
    await scene.push()
    assert (await scene.push()).reason == "no_target"
    await asyncio.sleep(0.03)
    stored = await scene.store.get_device(ALICE, PHONE)
    assert stored is not None
    assert stored.token == "t1"
    scene.store.away = False
    assert await scene.directory._writes.drained(5)
    assert await scene.store.get_device(ALICE, PHONE) == scene.device()


@pytest.mark.parametrize("named_again", [False, True])
async def test_the_providers_time_is_compared_on_our_clock(
    scene: Scene,
    named_again: bool,
) -> None:
    """Ours stands years behind theirs: dead since three seconds, and named before or after."""
    push = scene.snapshot()
    scene.clock.advance(10)
    if named_again:
        scene.directory.touch_device(ALICE, PHONE, token=True)
    scene.tokens.learn(push, replace(GONE, dead_since=Instant(time.time() - 3)))
    assert scene.device().has_target is named_again


async def test_a_late_answer_does_not_kill_the_next_token(scene: Scene) -> None:
    """The phone has rotated its token while the push to the former one was on its way."""
    push = scene.snapshot()
    scene.directory.put_device_behind(replace(scene.device(), token="t2"))
    scene.tokens.learn(push, GONE)
    assert (scene.device().token, scene.notices) == ("t2", [])


async def test_a_token_of_another_app_is_kept_and_marked_until_a_push_is_taken(
    scene: Scene,
) -> None:
    """The operator may mend the configuration: it is pushed to all the same."""
    scene.provider.answer = replace(GONE, token=TokenFate.WRONG_APP, reason="mismatch")
    await scene.push()
    await scene.push()
    fault = scene.device().token_fault
    assert fault is not None
    assert (fault.state, fault.reason) == (TokenState.WRONG_APP, "mismatch")
    assert (scene.device().version, scene.notices) == (2, [])
    scene.provider.answer = AWAY
    await scene.push()
    assert scene.device().token_fault is fault
    scene.provider.answer = TAKEN
    await scene.push()
    assert (scene.device().token_fault, len(scene.provider.pushes)) == (None, 4)


async def test_the_token_for_alerts_dies_alone(scene: Scene) -> None:
    """Calls go on; the notice says which one it was."""
    scene.directory.put_device_behind(
        replace(scene.device(), provider="apns", token="voip", alert_token="alert")
    )
    scene.tokens.learn(scene.snapshot(), replace(GONE, of_alert_token=True))
    assert (scene.device().token, scene.device().alert_token) == ("voip", None)
    (notice,) = scene.notices
    assert notice.data["token"] == "alert"


async def test_an_environment_that_was_found_is_kept(scene: Scene) -> None:
    """The next push goes there at once."""
    scene.tokens.learn(scene.snapshot(), replace(TAKEN, environment="sandbox"))
    assert scene.device().environment == "sandbox"


async def test_the_former_owner_of_a_token_is_told(scene: Scene) -> None:
    """By PUT or by REGISTER; with the new owner's name within a tenant only."""
    scene.directory.put_device_behind(device(BOB))
    await scene.directory.put_account(account("eve", tenant="other"))
    scene.directory.put_device_behind(device(AccountKey("other/eve")))
    told = [(n.type, n.account, n.device, n.data) for n in scene.notices]
    moved = NoticeType.DEVICE_MOVED
    assert told == [
        (moved, ALICE, PHONE, {"to_account": "bob", "to_device": "phone"}),
        (moved, BOB, PHONE, {}),
    ]


async def test_one_that_gave_way_is_told(scene: Scene) -> None:
    """As a token that is not used any more, with the device that came instead."""
    scene.directory.max_devices = 1
    scene.directory.put_device_behind(device(name="new", token="t2"))
    (notice,) = scene.notices
    assert (notice.type, notice.device) == (NoticeType.TOKEN_INVALID, PHONE)
    assert (notice.data["reason"], notice.data["for_device"]) == ("evicted", "new")
    assert scene.dropped("evicted") == 1


async def test_a_silent_device_is_asked_once_and_dropped_in_the_end(scene: Scene) -> None:
    """A refresh after 83 days, none on the days after it, and the end after 90."""
    scene.clock.advance(82 * DAY)
    await scene.round()
    assert scene.provider.pushes == []
    for _ in range(7):
        scene.clock.advance(DAY)
        await scene.round()
    (push,) = scene.provider.pushes
    assert (push.type, push.call) == (PushType.REFRESH, None)
    assert scene.device().has_target
    scene.clock.advance(DAY)
    await scene.round()
    assert not scene.device().has_target
    assert [notice.data["reason"] for notice in scene.notices] == ["idle"]
    assert scene.dropped("idle") == 1
    await scene.round()
    assert len(scene.notices) == 1


async def test_another_nodes_silent_device_is_not_asked(scene: Scene) -> None:
    """The node that the account belongs to asks, and drops: once is enough."""
    scene.idle._owns = lambda key: key != ALICE
    scene.clock.advance(100 * DAY)
    await scene.round()
    assert scene.provider.pushes == []
    assert scene.device().has_target
    scene.idle._owns = lambda _: True
    await scene.round()
    assert not scene.device().has_target


async def test_an_app_that_answers_the_refresh_stays(scene: Scene) -> None:
    """Its REGISTER is a sign of life; 83 days later it is asked again."""
    scene.clock.advance(83 * DAY)
    await scene.round()
    hand = HandClock()
    hand.at = scene.clock.now()
    scene.directory.put_binding(binding(hand))
    scene.clock.advance(82 * DAY)
    scene.directory.expire()
    await scene.round()
    assert (scene.device().has_target, len(scene.provider.pushes)) == (True, 1)
    scene.clock.advance(DAY)
    await scene.round()
    assert len(scene.provider.pushes) == 2


async def test_a_restart_does_not_ask_again(scene: Scene) -> None:
    """That it was asked is stored; the next process goes on where this one was."""
    scene.clock.advance(84 * DAY)
    await scene.round()
    assert await scene.directory._writes.drained(5)
    scene.store.gate.set()
    await scene.directory.load()
    await scene.round()
    assert len(scene.provider.pushes) == 1


async def test_a_refresh_that_nobody_took_is_tried_again_an_hour_later(scene: Scene) -> None:
    """The provider was away; the push is worth that only once in an hour."""
    scene.provider.answer = AWAY
    scene.clock.advance(83 * DAY)
    await scene.round()
    await scene.round()
    assert len(scene.provider.pushes) == 1
    scene.provider.answer = TAKEN
    scene.clock.advance(3600)
    await scene.round()
    scene.clock.advance(3600)
    await scene.round()
    assert len(scene.provider.pushes) == 2


async def test_devices_of_before_count_from_their_first_round(scene: Scene) -> None:
    """Stored by a version that noted no signs of life: nobody loses anything at the upgrade."""
    old = device(BOB, token="t2")
    await scene.store.put_device(old, expected_version=0)
    await scene.directory.load()
    await scene.round()
    assert scene.device(BOB).seen_at == scene.clock.now()
    assert scene.provider.pushes == []


async def test_thousands_that_fell_silent_together_are_no_burst(scene: Scene) -> None:
    """A few per second, each of them once."""
    for number in range(60):
        scene.directory.put_device_behind(device(BOB, name=f"d{number}", token=f"x{number}"))
    scene.clock.advance(85 * DAY)
    sent = []
    for _ in range(40):
        before = len(scene.provider.pushes)
        await scene.round_once()
        sent.append(len(scene.provider.pushes) - before)
    assert max(sent) <= STEPS_PER_TICK
    assert sum(sent) == len({push.device.device for push in scene.provider.pushes}) == 61
