"""Registrations at scale: 20,000 accounts at a registrar, and what they cost.

`./dev bench registrations [--accounts 20000] [--rate 200] [--json FILE] [--plot FILE]`. The
service runs as it would in production (embedded Valkey, accounts by import, digest on each
REGISTER, each challenged anew); the registrar is Kamailio on loopback with its bindings in
memory. What the registrar saw is read from its own log.
"""

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from push_proxy.core.registration import EARLIEST_REFRESH, FETCH_EVERY_S, LATEST_REFRESH
from push_proxy.tasks import spawn

from .line_plot import Line, line_plot
from .process_cost import Cost
from .registrar_log import Seen, most_within
from .registrations_calls import CallLoad, Latency
from .registrations_scene import Imported, Scene

SETTLE_S = 6.0
"""Longer than a finished REGISTER transaction is kept over UDP (RFC 3261 §17.1.2.2)."""
IDLE_S = 15.0
PUTS, ROUNDS = 100, 3
SHORT_EXPIRES_S = 60
REFRESHING = 2_000
CALLS = 200
QUALIFY_S = 5
READY_S = 120.0
REFRESH_PART = (EARLIEST_REFRESH + LATEST_REFRESH) / 2
PARTS = ("calls", "rest", "registrar-restart", "service-restart")


class Report:
    """Lines on the terminal, and the same figures for a file."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self.parts: list[str] = list(PARTS)

    def say(self, text: str) -> None:
        print(text, flush=True)

    def keep(self, name: str, value: Any) -> None:
        self.figures[name] = value


async def main(argv: Sequence[str] | None = None) -> None:
    """All parts after each other, on one service and one registrar."""
    parser = argparse.ArgumentParser(prog="./dev bench registrations", description=__doc__)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=200.0, help="registrations per second")
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="what to measure after the registration"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="draw registered accounts over time (SVG)")
    options = parser.parse_args(argv)
    report = Report()
    report.keep("machine", machine())
    report.say(f"machine: {machine()}")
    with tempfile.TemporaryDirectory(prefix="pp-bench-") as directory:
        calls = CallLoad()
        await calls.open()
        scene = Scene(
            Path(directory),
            rate=options.rate,
            webhook_url=calls.push_url,
            pbx={"qualify_s": QUALIFY_S},
        )
        async with scene:
            report.parts = options.parts.split(",")
            lines = await measure(scene, calls, report, total=options.accounts, rate=options.rate)
        calls.close()
    if options.json:
        options.json.write_text(json.dumps(report.figures, indent=2) + "\n")
    if options.plot:
        options.plot.write_text(line_plot("registered accounts", "seconds", lines))


def machine() -> str:
    """What ran it, and how busy it was."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {load}"
    )


async def measure(
    scene: Scene, calls: CallLoad, report: Report, *, total: int, rate: float
) -> list[Line]:
    """Every part; the curves of what was registered."""
    stages = [total // 4, total // 2, total]
    await puts(scene, report, have=0)
    first = await registering(scene, report, stages=stages, rate=rate)
    curves = [Line("first registration", first)]
    if "calls" in report.parts:
        await calling(scene, calls, report, total=total)
    if "rest" in report.parts:
        await resting(scene, report, total=total)
    if "registrar-restart" in report.parts:
        again = await registrar_restart(scene, calls, report, total=total, rate=rate)
        curves.append(Line("after the registrar's restart", again))
    if "service-restart" in report.parts:
        await service_restart(scene, report, total=total)
    report.say(f"at the end: {machine()}")
    report.keep("machine_at_end", machine())
    return curves


async def puts(scene: Scene, report: Report, *, have: int) -> None:
    """What one PUT costs beside so many accounts: new ones, that are erased again.

    The best of some rounds: what others do on the machine only adds.
    """
    rounds = [await _put_round(scene) for _ in range(ROUNDS)]
    p50, cpu = (min(figures) * 1000 for figures in zip(*rounds, strict=True))
    report.say(f"PUT of a new account beside {have}: p50 {p50:.2f} ms, CPU {cpu:.2f} ms")
    report.keep(f"put_beside_{have}", {"p50_ms": p50, "cpu_ms": cpu})


async def _put_round(scene: Scene) -> tuple[float, float]:
    names = [f"p{number}" for number in range(PUTS)]
    spent: list[float] = []
    before = scene.service_cost()
    for number, name in enumerate(names):
        body = scene.row(number, aor=f"sip:{name}@bench.test", register="with_device")
        del body["account"]
        began = time.perf_counter()
        await scene.service.expect("PUT", f"/v1/accounts/{name}", body)
        spent.append(time.perf_counter() - began)
    cpu_s = (scene.service_cost().cpu_s - before.cpu_s) / PUTS
    for name in names:
        await scene.service.expect("DELETE", f"/v1/accounts/{name}")
    return sorted(spent)[PUTS // 2], cpu_s


async def registering(
    scene: Scene, report: Report, *, stages: Sequence[int], rate: float
) -> list[tuple[float, float]]:
    """Import and registration in stages; memory after each."""
    report.say(
        "\naccounts  load | import rows/s (first, last 1000) | lost  seconds   per s  max/s  again "
        "| CPU ms each | service RSS private kB each | Valkey RSS  kB each"
    )
    await asyncio.sleep(1.0)
    base, store_base = scene.service_cost(), scene.store_cost()
    report.keep("memory_base", asdict(base))
    curve: list[tuple[float, float]] = []
    have = 0
    began = time.monotonic()
    figures = []
    for stage in stages:
        mark, before = scene.mark(), scene.service_cost()
        offset = time.monotonic() - began
        grown = spawn(
            scene.bound(stage, within_s=60 + 2 * stage / rate), name="count of registrations"
        )
        rows = (scene.row(number) for number in range(have + 1, stage + 1))
        imported = await scene.import_rows(rows)
        if imported.summary["created"] != stage - have:
            raise RuntimeError(f"import: {imported.summary}")
        imported_cost = scene.service_cost()
        points = await grown
        curve += [(offset + at, float(count)) for at, count in points]
        after = scene.service_cost()
        await asyncio.sleep(SETTLE_S)
        found = _stage(
            imported,
            scene.seen(mark),
            stage=stage,
            new=stage - have,
            seconds=points[-1][0],
            cpu_s=after.cpu_s - before.cpu_s,
        )
        found |= _memory(scene, stage, base, store_base)
        found["import_cpu_ms"] = (imported_cost.cpu_s - before.cpu_s) / (stage - have) * 1000
        report.say(_stage_row(found))
        figures.append(found)
        have = stage
        if stage != stages[0]:
            await puts(scene, report, have=stage)
    report.keep("registering", figures)
    return curve


def _stage(
    imported: Imported, seen: Seen, *, stage: int, new: int, seconds: float, cpu_s: float
) -> dict[str, Any]:
    marks: Sequence[float] = imported.marks or (imported.seconds,)
    first = 1000 / marks[9] if len(marks) > 9 else len(marks) * 100 / marks[-1]
    last = 1000 / (marks[-1] - marks[-11]) if len(marks) > 10 else first
    return {
        "accounts": stage,
        "load_average": os.getloadavg()[0],
        "registered": seen.accepted,
        "lost": new - seen.accepted,
        "seconds": seconds,
        "rate": seen.rate,
        "most_in_a_second": most_within(seen.attempts, 1.0),
        "retransmitted": seen.repeated,
        "cpu_ms_each": cpu_s / new * 1000,
        "import_rows_per_s": new / imported.seconds,
        "import_first_1000_per_s": first,
        "import_last_1000_per_s": last,
        "import_first_result_s": imported.first_result_s,
    }


def _memory(scene: Scene, stage: int, base: Cost, store_base: Cost) -> dict[str, Any]:
    cost, store = scene.service_cost(), scene.store_cost()
    return {
        "rss": cost.rss,
        "private": cost.private,
        "bytes_each": (cost.private - base.private) / stage,
        "valkey_rss": store.rss,
        "valkey_bytes_each": (store.rss - store_base.rss) / stage,
    }


def _stage_row(found: Mapping[str, Any]) -> str:
    return (
        f"{found['accounts']:8d} {found['load_average']:5.1f} | {found['import_rows_per_s']:7.0f} "
        f"({found['import_first_1000_per_s']:5.0f}, {found['import_last_1000_per_s']:5.0f})"
        f"           | {found['lost']:4d} {found['seconds']:8.1f} {found['rate']:7.1f} "
        f"{found['most_in_a_second']:6d} {found['retransmitted']:6d} | "
        f"{found['cpu_ms_each']:11.2f} | {found['rss'] / 2**20:11.1f} "
        f"{found['private'] / 2**20:7.1f} "
        f"{found['bytes_each'] / 1000:8.2f} | {found['valkey_rss'] / 2**20:10.1f} "
        f"{found['valkey_bytes_each'] / 1000:8.2f}"
    )


async def calling(scene: Scene, calls: CallLoad, report: Report, *, total: int) -> None:
    """Calls to the first and the last account in turns."""
    users = _called(total)
    await calls.provision(scene, users)
    await calls.run(users, each=20)  # warm-up, not counted
    report.say(
        "\ncalls                | lost | INVITE->push ms p50    p99 | "
        "REGISTER->INVITE ms p50    p99"
    )
    _tell_calls(report, "calls", await calls.run(users, each=CALLS))


def _called(total: int) -> list[str]:
    return ["u1", f"u{total}"]


def _tell_calls(report: Report, name: str, results: Mapping[str, Latency]) -> None:
    for user, found in results.items():
        report.say(
            f"{CALLS} to account {user[1:]:>6s} | {found.lost:4d} | {found.push_p50_ms:19.2f} "
            f"{found.push_p99_ms:6.2f} | {found.relay_p50_ms:23.2f} {found.relay_p99_ms:6.2f}"
        )
    report.keep(name, {f"account {user[1:]}": asdict(found) for user, found in results.items()})


async def resting(scene: Scene, report: Report, *, total: int) -> None:
    """CPU with nothing due, and what one refresh costs; from these the rest at each expiry."""
    before, store = scene.service_cost(), scene.store_cost()
    mark = scene.mark()
    await asyncio.sleep(IDLE_S)
    idle = (scene.service_cost().cpu_s - before.cpu_s) / IDLE_S
    store_idle = (scene.store_cost().cpu_s - store.cpu_s) / IDLE_S
    stray = len(scene.seen(mark).registering)
    # A tenth of them with a short expiry: 2,000 every 48 s are what 20,000 are every 480 s.
    short = min(REFRESHING, total)
    await scene.import_rows(
        scene.row(number, expires_s=SHORT_EXPIRES_S) for number in range(1, short + 1)
    )
    began = time.monotonic()
    await asyncio.sleep(SHORT_EXPIRES_S * 0.6)
    mark, before, store = scene.mark(), scene.service_cost(), scene.store_cost()
    at = time.monotonic()
    while len((seen := scene.seen(mark)).registering) < short:
        if time.monotonic() - began > SHORT_EXPIRES_S * 1.5:
            raise TimeoutError(f"{len(seen.registering)} of {short} refreshed")
        await asyncio.sleep(0.5)
    spent = time.monotonic() - at
    refreshes = len(seen.registering)
    each = (scene.service_cost().cpu_s - before.cpu_s - idle * spent) / refreshes
    store_each = (scene.store_cost().cpu_s - store.cpu_s - store_idle * spent) / refreshes
    report.say(
        f"\nat rest with {total}: {idle:.2%} of a core with nothing due ({stray} REGISTERs); a "
        f"refresh costs {each * 1000:.2f} ms of CPU, challenged anew, and Valkey "
        f"{store_each * 1000:.2f} ms"
    )
    figures: dict[str, Any] = {
        "idle": idle, "store_idle": store_idle, "cpu_ms_per_refresh": each * 1000
    }  # fmt: skip
    for expires_s in (600, 3600):
        refresh_every_s = REFRESH_PART * expires_s
        # What is refreshed seldom is asked for in between, at the same price.
        asked = int(refresh_every_s // FETCH_EVERY_S)
        per_s = total * (1 + asked) / refresh_every_s
        rest = idle + per_s * each
        report.say(
            f"  expires {expires_s}: {per_s:.1f} refreshes and fetches per s, {rest:.1%} of a core"
        )
        figures[f"rest_{expires_s}"] = rest
    report.keep("resting", figures)


async def registrar_restart(
    scene: Scene, calls: CallLoad, report: Report, *, total: int, rate: float
) -> list[tuple[float, float]]:
    """The registrar forgets everything: how long until that is noticed and mended."""
    mark = scene.mark()
    await scene.kamailio.restart()
    wall = time.time()
    meanwhile = None
    if "calls" in report.parts:
        meanwhile = spawn(calls.run(_called(total), each=CALLS), name="calls meanwhile")
    curve = await scene.bound(total, within_s=90 + 2 * total / rate)
    await asyncio.sleep(1.0)
    seen = scene.seen(mark)
    noticed = seen.registering[0] - wall
    most = most_within(seen.attempts, 1.0)
    report.say(
        f"\nregistrar restarted: noticed after {noticed:.1f} s, all {total} registered again "
        f"after {curve[-1][0]:.1f} s ({seen.rate:.1f} per s, at most {most} in a second, "
        f"{seen.repeated} retransmitted); calls meanwhile:"
    )
    if meanwhile is not None:
        _tell_calls(report, "calls_meanwhile", await meanwhile)
    report.keep(
        "registrar_restart",
        {"noticed_s": noticed, "repaired_s": curve[-1][0], "rate": seen.rate,
         "most_in_a_second": most, "retransmitted": seen.repeated},
    )  # fmt: skip
    return [(at, float(count)) for at, count in curve]


async def service_restart(scene: Scene, report: Report, *, total: int) -> None:
    """The service goes on where it was: ready soon, and nothing is registered anew."""
    await scene.service.stop()
    mark = scene.mark()
    began = time.monotonic()
    await scene.service.start(ready=False)
    await scene.service.wait_ready(within_s=READY_S)
    ready = time.monotonic() - began
    cost = scene.service_cost()
    await asyncio.sleep(IDLE_S)
    seen = scene.seen(mark)
    has = await scene.kamailio.binding_count()
    report.say(
        f"service restarted: ready after {ready:.1f} s ({cost.cpu_s:.1f} s of CPU, RSS "
        f"{cost.rss / 2**20:.0f} MiB); within {IDLE_S:g} s it sent {len(seen.registering)} "
        f"REGISTERs, {has} of {total} are registered"
    )
    report.keep(
        "service_restart",
        {"ready_s": ready, "cpu_s": cost.cpu_s, "rss": cost.rss,
         "registers": len(seen.registering), "registered": has},
    )  # fmt: skip


if __name__ == "__main__":
    uvloop.run(main())
