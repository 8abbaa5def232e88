"""One chaos from start to end: calls at a rate, troubles beside them, figures and faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from push_proxy.tasks import spawn

from .calls import Calls
from .contacts import Contacts
from .report import faults, table
from .scene import Scene
from .troubles import Troubles

LINES_PER_CALL_PER_S = 8
_CALM_S = 4.0


@dataclass(frozen=True, slots=True)
class Chaos:
    """What came of it."""

    table: str
    faults: tuple[str, ...]
    calls: int


async def play(
    directory: Path,
    *,
    rate: float,
    seed: int,
    only: Callable[[str], bool] = lambda _: True,
    say: Callable[[str], None] = print,
) -> Chaos:
    """Play the troubles whose names ``only`` takes, with ``rate`` calls per second beside them."""
    async with Scene(directory) as scene:
        calls = Calls(scene, lines=round(LINES_PER_CALL_PER_S * rate), seed=seed)
        try:
            await calls.set_up()
            say(f"{len(calls.lines)} accounts registered; {rate:g} calls/s begin")
            troubles = Troubles(scene, only=only, say=say)
            contacts = Contacts(scene.pbx, [line.user for line in calls.lines], troubles.is_alive)
            running = spawn(calls.run(rate=rate), name="calls")
            await asyncio.sleep(_CALM_S)
            await troubles.play()
            calls.stop()
            await running
            await contacts.aclose()
        finally:
            await calls.aclose()
        logs = [
            f"{node.node} logged a fault: {line}"
            for node in scene.nodes
            for line in node.process.output().splitlines()
            if line.startswith("Traceback") or '"level": "critical"' in line
        ]
        happened = troubles.happened
        found = faults(calls.calls, happened, contacts) + logs
        return Chaos(table(calls.calls, happened, contacts), tuple(found), len(calls.calls))
