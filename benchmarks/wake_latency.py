"""Wake calls at several rates: what the service adds between INVITE and push, REGISTER and INVITE.

`./dev bench wake_latency [--rates 50,100,300] [--seconds 20]`. The service runs as it would in
production (embedded Valkey, append-only file, durable write of each held INVITE, webhook push
over HTTP, digest on each REGISTER); phones, PBX and push receiver share the other core. What is
measured includes loopback and the generator's own event loop.
"""

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from push_proxy.demo.service import APP_ID, Service, ServiceOptions

from .wake_load import REALM, Call, Load, Pbx, Phone, PushReceiver

ACCOUNTS = 600
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds and resident bytes of the service and its Valkey."""

    cpu_s: float
    store_cpu_s: float
    resident: int


async def main(argv: Sequence[str] | None = None) -> None:
    """Run all rates and print a table."""
    parser = argparse.ArgumentParser(prog="./dev bench wake_latency", description=__doc__)
    parser.add_argument("--rates", default="50,100,300", help="calls per second, by commas")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each rate")
    options = parser.parse_args(argv)
    rates = [float(rate) for rate in options.rates.split(",")]
    loop = asyncio.get_running_loop()
    load = Load(proxy=("127.0.0.1", 0))
    receiver = await loop.create_server(lambda: PushReceiver(load), "127.0.0.1", 0)
    push_port = receiver.sockets[0].getsockname()[1]
    print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory(prefix="push-proxy-bench-") as directory:
        service = Service(
            Path(directory),
            ServiceOptions(
                pbxes={"bench": {"peers": ["127.0.0.1"]}},
                webhook_url=f"http://127.0.0.1:{push_port}/",
                webhook_key=b"benchmark key",
                wake={"fresh_s": 0},
                extra={"http": {"requests_per_second": 100_000}},
            ),
        )
        async with service:
            load.proxy = service.sip_address
            await provision(service, load)
            _, pbx = await loop.create_datagram_endpoint(
                lambda: Pbx(load), local_addr=("127.0.0.1", 0)
            )
            await run_calls(load, pbx, rate=20, seconds=2)  # warm-up, not counted
            print(_HEAD)
            for rate in rates:
                load.calls.clear()
                before, began = _usage(service), time.perf_counter()
                await run_calls(load, pbx, rate=rate, seconds=options.seconds)
                spent = time.perf_counter() - began
                print(_row(rate, list(load.calls.values()), before, _usage(service), spent))
    receiver.close()


async def provision(service: Service, load: Load) -> None:
    """Accounts and devices, woken by webhook, with a phone for each."""
    loop = asyncio.get_running_loop()
    for number in range(ACCOUNTS):
        user = f"u{number}"
        _, phone = await loop.create_datagram_endpoint(
            lambda user=user: Phone(load, user, f"pw-{user}"),  # type: ignore[misc]
            local_addr=("127.0.0.1", 0),
        )
        load.phones[user] = phone
        await service.expect(
            "PUT",
            f"/v1/accounts/{user}",
            {
                "aor": f"sip:{user}@{REALM}",
                "topology": "trunk",
                "pbx": "bench",
                "app_auth": {"user": user, "realm": REALM, "password": f"pw-{user}"},
            },
        )
        await service.expect(
            "PUT",
            f"/v1/accounts/{user}/devices/d",
            {"provider": "webhook", "app_id": APP_ID, "token": f"t-{user}"},
        )


async def run_calls(load: Load, pbx: Pbx, *, rate: float, seconds: float) -> None:
    """Call the accounts in turn, and wait until the calls are over."""
    count = int(rate * seconds)
    began = time.perf_counter()
    first = time.time_ns()
    for number in range(count):
        due = began + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        pbx.call(f"u{number % ACCOUNTS}", first + number)
    deadline = time.perf_counter() + SETTLE_S
    while time.perf_counter() < deadline:
        if all(call.ended is not None for call in load.calls.values()):
            return
        await asyncio.sleep(0.05)


def _usage(service: Service) -> Usage:
    own, store, resident = 0.0, 0.0, 0
    for pid in _family(service.process.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if pid == service.process.pid:
            own = cpu
            resident = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        else:
            store += cpu
    return Usage(own, store, resident)


def _family(pid: int) -> list[int]:
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
            if parent == pid:
                found.append(int(entry.name))
    return found


_HEAD = (
    "calls/s   calls  lost | INVITE->push ms        | REGISTER->INVITE ms    | "
    "CPU ms/call     | busy | RSS\n"
    "                      |   p50    p95    p99    |   p50    p95    p99    | "
    "service  store  |      | MiB"
)


def _row(rate: float, calls: list[Call], before: Usage, after: Usage, seconds: float) -> str:
    good = [call for call in calls if call.answered is not None and call.ended is not None]
    push = [call.push - call.invite for call in good if call.push is not None]
    relay = [
        call.relayed - call.register
        for call in good
        if call.relayed is not None and call.register is not None
    ]
    own = (after.cpu_s - before.cpu_s) * 1000 / max(len(calls), 1)
    store = (after.store_cpu_s - before.store_cpu_s) * 1000 / max(len(calls), 1)
    busy = (after.cpu_s - before.cpu_s) / seconds
    return (
        f"{rate:7.0f} {len(calls):7d} {len(calls) - len(good):5d} | {_cuts(push)} | "
        f"{_cuts(relay)} | "
        f"{own:6.2f}  {store:6.2f}  | {busy:4.0%} | {after.resident / 2**20:4.0f}"
    )


def _cuts(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "     -      -      -  "
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return " ".join(f"{cuts[index] * 1000:6.2f}" for index in (49, 94, 98)) + "  "


if __name__ == "__main__":
    uvloop.run(main())
