"""Nodes and store are killed, paused, cut off and drained while calls go on."""

from pathlib import Path

import pytest

from .play import play
from .troubles import BACK

RATE = 10.0
"""`./dev bench chaos` plays all of it at 20 calls/s, on a machine with nothing else to do."""
IN_TESTS = (f"killed, {BACK}", "paused 4 s", "store restarted", "drained and started")
"""The rest of `troubles.py` is for `./dev bench chaos`."""


@pytest.mark.timeout(300)
@pytest.mark.slow
async def test_calls_survive_what_happens_to_nodes(workdir: Path) -> None:
    """Calls through three nodes: those in the hands of a killed node that is back within 5 s
    connect, others are unharmed, no account is without a Contact at the PBX for longer than 10 s,
    no phone has two INVITEs at once.
    """
    chaos = await play(workdir, rate=RATE, seed=1, only=lambda name: name in IN_TESTS)
    print(chaos.table)
    assert not chaos.faults, "\n".join((*chaos.faults[:20], chaos.table))
