"""The APNs double as a process: for the demo, and for a service that is tried by hand.

It writes `apns.json` into its directory (where it listens, whom to believe, key file, key and team
id) and then prints one JSON line `{"event": "listening", ...}`; one more for each push. What a
device gets is POSTed as JSON to the device's URL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from .apns import BUNDLE, ApnsDouble
from .apns_world import ENVIRONMENTS, PRODUCTION, Delivery, Request

POST_S = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.apns", description=__doc__)
    add = parser.add_argument
    add("--directory", type=Path, required=True, help="where its files go")
    add("--bundle", default=BUNDLE, help="the app that is known (default %(default)s)")
    add("--environment", choices=ENVIRONMENTS, default=PRODUCTION, help="of the devices")
    add("--device", nargs=2, action="append", default=[], metavar=("TOKEN", "URL"))
    add("--alert-device", nargs=2, action="append", default=[], metavar=("TOKEN", "URL"))
    asyncio.run(_run(parser.parse_args(argv)))
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with aiohttp.ClientSession() as http, ApnsDouble(options.directory) as apns:
        apns.app(options.bundle)
        apns.listener = _tell
        for kind, devices in (("voip", options.device), ("alert", options.alert_device)):
            for token, url in devices:
                apns.device(
                    options.bundle,
                    token=token,
                    kind=kind,
                    environment=options.environment,
                    deliver=_poster(http, url),
                )
        found = _described(apns)
        (options.directory / "apns.json").write_text(json.dumps(found))
        _say("listening", **found)
        await stop.wait()


def _tell(request: Request) -> None:
    _say(
        "push",
        type=request.push_type,
        environment=request.environment,
        delivered=request.delivered,
        reason=request.reason,
    )


def _poster(http: aiohttp.ClientSession, url: str) -> Any:
    async def deliver(delivery: Delivery) -> None:
        timeout = aiohttp.ClientTimeout(total=POST_S)
        try:
            async with http.post(url, json=delivery.payload, timeout=timeout) as response:
                _say("delivered", type=delivery.push_type, status=response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            _say("undelivered", type=delivery.push_type, error=type(error).__name__)

    return deliver


def _described(apns: ApnsDouble) -> dict[str, Any]:
    return {
        "production": list(apns.production.address),
        "sandbox": list(apns.sandbox.address),
        "ca_file": str(apns.ca_file),
        "key_file": str(apns.key_file),
        "key_id": apns.key_id,
        "team_id": apns.team_id,
    }


def _say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), file=sys.stdout, flush=True)
