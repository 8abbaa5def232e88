"""A race on the wire: one story a hundred times at once, only its timing drawn.

A race is a coroutine that gets a `Run`: an account of its own, phones, a PBX, and a generator
of its own. What it draws depends on its seed alone, so the same seed tells the same story again.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from tests.lab.certificates import TlsIdentity
from tests.lab.pbx import Pbx
from tests.lab.push_sink import Push, PushSink, Reply
from tests.lab.service import LabService

from .run import Run
from .watch import check

TIMES = int(os.environ.get("PUSH_PROXY_RACES", "1"))
RUNS = 100
"""At once; ``PUSH_PROXY_RACES`` plays so many hundreds."""
SEED = os.environ.get("PUSH_PROXY_RACE_SEED", "")
"""One run only, with this seed: what a failure names."""
PAUSE_S = 0.015
"""Between the beginnings of two runs: the race is to be between its own messages, not for the
processor."""
QUIET_S = 0.4
"""After the last run: what comes now should not have come."""
PREPARING = 10
"""So many runs are prepared at a time."""

Story = Callable[[], Awaitable[None]]
Race = Callable[[Run], Awaitable[Story]]
"""Prepares a run (account, phones), and returns its story."""


@dataclass
class World:
    """What all runs share."""

    service: LabService
    sink: PushSink
    pbx: Pbx
    trust: TlsIdentity | None = None
    meanwhile: Callable[[], object] | None = None
    """What begins beside the runs when all of them are ready."""
    _runs: dict[str, Run] = field(default_factory=dict)

    def begin(self) -> None:
        """Pushes go to the run whose account they are for."""
        self.sink.hook = self._push

    async def _push(self, push: Push) -> Reply | None:
        run = self._runs.get(push.payload.get("account", ""))
        return None if run is None else await run.pushed(push)

    async def play(self, race: Race, *, met: Iterable[str], least: int = 3) -> None:
        """The race a hundred times.

        `met` names what has to happen in at least `least` of them: the sides of the race.
        """
        seeds = [int(SEED)] if SEED else list(range(RUNS * TIMES))
        seen: Counter[str] = Counter()
        for first in range(0, len(seeds), RUNS):
            runs = [
                Run(self.service, seed, self.pbx.uri, self.trust)
                for seed in seeds[first : first + RUNS]
            ]
            self._runs = {run.account: run for run in runs}
            try:
                await self._play(race, runs)
            finally:
                await _few_at_a_time(runs, Run.leave)
            for run in runs:
                seen.update(run.met)
                if SEED:
                    print("\n".join(run.story()))
        print(f"{race.__name__}: {len(seeds)} runs, {dict(seen.most_common())}")
        rare = {} if SEED else {side: seen[side] for side in met if seen[side] < least}
        assert not rare, f"too seldom to prove anything: {rare} of {len(seeds)}"
        await self.service.nothing_waits(within=5)

    async def _play(self, race: Race, runs: list[Run]) -> None:
        stories: dict[int, Story] = {}

        async def prepare(run: Run) -> None:
            await run.open()
            stories[run.seed] = await race(run)

        async def tell(number: int, run: Run) -> None:
            await asyncio.sleep(number * PAUSE_S)
            with run.explained(race.__name__):
                await stories[run.seed]()
                await run.over()

        await _few_at_a_time(runs, prepare)
        if self.meanwhile is not None:
            self.meanwhile()
        every = (tell(number, run) for number, run in enumerate(runs))
        faults = [
            done
            for done in await asyncio.gather(*every, return_exceptions=True)
            if isinstance(done, BaseException)
        ]
        await asyncio.sleep(QUIET_S)
        if not faults:
            for run in runs:
                with run.explained(race.__name__):
                    check(run)
            return
        if len(faults) > 1:
            faults[0].add_note(f"{len(faults)} runs failed, another with {faults[1]!r:.200}")
        raise faults[0]


async def _few_at_a_time(runs: list[Run], act: Callable[[Run], Awaitable[None]]) -> None:
    for first in range(0, len(runs), PREPARING):
        await asyncio.gather(*(act(run) for run in runs[first : first + PREPARING]))
