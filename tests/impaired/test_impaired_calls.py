"""Every main call flow under every pattern of loss, duplication and reordering."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.lab.impaired_link import WEATHERS, Weather

from .conftest import MakeRough
from .flows import FLOWS, Flow


@pytest.mark.parametrize("weather", WEATHERS, ids=lambda weather: weather.name)
async def test_calls_end_as_on_a_good_network(rough: MakeRough, weather: Weather) -> None:
    """Whatever is lost, doubled or swapped once: each flow keeps its verdict, its caller sees one
    final response, each phone is pushed and rung once. The flows run beside each other.
    """

    async def run(flow: Flow) -> None:
        try:
            ext = await flow(partial(rough, name=flow.__name__), weather)
            assert ext.impaired > 0 or not ext.phones, "nothing happened to its packets"
        except Exception as error:
            error.add_note(f"in flow {flow.__name__}, weather {weather.name}")
            raise

    ends = await asyncio.gather(*map(run, FLOWS), return_exceptions=True)
    faults = [end for end in ends if isinstance(end, Exception)]
    if faults:
        raise ExceptionGroup(f"{len(faults)} of {len(FLOWS)} flows", faults)
