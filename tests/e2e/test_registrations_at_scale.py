"""Many accounts at a real registrar: the bench `registrations`, small and without its clock."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from benchmarks.registrar_log import Seen
from benchmarks.registrations_scene import Scene
from tests.lab.process import poll_until

ACCOUNTS = 300
RATE = 150.0


async def run_import(scene: Scene, file: Path) -> tuple[int, str]:
    """`push-proxy import`: its exit status and its last line."""
    key_file = scene.directory / "api.key"
    key_file.write_text(scene.service.api_key)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "push_proxy", "import", str(file)),
        *("--url", scene.service.url, "--api-key-file", str(key_file)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, text = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, text.decode().splitlines()[-1]


def assert_pace_kept(seen: Seen) -> None:
    """Over the whole run; a tenth of a second's worth may leave at once."""
    least_s = (len(seen.registering) - 1 - RATE / 10) / RATE
    assert seen.registering[-1] - seen.registering[0] > least_s * 0.9


async def registered(scene: Scene) -> int:
    """How many accounts the service holds for registered."""
    text = await scene.service.expect("GET", "/metrics")
    (line,) = (
        line for line in text.splitlines() if line.startswith('push_proxy_registrations{state="reg')
    )
    return int(float(line.rpartition(" ")[2]))


@pytest.mark.slow
async def test_hundreds_of_accounts_over_restarts(workdir: Path) -> None:
    """An import registers all at the PBX's pace, repeated it sends nothing; after a restart of the
    service nothing is registered anew; the registrar's restart is noticed and all are back, again
    at the pace. None is lost, as the registrar counts.
    """
    file = workdir / "accounts.ndjson"
    async with Scene(workdir, rate=RATE, pbx={"qualify_s": 1}) as scene:
        rows = (json.dumps(scene.row(number)) for number in range(1, ACCOUNTS + 1))
        file.write_text("\n".join(rows))
        status, told = await run_import(scene, file)
        assert (status, told.endswith("300 created, 0 updated, 0 unchanged, 0 failed")) == (0, True)
        await scene.bound(ACCOUNTS, within_s=30)
        seen = scene.seen(0)
        assert (seen.accepted, len(seen.registering)) == (ACCOUNTS, ACCOUNTS)
        assert_pace_kept(seen)

        mark = scene.mark()
        status, told = await run_import(scene, file)
        assert (status, told.endswith("0 created, 0 updated, 300 unchanged, 0 failed")) == (0, True)
        await scene.service.stop()
        await scene.service.start()
        assert await registered(scene) == ACCOUNTS
        # The watch asks for one of them every second: it goes on while nothing is registered.
        asked = len(scene.seen(mark).attempts)
        assert await poll_until(lambda: len(scene.seen(mark).attempts) > asked + 1, within_s=10)
        assert scene.seen(mark).registering == ()
        assert await scene.kamailio.binding_count() == ACCOUNTS

        mark = scene.mark()
        await scene.kamailio.restart()
        await scene.bound(ACCOUNTS, within_s=60)
        seen = scene.seen(mark)
        assert seen.accepted == ACCOUNTS
        assert_pace_kept(seen)
