"""The FCM double as a process: for the demo, and for a service that is tried by hand.

It writes `fcm.json` into its directory (where it listens, whom to believe, service account file,
project) and then prints one JSON line `{"event": "listening", ...}`; one more for each push. What a
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

from .fcm import PROJECT, FcmDouble
from .fcm_world import Delivery

POST_S = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.fcm", description=__doc__)
    add = parser.add_argument
    add("--directory", type=Path, required=True, help="where its files go")
    add("--project", default=PROJECT, help="the project that is known (default %(default)s)")
    add("--device", nargs=2, action="append", default=[], metavar=("TOKEN", "URL"))
    add("--fid-device", nargs=2, action="append", default=[], metavar=("FID", "URL"))
    asyncio.run(_run(parser.parse_args(argv)))
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with aiohttp.ClientSession() as http, FcmDouble(options.directory) as fcm:
        account = fcm.account(options.project, name="demo")
        for kind, devices in (("token", options.device), ("fid", options.fid_device)):
            for token, url in devices:
                fcm.device(options.project, kind=kind, token=token, deliver=_poster(http, url))
        found = {
            "address": list(fcm.listener.address),
            "base_url": fcm.base_url,
            "token_uri": fcm.token_uri,
            "ca_file": str(fcm.ca_file),
            "service_account_file": str(account.file),
            "project_id": options.project,
            "sender_id": fcm.projects[options.project].sender_id,
        }
        (options.directory / "fcm.json").write_text(json.dumps(found))
        _say("listening", **found)
        told = 0
        while not stop.is_set():
            for request in fcm.requests[told:]:
                _say(
                    "push",
                    type=request.data.get("type", ""),
                    priority=request.android.get("priority", "normal"),
                    delivered=request.delivered,
                    code=request.code,
                )
            told = len(fcm.requests)
            try:
                await asyncio.wait_for(stop.wait(), 0.02)
            except TimeoutError:
                continue


def _poster(http: aiohttp.ClientSession, url: str) -> Any:
    async def deliver(delivery: Delivery) -> None:
        timeout = aiohttp.ClientTimeout(total=POST_S)
        kind = delivery.data.get("type", "")
        try:
            async with http.post(url, json=delivery.data, timeout=timeout) as response:
                _say("delivered", type=kind, status=response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            _say("undelivered", type=kind, error=type(error).__name__)

    return deliver


def _say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), file=sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
