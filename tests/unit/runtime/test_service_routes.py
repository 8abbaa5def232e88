"""runtime.service_routes: an app's call leaves from a node that does not register its account."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.model import RegistrationRecord
from push_proxy.core.shards import shard_of
from push_proxy.errors import StoreUnavailable
from push_proxy.runtime.service_routes import ServiceRoutes
from tests.unit.runtime.sip_scene import Scene, hold
from tests.unit.runtime.test_owned_registrations import Ownership

ROUTE = ("<sip:edge.example.com;lr>",)


class Stage:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.ownership = Ownership()
        self.routes = ServiceRoutes(
            own=lambda _: ("<sip:own.example.com;lr>",),
            ownership=self.ownership,
            directory=scene.directory,
            store=scene.store,
        )
        self.routes.start()
        self.key: AccountKey = hold().key

    async def keep(self, *route: str) -> None:
        await self.scene.store.put_registration(
            RegistrationRecord(
                account=self.key,
                call_id="c",
                cseq=1,
                contact="sip:x@there",
                expires_at=Instant(9e9),
                service_route=route,
            )
        )

    async def register(self, **fields: Any) -> None:
        """The app registers here."""
        self.scene.register(**fields)
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    scene = await Scene().start()
    await scene.add(hold(), "phone")
    yield Stage(scene)
    await scene.aclose()


async def test_read_when_an_app_registers_here(stage: Stage) -> None:
    """The account's registrar is another node's business; what it gave is read from the store, and
    again at each REGISTER, and forgotten with the binding.
    """
    await stage.keep(*ROUTE)
    assert stage.routes.of(stage.key) == ()
    await stage.register()
    assert stage.routes.of(stage.key) == ROUTE
    await stage.keep()
    await stage.register(cseq=7)
    assert stage.routes.of(stage.key) == ()
    await stage.keep(*ROUTE)
    await stage.register(cseq=8)
    await stage.register(cseq=9, contact="<sip:101@203.0.113.5:40000>;expires=0")
    assert stage.routes.of(stage.key) == ()


async def test_of_our_own_accounts_nothing_is_read(stage: Stage) -> None:
    """What our own REGISTER was answered is newer than any record."""
    await stage.keep(*ROUTE)
    stage.ownership.fences[shard_of(stage.key)] = 1
    await stage.register()
    assert stage.routes.of(stage.key) == ("<sip:own.example.com;lr>",)


async def test_the_store_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known stays, and the next REGISTER asks again."""
    await stage.keep(*ROUTE)
    await stage.register()
    get = stage.scene.store.get_registrations

    async def away(_: object) -> tuple[RegistrationRecord | None, ...]:
        raise StoreUnavailable("away")

    monkeypatch.setattr(stage.scene.store, "get_registrations", away)
    await stage.register(cseq=7)
    assert stage.routes.of(stage.key) == ROUTE
    monkeypatch.setattr(stage.scene.store, "get_registrations", get)
    await stage.keep()
    await stage.register(cseq=8)
    assert stage.routes.of(stage.key) == ()
