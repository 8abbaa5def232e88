"""What a call's timeline and the recorder of its SIP cost: CPU per call, with and without.

`./dev bench timeline_cost [--rate 50] [--turns 10] [--rounds 5]`. Three services run beside each
other, each as in production: one that keeps nothing of calls (`without_timeline`), one with
timelines, which is the default, and one with timelines and the recorder. They get the same wake
calls (as `wake_latency`), in turns of a second, so that whatever else the machine does meets all
of them. CPU is what the kernel counts for the service and its Valkey over a whole round: what is
done later (writing records, ending transactions) and at rest is in.
"""

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from push_proxy.demo.process import Process
from push_proxy.demo.service import Service, ServiceOptions

from .process_cost import children, cost_of
from .wake_latency import provision, run_calls
from .wake_load import Load, Pbx, PushReceiver

TURN_S = 1.0
LAST_S = 34.0
"""UDP transactions live for 32 s."""


@dataclass(slots=True, kw_only=True)
class Contender:
    """One service, its load, and what it has used."""

    name: str
    service: Service
    load: Load
    pbx: Pbx | None = None
    used: list[tuple[float, float]] = field(default_factory=list)
    """CPU seconds of the service and of its Valkey, at the begin of each round."""
    calls: list[int] = field(default_factory=list)
    """Of each round."""
    lost: int = 0

    def look(self) -> None:
        """Note what it has used."""
        pid = self.service.process.pid
        assert pid is not None
        store = sum(cost_of(child).cpu_s for child in children(pid))
        self.used.append((cost_of(pid).cpu_s, store))
        self.calls.append(0)

    def per_call_ms(self) -> list[tuple[float, float]]:
        """Of the service and of its Valkey, round by round."""
        return [
            ((after[0] - before[0]) * 1000 / calls, (after[1] - before[1]) * 1000 / calls)
            for before, after, calls in zip(
                self.used[:-1], self.used[1:], self.calls[:-1], strict=True
            )
        ]


async def main(argv: Sequence[str] | None = None) -> None:
    """Run all rounds and print a table."""
    parser = argparse.ArgumentParser(prog="./dev bench timeline_cost", description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="calls per second")
    parser.add_argument("--turns", type=int, default=10, help="of each service in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    busy = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, load average {busy}"
    )
    with tempfile.TemporaryDirectory(prefix="push-proxy-bench-") as name:
        async with AsyncExitStack() as stack:
            contenders = [
                await _contender(Path(name), kind, stack)
                for kind in ("neither", "timeline", "both")
            ]
            for each in contenders:
                assert each.pbx is not None
                await run_calls(each.load, each.pbx, rate=20, seconds=3)  # not counted
            await asyncio.sleep(LAST_S)
            for _ in range(options.rounds):
                for each in contenders:
                    each.look()
                for turn in range(options.turns):
                    first = turn % len(contenders)
                    for each in (*contenders[first:], *contenders[:first]):
                        await _turn(each, rate=options.rate)
            await asyncio.sleep(LAST_S)
            for each in contenders:
                each.look()
            _report(contenders)


async def _contender(folder: Path, kind: str, stack: AsyncExitStack) -> Contender:
    loop = asyncio.get_running_loop()
    load = Load(proxy=("127.0.0.1", 0))
    receiver = await loop.create_server(lambda: PushReceiver(load), "127.0.0.1", 0)
    stack.callback(receiver.close)
    directory = folder / kind
    service = Service(
        directory,
        ServiceOptions(
            pbxes={"bench": {"peers": ["127.0.0.1"]}},
            webhook_url=f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/",
            webhook_key=b"bench key",
            wake={"fresh_s": 0},
            extra={
                "node": {"log_level": "warning"},
                "http": {"requests_per_second": 100_000},
                "recorder": {"enabled": kind == "both"},
            },
        ),
    )
    if kind == "neither":
        service.process = Process(
            [sys.executable, "-m", "benchmarks.without_timeline", "serve"],
            name="push-proxy",
            log=directory / "push-proxy.log",
            env={"PUSH_PROXY_CONFIG": str(service.config)},
        )
    await stack.enter_async_context(service)
    load.proxy = service.sip_address
    await provision(service, load)
    _, pbx = await loop.create_datagram_endpoint(lambda: Pbx(load), local_addr=("127.0.0.1", 0))
    return Contender(name=kind, service=service, load=load, pbx=pbx)


async def _turn(contender: Contender, *, rate: float) -> None:
    contender.load.calls.clear()
    assert contender.pbx is not None
    await run_calls(contender.load, contender.pbx, rate=rate, seconds=TURN_S)
    calls = contender.load.calls.values()
    contender.calls[-1] += len(calls)
    contender.lost += sum(call.answered is None or call.ended is None for call in calls)


def _report(contenders: Sequence[Contender]) -> None:
    print("kept of calls       calls  lost | CPU ms/call          | over neither, by round")
    print("                                | service  store   all |     min  median     max")
    without = [sum(each) for each in contenders[0].per_call_ms()]
    for each in contenders:
        rounds = each.per_call_ms()
        own = sum(own for own, _ in rounds) / len(rounds)
        store = sum(store for _, store in rounds) / len(rounds)
        more = sorted(
            (own + store) / base - 1 for (own, store), base in zip(rounds, without, strict=True)
        )
        ratios = f"{more[0]:+7.1%} {statistics.median(more):+7.1%} {more[-1]:+7.1%}"
        print(
            f"{_NAMES[each.name]:18s} {sum(each.calls):6d} {each.lost:5d} | "
            f"{own:7.2f} {store:6.2f} {own + store:5.2f} | {ratios}"
        )


_NAMES = {
    "neither": "nothing",
    "timeline": "timeline",
    "both": "timeline and SIP",
}


if __name__ == "__main__":
    uvloop.run(main())
