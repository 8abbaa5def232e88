"""The service is shared as in `scenarios`; each call flow has a PBX and an extension of its own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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


@asynccontextmanager
async def roughness(service: LabService, sink: PushSink) -> AsyncIterator[MakeRough]:
    """Makes extensions in a weather, each with its own PBX at which the service has registered.

    At the end nobody is held any more, and whoever is left is erased.
    """
    made: list[RoughExtension] = []

    async def make(weather: Weather, *devices: str, name: str, **fields: Any) -> RoughExtension:
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
        made.append(new)
        pbx.agent.link = weather.pbx_link(new.seed)
        new.endure(pbx.agent)
        await new.put(**fields)
        for device in devices or ("handset",):
            named = {"instance_id": f"urn:x-lab:{device}"} if devices else {}
            await new.put_device(device, **named)
        await pbx.registered(new.user, within=WITHIN_S)
        await service.is_registered(new.account, within=WITHIN_S)
        return new

    try:
        yield make
        await service.nothing_waits(within=WITHIN_S)
    finally:
        for each in made:
            each.close()
            await service.delete_account(each.account)


@pytest.fixture
async def rough(service: LabService, push_sink: PushSink) -> AsyncIterator[MakeRough]:
    """Makes extensions at the shared service."""
    async with roughness(service, push_sink) as make:
        yield make
