"""The demo, as the first thing that anybody runs."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import push_proxy
from tests.lab.process import Process

REASONS = {"webhook": "http_204", "apns": "200", "fcm": "200"}
"""What the timeline says of a push that was taken."""


@pytest.mark.parametrize("provider", REASONS)
async def test_demo(workdir: Path, provider: str) -> None:
    """`push-proxy demo --json` ends with 0 and one JSON object: the call was answered, RTP flowed
    both ways, and every span was measured, by whatever way the phone was pushed.
    """
    log = workdir / "demo.log"
    command = [sys.executable, "-m", "push_proxy", "demo", "--json", "--provider", provider]
    demo = Process(command, name="demo", log=log)
    demo.start()
    assert await demo.wait_exit(within_s=60) == 0, demo.output()
    found = json.loads(demo.output().splitlines()[-1])
    assert (found["ok"], found["faults"], found["verdict"]) == (True, [], "answered")
    assert found["provider"] == provider
    assert min(found["rtp"].values()) > 50
    assert all(value is not None and value >= 0 for value in found["ms"].values()), found["ms"]
    events = [entry["event"] for entry in found["timeline"]]
    assert events.index("push_sent") < events.index("registered") < events.index("answered")
    [taken] = [entry for entry in found["timeline"] if entry["event"] == "push_accepted"]
    assert REASONS[provider] in taken["detail"]


@pytest.mark.parametrize("provider", ["apns", "fcm"])
async def test_demo_of_an_installed_package(workdir: Path, provider: str) -> None:
    """An installed package has no doubles of the platforms: it says so at once, and what to do."""
    source = Path(push_proxy.__file__).parent
    shutil.copytree(source, workdir / "push_proxy", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "push_proxy", "demo", "--json", "--provider", provider]
    demo = Process(command, name="demo", log=workdir / "demo.log", cwd=workdir)
    demo.start()
    assert await demo.wait_exit(within_s=20) == 1
    assert f"--provider {provider} needs the project's source tree" in demo.output()
    found = json.loads(demo.output().splitlines()[-1])
    assert found["ok"] is False
    assert len(found["faults"]) == 1
