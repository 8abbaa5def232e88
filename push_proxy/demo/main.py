"""`push-proxy demo`: one call to a sleeping phone, end to end on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import judge, report
from .process import ProcessError
from .pushing import PROVIDERS, ProviderName
from .scene import open_scene, place_call


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 only if the whole call happened."""
    parser = argparse.ArgumentParser(
        prog="push-proxy demo",
        description="One call to a sleeping phone, end to end on this machine: Kamailio as PBX, "
        "the service with an embedded Valkey, and a phone without any SIP socket until its push "
        "arrives. Exit status 0 only if RTP flowed both ways and the PBX's own log agrees.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object as the last line"
    )
    parser.add_argument(
        "--provider",
        choices=PROVIDERS,
        default="webhook",
        help="how the phone is pushed: straight, or through a double of APNs or FCM (source tree "
        "only); default %(default)s",
    )
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    options = parser.parse_args(argv)
    # Unix socket paths are short: 107 bytes.
    with tempfile.TemporaryDirectory(prefix="push-proxy-demo-") as directory:
        try:
            return asyncio.run(
                _run(
                    Path(directory),
                    provider=options.provider,
                    as_json=options.json,
                    keep=options.keep,
                )
            )
        except ProcessError as error:
            print(f"the demo failed: {error}", file=sys.stderr)
            if options.json:
                print(json.dumps({"ok": False, "faults": [str(error).splitlines()[0]]}))
            return 1
        except KeyboardInterrupt:
            return 130


async def _run(directory: Path, *, provider: ProviderName, as_json: bool, keep: bool) -> int:
    def say(text: str) -> None:
        print(f"demo: {text}", file=sys.stderr if as_json else sys.stdout, flush=True)

    async with open_scene(directory, say, provider=provider) as scene:
        call = await place_call(scene, directory, say)
        found = judge.faults(call, scene.pbx.events())
        for line in report.lines(call):
            say(line)
        for fault in found:
            say(f"FAULT: {fault}")
        if not found:
            say("the call was held, pushed, woken, relayed, answered and hung up")
        if as_json:
            print(json.dumps(report.as_json(call, found, provider=provider)), flush=True)
        if keep:
            say(f"everything keeps running; console and API at {scene.service.url}")
            say(f"API key (tenant demo): {scene.service.api_key}")
            say(f"PBX at {scene.pbx.domain}; Ctrl-C ends it all")
            await asyncio.Event().wait()
    return 1 if found else 0
