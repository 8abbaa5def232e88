"""The demo, as the first thing that anybody runs."""

import json
import sys
from pathlib import Path

from tests.lab.process import Process


async def test_demo(workdir: Path) -> None:
    """`push-proxy demo --json` ends with 0 and one JSON object: the call was answered, RTP flowed
    both ways, and every span was measured.
    """
    log = workdir / "demo.log"
    demo = Process([sys.executable, "-m", "push_proxy", "demo", "--json"], name="demo", log=log)
    demo.start()
    assert await demo.wait_exit(within_s=60) == 0, demo.output()
    found = json.loads(demo.output().splitlines()[-1])
    assert (found["ok"], found["faults"], found["verdict"]) == (True, [], "answered")
    assert min(found["rtp"].values()) > 50
    assert all(value is not None and value >= 0 for value in found["ms"].values()), found["ms"]
    events = [entry["event"] for entry in found["timeline"]]
    assert events.index("push_sent") < events.index("registered") < events.index("answered")
