"""Random calls with random faults for as long as wanted; afterwards everything is where it was.

`./dev bench soak [--seconds 1800] [--rate 50] [--seed 1] [--parts 3]`. What is played, and which
ends are right for it, is in ``tests/soak/kinds.py``.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from tests.soak.engine import Soak, SoakOptions

_SHOWN = 40


async def main(argv: Sequence[str] | None = None) -> int:
    """Run it and print what came of it; 1 when something was not right."""
    parser = argparse.ArgumentParser(prog="./dev bench soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="calls for so long")
    parser.add_argument("--rate", type=float, default=50.0, help="calls per second")
    parser.add_argument("--seed", type=int, default=1, help="the same one plays the same calls")
    parser.add_argument("--parts", type=int, default=3, help="rests, each with a look at memory")
    options = parser.parse_args(argv)
    wanted = SoakOptions(
        seconds=options.seconds, rate=options.rate, seed=options.seed, parts=options.parts
    )
    print(_machine())
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="push-proxy-soak-") as directory:
        soak = Soak(Path(directory), wanted, lambda text: print(text, flush=True))
        report = await soak.run()
    print(report.judgement.text())
    spent = time.monotonic() - began
    print(
        f"{report.calls} calls in {spent:.0f} s with {report.troubles} faults around them, "
        f"{report.skipped} not placed for want of an account; seed {options.seed}"
    )
    print(_machine())
    for fault in report.faults[:_SHOWN]:
        print(f"FAULT: {fault}")
    print(f"{len(report.faults)} faults of the service")
    return 1 if report.faults else 0


def _machine() -> str:
    load = ", ".join(f"{average:.2f}" for average in os.getloadavg())
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = platform.python_version()
    cores = os.cpu_count()
    return f"machine: {platform.machine()}, {cores} cores, Python {version}, {at}, load {load}"


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    sys.exit(asyncio.run(main()))
