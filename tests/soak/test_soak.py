"""Two minutes of anything that may come, and nothing is left of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .engine import Soak, SoakOptions

SECONDS = 100.0
RATE = 12.0
"""What two cores hold beside the other tests; `./dev bench soak` plays 50 calls a second."""
SEED = int(os.environ.get("PUSH_PROXY_SOAK_SEED", "1"))


@pytest.mark.slow
@pytest.mark.timeout(420)
async def test_soak(workdir: Path) -> None:
    """Random calls with random faults (provider, store, PBX): each has exactly one final response,
    one record with a verdict that fits what was played, rings no phone twice and none after its
    end; afterwards transactions, waiters, tasks, descriptors and keys are where they were.
    """
    said: list[str] = []
    options = SoakOptions(seconds=SECONDS, rate=RATE, seed=SEED)
    report = await Soak(workdir, options, said.append).run()
    summary = "\n".join([*said, report.judgement.text(), *report.faults])
    assert not report.faults, f"PUSH_PROXY_SOAK_SEED={SEED}\n{summary}"
    assert report.calls > RATE * SECONDS / 2, summary
    assert report.troubles > 2, summary
