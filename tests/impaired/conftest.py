"""The service is shared as in `scenarios`; each call flow has a PBX and an extension of its own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.lab.impaired_link import Weather
from tests.lab.pbx import Pbx
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService
from tests.scenarios.conftest import push_sink, service, shared_service

from .scene import WITHIN_S, RoughExtension

__all__ = ["MakeRough", "push_sink", "rough", "service", "shared_service"]

MakeRough = Callable[..., Awaitable[RoughExtension]]
_numbers = itertools.count(2001)


async def make_rough(
    service: LabService,
    sink: PushSink,
    weather: Weather,
    *devices: str,
    name: str,
    **fields: Any,
) -> RoughExtension:
    """An extension in a weather, with its own PBX at which the service has registered."""
    pbx = Pbx()
    await pbx.start()
    new = RoughExtension(
        service=service,
        pbx=pbx,
        sink=sink,
        user=str(next(_numbers)),
        registrar=f"sip:{pbx.domain}",
        weather=weather,
        name=name,
    )
    pbx.agent.link = weather.pbx_link(new.seed)
    new.endure(pbx.agent)
    await new.put(**fields)
    for device in devices or ("handset",):
        named = {"instance_id": f"urn:x-lab:{device}"} if devices else {}
        await new.put_device(device, **named)
    await pbx.registered(new.user, within=WITHIN_S)
    await service.is_registered(new.account, within=WITHIN_S)
    return new


@pytest.fixture
async def rough(service: LabService, push_sink: PushSink) -> AsyncIterator[MakeRough]:
    """Makes extensions; whoever is left is erased, and nobody is held any more."""
    made: list[RoughExtension] = []

    async def make(weather: Weather, *devices: str, **fields: Any) -> RoughExtension:
        made.append(await make_rough(service, push_sink, weather, *devices, **fields))
        return made[-1]

    yield make
    await service.nothing_waits(within=WITHIN_S)
    for each in made:
        each.close()
        await service.delete_account(each.account)
