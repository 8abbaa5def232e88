"""Three nodes, one Valkey, Kamailio as PBX, each on a host of its own; and what happens to them.

`./dev bench chaos [--rate 20] [--seed 1] [--only TEXT]`. Calls to sleeping phones go on while nodes
are killed, paused, cut off and drained and the store is restarted or stands still, one after the
other (`tests/chaos/troubles.py`). The table says what became of the calls that each of these may
have hit: those in the hands of its node, at its time. Needs root, for network namespaces.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.chaos.play import play

_SHOWN = 40


async def main(argv: Sequence[str] | None = None) -> int:
    """Play it and print what came of it; 1 when something happened that must not."""
    parser = argparse.ArgumentParser(prog="./dev bench chaos", description=__doc__)
    parser.add_argument("--rate", type=float, default=20.0, help="calls per second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="troubles with this text in their name")
    options = parser.parse_args(argv)
    busy = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, load average {busy}"
    )
    with tempfile.TemporaryDirectory(prefix="pp-") as directory:
        chaos = await play(
            Path(directory),
            rate=options.rate,
            seed=options.seed,
            only=lambda name: options.only in name,
            say=lambda text: print(text, flush=True),
        )
    print(chaos.table)
    for fault in chaos.faults[:_SHOWN]:
        print(f"FAULT: {fault}")
    print(f"{chaos.calls} calls, {len(chaos.faults)} faults")
    return 1 if chaos.faults else 0


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    sys.exit(asyncio.run(main()))
