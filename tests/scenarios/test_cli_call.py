"""``push-proxy call`` against a running service: the real command and real calls."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from tests.lab.service import LabService

from .conftest import Extension, MakeExtension


async def show(
    service: LabService, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command with the service's address and key in its environment."""
    clean = {name: value for name, value in os.environ.items() if "PUSH_PROXY" not in name}
    ours = {"PUSH_PROXY_URL": service.url, "PUSH_PROXY_API_KEY": service.api_key, "COLUMNS": "80"}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "push_proxy", "call", *arguments],
        env={**clean, **ours, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def declined(ext: Extension) -> dict[str, Any]:
    """A call that woke the phone and was declined; its record."""
    call, incoming = await ext.woken(caller="0301234")
    incoming.ring()
    incoming.reject(603, "Decline")
    assert (await call.final()).status == 603
    return await ext.record(call)


async def test_the_story_of_a_call(extension: MakeExtension) -> None:
    """By our id and by the SIP Call-ID the same: header, then the timeline in its order."""
    ext = await extension()
    record = await declined(ext)
    by_id = await show(ext.service, record["id"])
    by_sip = await show(ext.service, record["sip_call_id"])
    assert (by_id.returncode, by_id.stderr) == (0, "")
    assert (by_sip.returncode, by_sip.stdout) == (0, by_id.stdout)
    lines = by_id.stdout.splitlines()
    assert lines[0] == f"call     {record['id']} (incoming, ended)"
    assert f"account  {ext.account}" in lines
    assert f"caller   0301234 calls {ext.user}" in lines
    assert "verdict  declined, fault: nobody" in lines
    assert max(map(len, lines)) <= 80
    table = lines[lines.index("") + 2 :]
    steps = [entry["event"] for entry in record["timeline"]]
    shown = [word for line in table for word in line.split() if word in set(steps)]
    assert shown == steps
    handset = next(line for line in table if "push_sent" in line).split()
    assert handset[1:3] == ["handset", "push_sent"]
    assert 0 <= float(handset[0]) < 5000


async def test_the_story_for_programs(extension: MakeExtension) -> None:
    """--json: exactly what the API says, advice in the language that was asked for."""
    ext = await extension()
    record = await declined(ext)
    shown = await show(ext.service, record["id"], "--json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout) == record
    wrong = await show(ext.service, record["id"], "--language", "?")
    assert (wrong.returncode, "language" in wrong.stderr) == (1, True)
    assert (await show(ext.service, record["id"], "--language", "it")).returncode == 0


async def test_several_calls_with_one_call_id(extension: MakeExtension) -> None:
    """They are listed with their ids, newest first, and the exit status is 3."""
    first, second = await extension(), await extension()
    one = first.call()
    await first.pushed()
    two = second.call(call_id=one.invite.call_id)
    await second.pushed()
    await one.cancel()
    await two.cancel()
    records = [await second.record(two), await first.record(one)]
    shown = await show(first.service, one.invite.call_id)
    assert (shown.returncode, "name one by its id" in shown.stderr) == (3, True)
    assert [line for line in shown.stdout.splitlines() if not line.startswith(" ")] == [
        record["id"] for record in records
    ]
    assert second.account in shown.stdout
    listed = await show(first.service, one.invite.call_id, "--json")
    assert listed.returncode == 3
    found = json.loads(listed.stdout)["candidates"]
    assert [each["id"] for each in found] == [record["id"] for record in records]


async def test_what_cannot_be_shown(service: LabService) -> None:
    """One line says what was wrong and what to do: no such call, a wrong key, no key."""
    for name in ("4b1f0a52-8a3b-4c19-9f0e-2d5a6f7c8e90", "nobody@nowhere.example"):
        unknown = await show(service, name)
        assert unknown.returncode == 1
        assert unknown.stderr.startswith(f"push-proxy: no call has the id or SIP Call-ID {name!r};")
        assert unknown.stderr.count("\n") == 1
    refused = await show(service, "x", PUSH_PROXY_API_KEY="wrong")
    assert refused.returncode == 1
    assert "send a valid key" in refused.stderr
    keyless = await show(service, "x", PUSH_PROXY_API_KEY="")
    assert (keyless.returncode, "give --key" in keyless.stderr) == (2, True)
