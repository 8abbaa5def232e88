"""What a call's timeline and the recorder of its SIP cost: CPU per call, with and without.

`./dev bench timeline_cost [--rate 50] [--turns 20] [--lives 4]`. Three services run beside each
other, each as in production: one that keeps nothing of calls (`without_timeline`), one with
timelines, which is the default, and one with timelines and the recorder. They get the same wake
calls (as `wake_latency`), in turns of a second, so that whatever else the machine does meets all
of them. CPU is what the kernel counts for the service and its Valkey until a while after the last
call: what is done later (writing records, ending transactions) and at rest is in.

Two processes of the same program differ by some percent for as long as they live: memory lies
otherwise, hashes fall otherwise. So all is begun anew several times, each time with another seed
of Python's hashes, the same for all three.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
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
    calls: int = 0
    lost: int = 0
    own_s: float = 0.0
    """CPU of the service, and of its Valkey, since `begin`; after `end`."""
    store_s: float = 0.0

    @property
    def per_call_ms(self) -> float:
        """CPU of both."""
        return (self.own_s + self.store_s) * 1000 / self.calls

    def begin(self) -> None:
        """What it uses counts from now on."""
        own_s, store_s = self._used()
        self.own_s, self.store_s = -own_s, -store_s

    def end(self) -> None:
        """What it uses counts no more."""
        own_s, store_s = self._used()
        self.own_s += own_s
        self.store_s += store_s

    def _used(self) -> tuple[float, float]:
        pid = self.service.process.pid
        assert pid is not None
        return cost_of(pid).cpu_s, sum(cost_of(child).cpu_s for child in children(pid))


async def main(argv: Sequence[str] | None = None) -> None:
    """Run all lives and print a table."""
    parser = argparse.ArgumentParser(prog="./dev bench timeline_cost", description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="calls per second")
    parser.add_argument("--turns", type=int, default=20, help="of each service in a life")
    parser.add_argument("--lives", type=int, default=4, help="how often all begins anew")
    options = parser.parse_args(argv)
    busy = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, load average {busy}"
    )
    lives = []
    for number in range(options.lives):
        lives.append(await _life(options, number))
        print(f"life {number + 1}: {_summary(lives[-1])}", flush=True)
    _report(lives)


async def _life(options: argparse.Namespace, seed: int) -> list[Contender]:
    """Three new processes, and what they used."""
    with tempfile.TemporaryDirectory(prefix="push-proxy-bench-") as name:
        async with AsyncExitStack() as stack:
            contenders = [await _contender(Path(name), kind, seed, stack) for kind in _NAMES]
            for each in contenders:
                assert each.pbx is not None
                await run_calls(each.load, each.pbx, rate=20, seconds=3)  # not counted
            await asyncio.sleep(LAST_S)
            for each in contenders:
                each.begin()
            for turn in range(options.turns):
                first = turn % len(contenders)
                for each in (*contenders[first:], *contenders[:first]):
                    await _turn(each, rate=options.rate)
            await asyncio.sleep(LAST_S)
            for each in contenders:
                each.end()
            return contenders


async def _contender(folder: Path, kind: str, seed: int, stack: AsyncExitStack) -> Contender:
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
    module = "benchmarks.without_timeline" if kind == "neither" else "push_proxy"
    service.process = Process(
        [sys.executable, "-m", module, "serve"],
        name="push-proxy",
        log=directory / "push-proxy.log",
        env={"PUSH_PROXY_CONFIG": str(service.config), "PYTHONHASHSEED": str(seed)},
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
    contender.calls += len(calls)
    contender.lost += sum(call.answered is None or call.ended is None for call in calls)


def _more(contenders: Sequence[Contender]) -> list[float]:
    """What each used more than the first, as a share."""
    return [each.per_call_ms / contenders[0].per_call_ms - 1 for each in contenders]


def _summary(contenders: Sequence[Contender]) -> str:
    return ", ".join(
        f"{_NAMES[each.name]} {each.per_call_ms:.2f} ms ({more:+.1%})"
        for each, more in zip(contenders, _more(contenders), strict=True)
    )


def _report(lives: Sequence[Sequence[Contender]]) -> None:
    print("kept of calls       calls  lost | CPU ms/call          | over nothing | by life")
    print("                                | service  store   all |   all calls  |    min     max")
    base = 0.0
    for place, several in enumerate(zip(*lives, strict=True)):
        calls, lost = sum(each.calls for each in several), sum(each.lost for each in several)
        own = sum(each.own_s for each in several) * 1000 / calls
        store = sum(each.store_s for each in several) * 1000 / calls
        base = base or own + store
        more = [_more(life)[place] for life in lives]
        print(
            f"{_NAMES[several[0].name]:18s} {calls:6d} {lost:5d} | "
            f"{own:7.2f} {store:6.2f} {own + store:5.2f} | {(own + store) / base - 1:+10.1%}   | "
            f"{min(more):+6.1%}  {max(more):+6.1%}"
        )


_NAMES = {
    "neither": "nothing",
    "timeline": "timeline",
    "both": "timeline and SIP",
}


if __name__ == "__main__":
    uvloop.run(main())
