"""What a provider in trouble costs everybody else: nothing, or this many milliseconds.

`./dev bench provider_trouble [--rate 30] [--seconds 20]`. The load of `wake_latency` (phones
woken by webhook) runs five times in one run: with all providers well; with an APNs that takes
pushes and never answers; with an OAuth endpoint of Google that takes 2 s and forgets its tokens
every second; with both; all well again. Beside it calls go to phones of the provider in trouble.
APNs and FCM are the doubles of ``tests/doubles``, in the load's process.
"""

import argparse
import asyncio
import contextlib
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from push_proxy.demo.service import APP_ID, Service, ServiceOptions
from push_proxy.tasks import spawn
from tests.doubles.apns import ApnsDouble, silence
from tests.doubles.fcm import FcmDouble, slow

from .wake_latency import provision, run_calls
from .wake_load import REALM, Call, Load, Pbx, PushReceiver, value

TROUBLED = 200
TROUBLED_PER_SECOND = 10.0
OAUTH_S = 2.0
SETTLE_S = 3.0
_LOOK_S = 0.002


class TimedPbx(Pbx):
    """Notes when an INVITE was answered by 100."""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.trying: dict[bytes, float] = {}

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """The first 100, then as ever."""
        if data.startswith(b"SIP/2.0 100"):
            self.trying.setdefault(value(data, b"Call-ID"), time.perf_counter())
        super().datagram_received(data, address)


class Stops:
    """How long the load's own loop stood still: what it measures is late by as much."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look every two milliseconds."""
        watching = spawn(self._watch(), name="stops of the load")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_LOOK_S)
            self.longest_s = max(self.longest_s, time.perf_counter() - before - _LOOK_S)


async def main(argv: Sequence[str] | None = None) -> None:
    """Run the five phases and print a table."""
    parser = argparse.ArgumentParser(prog="./dev bench provider_trouble", description=__doc__)
    parser.add_argument("--rate", type=float, default=30.0, help="calls per second")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each phase")
    options = parser.parse_args(argv)
    loop = asyncio.get_running_loop()
    load = Load(proxy=("127.0.0.1", 0))
    receiver = await loop.create_server(lambda: PushReceiver(load), "127.0.0.1", 0)
    cores, version = os.cpu_count(), platform.python_version()
    busy = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"machine: {platform.machine()}, {cores} cores, Python {version}, load average {busy}")
    with tempfile.TemporaryDirectory(prefix="push-proxy-bench-") as name:
        directory = Path(name)
        async with ApnsDouble(directory / "apns") as apns, FcmDouble(directory / "fcm") as fcm:
            service = Service(directory, _options(receiver.sockets[0].getsockname()[1], apns, fcm))
            async with service:
                load.proxy = service.sip_address
                await provision(service, load)
                await _provision_troubled(service, apns, fcm)
                _, pbx = await loop.create_datagram_endpoint(
                    lambda: TimedPbx(load), local_addr=("127.0.0.1", 0)
                )
                _, other = await loop.create_datagram_endpoint(
                    lambda: Pbx(load), local_addr=("127.0.0.1", 0)
                )
                await run_calls(load, pbx, rate=20, seconds=2)  # warm-up, not counted
                print(_HEAD)
                for phase in ("all well", "apns", "oauth", "both", "all well"):
                    stops = Stops()
                    async with stops.watched(), _trouble(phase, other, apns, fcm):
                        load.calls.clear()
                        pbx.trying.clear()
                        await run_calls(load, pbx, rate=options.rate, seconds=options.seconds)
                        calls = {k: c for k, c in load.calls.items() if c.user not in _NAMES}
                        print(_row(phase, calls, pbx.trying) + f"| {stops.longest_s * 1000:6.2f}")
    receiver.close()


def _options(push_port: int, apns: ApnsDouble, fcm: FcmDouble) -> ServiceOptions:
    return ServiceOptions(
        pbxes={"bench": {"peers": ["127.0.0.1"]}},
        webhook_url=f"http://127.0.0.1:{push_port}/",
        webhook_key=b"bench key",
        wake={"fresh_s": 0, "deadline_s": 5, "repush_after_s": None},
        extra={
            "http": {"requests_per_second": 100_000},
            "providers": {
                "apns": [
                    {
                        "app_id": APP_ID,
                        "team_id": apns.team_id,
                        "key_id": apns.key_id,
                        "key_file": str(apns.key_file),
                        "base_url": apns.production.base_url,
                        "ca_file": str(apns.ca_file),
                    }
                ],
                "fcm": [
                    {
                        "app_id": APP_ID,
                        "service_account_file": str(fcm.service_account_file),
                        "base_url": fcm.base_url,
                        "ca_file": str(fcm.ca_file),
                    }
                ],
            },
        },
    )


_NAMES = frozenset(f"{kind}{number}" for kind in ("a", "f") for number in range(TROUBLED))


async def _provision_troubled(service: Service, apns: ApnsDouble, fcm: FcmDouble) -> None:
    for user in sorted(_NAMES):
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
        ios = user.startswith("a")
        token = apns.device(APP_ID).token if ios else fcm.device().token
        device = {"provider": "apns" if ios else "fcm", "app_id": APP_ID, "token": token}
        await service.expect("PUT", f"/v1/accounts/{user}/devices/d", device)


@contextlib.asynccontextmanager
async def _trouble(phase: str, pbx: Pbx, apns: ApnsDouble, fcm: FcmDouble) -> AsyncIterator[None]:
    """Calls to phones of the provider in trouble, for as long as the phase goes on."""
    kinds = {"all well": "af", "apns": "a", "oauth": "f", "both": "af"}[phase]
    well = apns.always, fcm.oauth_always
    if phase in {"apns", "both"}:
        apns.always = silence()
    if phase in {"oauth", "both"}:
        fcm.oauth_always = slow(OAUTH_S)

    async def call_them() -> None:
        first = time.time_ns()
        for number in range(1_000_000):
            pbx.call(f"{kinds[number % len(kinds)]}{number % TROUBLED}", first + number)
            if phase in {"oauth", "both"} and number % int(TROUBLED_PER_SECOND) == 0:
                fcm.revoke_tokens()
            await asyncio.sleep(1 / TROUBLED_PER_SECOND)

    calling = spawn(call_them(), name="calls to the provider in trouble")
    try:
        yield
    finally:
        calling.cancel()
        await asyncio.wait([calling])
        apns.always, fcm.oauth_always = well
        await asyncio.sleep(SETTLE_S)


_HEAD = (
    "in trouble   calls  lost | INVITE->100 ms         | INVITE->push ms        | "
    "REGISTER->INVITE ms    | load's\n"
    "                         |    p50    p99    max    |    p50    p99    max    | "
    "   p50    p99    max   | stop ms"
)


def _row(phase: str, calls: dict[bytes, Call], trying: dict[bytes, float]) -> str:
    good = {k: c for k, c in calls.items() if c.answered is not None and c.ended is not None}
    first = [trying[key] - call.invite for key, call in good.items() if key in trying]
    push = [call.push - call.invite for call in good.values() if call.push is not None]
    relay = [
        call.relayed - call.register
        for call in good.values()
        if call.relayed is not None and call.register is not None
    ]
    lost = len(calls) - len(good)
    return (
        f"{phase:10s} {len(calls):7d} {lost:5d} | {_cuts(first)} | {_cuts(push)} | {_cuts(relay)}"
    )


def _cuts(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "     -      -      -   "
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return " ".join(f"{at * 1000:6.2f}" for at in (cuts[49], cuts[98], max(seconds))) + "   "


if __name__ == "__main__":
    asyncio.run(main())  # the doubles are made for asyncio's own loop
