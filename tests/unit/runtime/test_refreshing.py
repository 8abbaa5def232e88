"""runtime.refreshing: a push before the end of a binding that its phone cannot refresh alone."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from push_proxy.core.events import PushOutcome
from push_proxy.core.ids import DeviceId, Instant
from push_proxy.core.model import Address, Binding
from push_proxy.runtime.refresh_pushes import RefreshPushes
from push_proxy.runtime.refreshing import Refreshing
from tests.scenarios.fake_service import KEY, FakeService

FRESH_S = 30.0


class Scene:
    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.clock = service.clock
        self.pushes = RefreshPushes(service.pusher, service.clock)
        self.refreshing = Refreshing(
            directory=service.directory,
            pushes=self.pushes,
            clock=service.clock,
            fresh_s=FRESH_S,
            enabled=True,
        )

    def bind(self, name: str = "phone", *, seconds: float = 600, **changes: Any) -> Binding:
        changes.setdefault("wants_refresh", True)
        expires_at = Instant(self.clock.now() + seconds)
        return self.service.register(name, expires_at=expires_at, **changes)

    async def passes(self, seconds: float) -> list[tuple[str, float]]:
        """What is pushed within this time: to whom, and how long it is good for."""
        before = len(self.service.box.got)
        await self.service.pass_time(seconds)
        got = self.service.box.got[before:]
        assert all(push.type == "refresh" for push in got)
        return [(push.device.device, round(push.expires_at - push.sent_at)) for push in got]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with FakeService() as service:
        await service.device()
        scene = Scene(service)
        scene.refreshing.start()
        yield scene
        scene.refreshing.aclose()
        await scene.pushes.aclose()


@pytest.mark.parametrize(("seconds", "pushed_after"), [(600, 480), (3600, 3480), (150, 75)])
async def test_before_the_end(scene: Scene, seconds: float, pushed_after: float) -> None:
    """RFC 8599 §5.5: 120 s before the end, or half of a short time; good until the end."""
    scene.bind(seconds=seconds)
    assert await scene.passes(pushed_after - 1) == []
    assert await scene.passes(1) == [("phone", round(seconds - pushed_after))]


async def test_once_per_binding(scene: Scene) -> None:
    """A phone that does not come is not pushed again; one that came is, before its next end."""
    scene.bind()
    assert len(await scene.passes(600)) == 1
    assert await scene.passes(6000) == []
    scene.bind()
    assert len(await scene.passes(480)) == 1
    scene.bind()
    assert await scene.passes(479) == []
    assert len(await scene.passes(1)) == 1


async def test_a_failed_push_is_not_repeated(scene: Scene) -> None:
    """Whatever the provider says: nothing loops."""
    for outcome in (PushOutcome.REJECTED, PushOutcome.UNAVAILABLE, PushOutcome.SKIPPED):
        scene.service.box.outcome = outcome
        scene.bind()
        assert len(await scene.passes(6000)) == 1


async def test_a_phone_that_refreshes_in_time_is_left_alone(scene: Scene) -> None:
    """As one with +sip.pnsreg does: each REGISTER moves the time."""
    for _ in range(5):
        scene.bind()
        assert await scene.passes(450) == []


async def test_a_phone_that_is_awake_is_given_time(scene: Scene) -> None:
    """Heard just now it refreshes by itself; if it does not, it is pushed after all, once."""
    binding = scene.bind()
    await scene.passes(470)
    scene.service.directory.heard(binding.route_key, binding.source, scene.clock.now())
    assert await scene.passes(60) == []
    assert await scene.passes(10) == [("phone", 60)]
    assert await scene.passes(600) == []


async def test_a_phone_that_is_connected_is_given_time(scene: Scene) -> None:
    """Its connection stands, so it may be awake; without it there is nothing to wait for."""
    source = Address("198.51.100.7", 4000, "tcp")
    scene.bind(source=source)
    assert await scene.passes(480) == []
    scene.bind(source=source)
    assert await scene.passes(539) == []
    assert len(await scene.passes(1)) == 1
    scene.bind(source=source)
    scene.service.directory.flow_lost(source)
    assert len(await scene.passes(480)) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda scene: scene.bind(wants_refresh=False),
        lambda scene: setattr(scene.refreshing, "enabled", False),
        lambda scene: scene.service.directory.delete_binding(KEY, DeviceId("phone")),
        lambda scene: scene.service.directory.delete_device_behind(KEY, DeviceId("phone")),
    ],
)
async def test_nothing_to_do(scene: Scene, spoil: Callable[[Scene], None]) -> None:
    """No wish, switched off, unregistered, device gone: no push."""
    scene.bind()
    spoil(scene)
    assert await scene.passes(1000) == []


async def test_a_device_without_token(scene: Scene) -> None:
    """There is nothing to push to."""
    await scene.service.device("dead", token="")
    scene.bind("dead")
    assert await scene.passes(1000) == []


async def test_bindings_from_before_a_restart(scene: Scene) -> None:
    """They are watched from the start, without a word from their phones."""
    scene.bind()
    scene.refreshing.aclose()
    again = Scene(scene.service)
    again.refreshing.start()
    assert await again.passes(479) == []
    assert len(await again.passes(1)) == 1


async def test_many_at_once_are_paced(scene: Scene) -> None:
    """Thousands that end together: a hundred pushes per second, and each gets one."""
    for number in range(250):
        await scene.service.device(f"d{number}", token=f"t{number}")
        scene.bind(f"d{number}", port=1000 + number)
    first = await scene.passes(480)
    assert 0 < len(first) <= 10
    assert 90 <= len(await scene.passes(1)) <= 110
    rest = await scene.passes(2)
    assert len({name for name, _ in rest}) == len(rest)
    assert await scene.passes(1000) == []
