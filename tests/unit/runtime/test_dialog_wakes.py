"""runtime.dialog_wakes: a sleeping phone is pushed for the requests in its dialogs."""

from collections.abc import AsyncIterator

import pytest

from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant
from push_proxy.core.matching import route_key
from push_proxy.core.model import CallRecord, CallState, Direction
from push_proxy.runtime.dialog_wakes import DialogWakes
from push_proxy.runtime.refresh_pushes import RefreshPushes
from push_proxy.signaling.facts import DeviceAwaited
from tests.scenarios.fake_service import KEY, FakeService

ROUTE = route_key(KEY, DeviceId("phone"))


class Scene:
    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.pushes = RefreshPushes(service.pusher, service.clock)
        self.wakes = DialogWakes(
            directory=service.directory,
            pushes=self.pushes,
            calls=service.calls,
            clock=service.clock,
            fresh_s=30.0,
        )

    async def awaited(
        self,
        *,
        waiting: bool = False,
        purr: bool = False,
        method: str = "BYE",
        call: str = "",
        route: str = ROUTE,
    ) -> int:
        """How many pushes it makes."""
        before = len(self.service.box.got)
        self.wakes.awaited(
            DeviceAwaited(route_key=route, method=method, call=call, waiting=waiting, purr=purr)
        )
        await self.service.settled()
        got = self.service.box.got[before:]
        assert all((push.type, push.device.device) == ("refresh", "phone") for push in got)
        return len(got)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with FakeService() as service:
        await service.device(purr=True)
        scene = Scene(service)
        scene.wakes.start()
        yield scene
        await scene.pushes.aclose()


async def test_a_request_that_waits(scene: Scene) -> None:
    """There is no way to the phone: it is pushed, with the time that the request waits."""
    assert await scene.awaited(waiting=True) == 1
    (push,) = scene.service.box.got
    assert push.expires_at - push.sent_at == 10
    assert push.call is None


async def test_a_phone_heard_just_before_it_was_lost(scene: Scene) -> None:
    """Its connection broke a moment ago: what waits is waited for all the same."""
    scene.service.register(route_key=ROUTE)
    assert await scene.awaited(waiting=True) == 1


async def test_a_phone_that_asked_for_it_in_this_dialog(scene: Scene) -> None:
    """Its Contact had pn-purr: it is pushed although a way is known, unless just heard."""
    binding = scene.service.register(route_key=ROUTE)
    assert await scene.awaited(purr=True) == 0
    await scene.service.pass_time(31)
    assert await scene.awaited() == 0
    assert await scene.awaited(purr=True) == 1
    await scene.service.pass_time(60)
    scene.service.directory.heard(ROUTE, binding.source, scene.service.clock.now())
    assert await scene.awaited(purr=True) == 0


async def test_after_its_binding_has_ended(scene: Scene) -> None:
    """What was granted is known as long as the device is."""
    scene.service.register(route_key=ROUTE)
    await scene.service.pass_time(700)
    scene.service.directory.expire()
    assert await scene.awaited(waiting=True) == 1


async def test_one_push_for_many_requests(scene: Scene) -> None:
    """Within a few seconds one brings the phone."""
    assert await scene.awaited(waiting=True) == 1
    assert await scene.awaited(waiting=True, method="INFO") == 0
    await scene.service.pass_time(4.9)
    assert await scene.awaited(waiting=True) == 0
    await scene.service.pass_time(0.2)
    assert await scene.awaited(waiting=True) == 1


async def test_devices_that_were_not_granted_it(scene: Scene) -> None:
    """Announced by PUT, withdrawn, or unknown: no push."""
    await scene.service.device(purr=False)
    assert await scene.awaited(waiting=True, purr=True) == 0
    await scene.service.device(purr=True)
    assert await scene.awaited(waiting=True, route="00" * 8) == 0
    await scene.service.device(purr=True, token="")
    assert await scene.awaited(waiting=True) == 0
    scene.service.directory.delete_device_behind(KEY, DeviceId("phone"))
    assert await scene.awaited(waiting=True) == 0


async def test_the_calls_timeline_says_so(scene: Scene) -> None:
    """So that support sees why the phone woke."""
    record = CallRecord(
        id=CallId("call-1"),
        account=AccountKey(KEY),
        direction=Direction.INCOMING,
        sip_call_id="sip-1",
        started_at=Instant(0.0),
        state=CallState.ANSWERED,
    )
    scene.service.calls.open(record)
    await scene.awaited(waiting=True, call="call-1")
    (entry,) = (await scene.service.record(CallId("call-1"))).timeline
    assert (entry.event, entry.device, entry.detail) == ("refresh_push_sent", "phone", "for BYE")


async def test_known_from_before_a_restart(scene: Scene) -> None:
    """Stored devices are known from the start."""
    again = Scene(scene.service)
    assert await again.awaited(waiting=True) == 0
    again.wakes.start()
    assert await again.awaited(waiting=True) == 1
