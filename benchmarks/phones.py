"""What phones cost while they rest: a device, a registered connection, a REGISTER, a keep-alive.

`./dev bench phones [--phones 4000] [--rate 100]`. Accounts of the topology `trunk` with one device
each; then every phone connects over TCP, registers (challenged, proved), registers again, and
sends a keep-alive (RFC 5626). Memory and CPU are the kernel's counts of the service and its
Valkey; each row is what was added since the row before.
"""

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from push_proxy.demo.service import APP_ID, Service, ServiceOptions

from .phones_client import RestingPhone
from .process_cost import Cost, children, cost_of
from .wake_latency import provision, run_calls
from .wake_load import REALM, Load, Pbx, PushReceiver

AT_ONCE = 8
CALLS = 1000
SETTLE_S = 3.0
_HEAD = (
    "step                       phones  failed | service RSS MiB  kB each | CPU ms each "
    "| Valkey kB each  CPU ms each | descriptors"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Both processes at one moment."""

    service: Cost
    valkey: Cost
    descriptors: int


async def main(argv: Sequence[str] | None = None) -> None:
    """Run all steps and print a table."""
    parser = argparse.ArgumentParser(prog="./dev bench phones", description=__doc__)
    parser.add_argument("--phones", type=int, default=4000, help="how many (default %(default)s)")
    parser.add_argument("--rate", type=float, default=100.0, help="REGISTERs begun per second")
    options = parser.parse_args(argv)
    load_average = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, load average {load_average}"
    )
    loop = asyncio.get_running_loop()
    load = Load(proxy=("127.0.0.1", 0))
    receiver = await loop.create_server(lambda: PushReceiver(load), "127.0.0.1", 0)
    with tempfile.TemporaryDirectory(prefix="push-proxy-bench-") as directory:
        service = Service(
            Path(directory),
            ServiceOptions(
                pbxes={"bench": {"peers": ["127.0.0.1"]}},
                webhook_url=f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/",
                webhook_key=b"benchmark key",
                listen=("udp", "tcp"),
                extra={"http": {"requests_per_second": 100_000}},
            ),
        )
        async with service:
            print(_HEAD)
            await steps(service, count=options.phones, rate=options.rate)
            load.proxy = service.sip_address
            await calls(service, load)
    receiver.close()


async def steps(service: Service, *, count: int, rate: float) -> None:
    """All of them, in halves where memory is counted: the first pays for what is there once."""
    half = count // 2
    users = [f"rests{number}" for number in range(count)]
    phones = [RestingPhone(user, f"pw-{user}", service.sip_address) for user in users]
    await step(service, "devices, first half", users[:half], lambda user: device(service, user))
    await step(service, "devices, second half", users[half:], lambda user: device(service, user))
    for name, some in (("first half", phones[:half]), ("second half", phones[half:])):
        await step(service, f"registered, {name}", some, RestingPhone.connect, rate=rate)
    await step(service, "registered again", phones, RestingPhone.register, rate=rate)
    await step(service, "keep-alive", phones, RestingPhone.keep_alive, rate=10 * rate)
    for phone in phones:
        phone.close()


async def calls(service: Service, load: Load) -> None:
    """Wake calls; what the service keeps of their transactions for 32 s is no price of a phone."""
    await provision(service, load)
    _, pbx = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Pbx(load), local_addr=("127.0.0.1", 0)
    )
    before = mark(service)
    await run_calls(load, pbx, rate=50, seconds=CALLS / 50)
    await asyncio.sleep(SETTLE_S)
    failed = sum(call.status != 200 for call in load.calls.values())
    print(row("wake call", CALLS, failed, before, mark(service)))


async def step(
    service: Service,
    name: str,
    items: Sequence[Any],
    act: Callable[[Any], Awaitable[bool]],
    *,
    rate: float = 0.0,
) -> None:
    """Do `act` for each, at the rate (0: as fast as it goes), and print what it cost each."""
    before = mark(service)
    gate = asyncio.Semaphore(1000 if rate else AT_ONCE)

    async def one(item: Any) -> bool:
        async with gate:
            return await act(item)

    running: list[asyncio.Task[bool]] = []
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, item in enumerate(items):
            if rate and (wait := began + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            running.append(group.create_task(one(item)))
    failed = sum(not task.result() for task in running)
    await asyncio.sleep(SETTLE_S)
    after = mark(service)
    print(row(name, len(items), failed, before, after), flush=True)


def row(name: str, count: int, failed: int, before: Mark, after: Mark) -> str:
    """One line of the table."""
    memory = (after.service.private - before.service.private) / 1024 / count
    stored = (after.valkey.rss - before.valkey.rss) / 1024 / count
    cpu = (after.service.cpu_s - before.service.cpu_s) * 1000 / count
    store_cpu = (after.valkey.cpu_s - before.valkey.cpu_s) * 1000 / count
    return (
        f"{name:<25} {count:7d} {failed:7d} | {after.service.rss / 2**20:15.1f} {memory:8.2f} | "
        f"{cpu:11.2f} | {stored:14.2f} {store_cpu:12.2f} | {after.descriptors:11d}"
    )


def mark(service: Service) -> Mark:
    """Now."""
    process = service.process.pid
    (valkey,) = children(process)
    descriptors = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
    return Mark(cost_of(process), cost_of(valkey), descriptors)


async def device(service: Service, user: str) -> bool:
    """An account with one device that is woken by webhook."""
    account = {
        "aor": f"sip:{user}@{REALM}",
        "topology": "trunk",
        "pbx": "bench",
        "app_auth": {"user": user, "realm": REALM, "password": f"pw-{user}"},
    }
    target = {"provider": "webhook", "app_id": APP_ID, "token": f"token-{user}-" + 120 * "x"}
    for path, body in ((user, account), (f"{user}/devices/handset", target)):
        await put(service, f"/v1/accounts/{path}", body)
    return (await service.request("GET", f"/v1/accounts/{user}/devices/handset"))[0] == 200


async def put(service: Service, path: str, body: dict[str, Any]) -> None:
    """A PUT; again when the store did not answer within a second, as on a very busy machine."""
    while True:
        status, _ = await service.request("PUT", path, body)
        if status != 503:
            return
        await asyncio.sleep(1)


if __name__ == "__main__":
    uvloop.run(main())
