"""runtime.registrar with push parameters: what a REGISTER does to devices, and when."""

from collections.abc import AsyncIterator

import pytest

from push_proxy.core.model import Account, Device
from push_proxy.errors import StoreUnavailable
from push_proxy.runtime.changes import Change, DeviceChanged, DeviceMoved
from tests.unit.runtime.sip_scene import Order, Scene, hold

APP, OTHER_APP = "urn:uuid:app", "urn:uuid:other"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = await Scene().start()
    for user in ("101", "102"):
        await scene.add(hold(user))
    yield scene
    await scene.aclose()


def register(
    scene: Scene, user: str = "101", *, token: str = "T1", instance: str = APP, expires: int = 600
) -> list[Order]:
    params = f";pn-provider=fcm;pn-param=p;pn-prid={token}" if token else ""
    return scene.register(
        f"Expires: {expires}",
        aor=f"sip:{user}@pbx.example.com",
        user=user,
        contact=f'<sip:{user}@203.0.113.5:40000{params}>;+sip.instance="<{instance}>"',
        call_id=f"reg-{user}-{instance}",
    )


def only(scene: Scene, account: Account) -> Device:
    (device,) = scene.directory.devices(account.key)
    return device


async def test_nothing_waits_for_the_store(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the store away the phone is bound, answered and known in one tick; the store learns of
    it when it is back.
    """

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(scene.store, "put_device", away)
        orders = register(scene)
        assert [order.what for order in orders] == ["bind", "reply", "registered"]
        assert orders[1].headers["Feature-Caps"] == ['*;+sip.pns="fcm"']
        device = only(scene, hold())
        assert (device.token, device.token_at) == ("T1", scene.clock.now())
    await scene.directory.aclose()
    assert await scene.store.get_device(hold().key, device.device) == device


async def test_wakes_hear_of_the_register_before_the_token(scene: Scene) -> None:
    """A token that rotates in the wake REGISTER is no reason to push again."""
    register(scene)

    def on_change(change: Change) -> None:
        if isinstance(change, DeviceChanged):
            scene.stack.orders.append(Order("device"))

    scene.directory.subscribe(on_change)
    orders = register(scene, token="T2")
    assert [order.what for order in orders] == ["bind", "reply", "registered", "device"]
    assert only(scene, hold()).token == "T2"


async def test_a_refresh_is_a_sign_of_life_and_no_change(scene: Scene) -> None:
    """Its version stays; the time at which the app named its token moves."""
    register(scene)
    first = only(scene, hold())
    scene.clock.advance(300)
    register(scene)
    second = only(scene, hold())
    assert (second.version, second.token_at) == (first.version, first.token_at + 300)


async def test_unregistering_erases_it(scene: Scene) -> None:
    """At once, and in the store."""
    register(scene)
    name = only(scene, hold()).device
    register(scene, expires=0)
    assert scene.directory.devices(hold().key) == ()
    await scene.directory.aclose()
    assert await scene.store.get_device(hold().key, name) is None


async def test_a_target_that_was_taken_back(scene: Scene) -> None:
    """The device stays as long as its phone is registered, and goes with its binding."""
    register(scene)
    register(scene, token="")
    assert not only(scene, hold()).has_target
    scene.clock.advance(601)
    scene.directory.expire()
    assert scene.directory.devices(hold().key) == ()


async def test_a_phone_that_is_handed_on(scene: Scene) -> None:
    """Another installation registers another account with the token: the old owner's device is
    gone at once, and somebody is told.
    """
    moved: list[DeviceMoved] = []
    scene.directory.subscribe(lambda c: moved.append(c) if isinstance(c, DeviceMoved) else None)
    register(scene, "101")
    register(scene, "102", instance=OTHER_APP)
    assert scene.directory.devices(hold("101").key) == ()
    assert only(scene, hold("102")).exclusive
    assert [change.old.account for change in moved] == ["t/a101"]


async def test_two_accounts_of_one_app(scene: Scene) -> None:
    """They have one token and stay beside each other, through refreshes, a new token, and hours
    of sleep after which they come back one by one.
    """
    for token, pause_s in (("T1", 0), ("T1", 300), ("T2", 300), ("T2", 8 * 3600), ("T2", 60)):
        scene.clock.advance(pause_s)
        scene.directory.expire()
        for user in ("101", "102"):
            register(scene, user, token=token)
            assert [len(scene.directory.devices(hold(u).key)) for u in ("101", user)] == [1, 1]
    assert only(scene, hold("101")).token == only(scene, hold("102")).token == "T2"


async def test_an_account_that_has_left_the_app(scene: Scene) -> None:
    """Without a word: an hour after its last REGISTER the other one's takes its target away."""
    register(scene, "101")
    register(scene, "102")
    for _ in range(12):
        scene.clock.advance(290)
        register(scene, "102")
        assert only(scene, hold("101")).token == "T1"
    for _ in range(2):
        scene.clock.advance(290)
        register(scene, "102")
    assert scene.directory.devices(hold("101").key) == ()
    assert only(scene, hold("102")).exclusive
