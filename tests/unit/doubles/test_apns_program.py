"""The APNs double as a process of its own."""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx

from tests.lab.process import Process, poll_until
from tests.lab.push_sink import PushSink

from .apns_sender import VOIP, provider_token

TOKEN = "5a" * 32


async def test_program(workdir: Path, push_sink: PushSink) -> None:
    """It tells where it listens and what a provider needs; a push reaches the phone's URL."""
    double = Process(
        [
            *(sys.executable, "-m", "tests.doubles.apns", "--directory", str(workdir / "apns")),
            *("--device", TOKEN, push_sink.url),
        ],
        name="apns",
        log=workdir / "apns.log",
    )
    double.start()
    await double.wait_for(r'"event": "listening"', within_s=10)
    found = json.loads((workdir / "apns/apns.json").read_text())
    key = SimpleNamespace(
        key_id=found["key_id"], team_id=found["team_id"], file=Path(found["key_file"])
    )
    headers = {
        "authorization": f"bearer {provider_token(key)}",
        "apns-topic": "com.example.phone.voip",
        "apns-push-type": "voip",
        "apns-priority": "10",
        "apns-expiration": "0",
    }
    tls = ssl.create_default_context(cafile=found["ca_file"])
    async with httpx.AsyncClient(http1=False, http2=True, verify=tls, trust_env=False) as http:
        for name in ("production", "sandbox"):
            host, port = found[name]
            url = f"https://{host}:{port}/3/device/{TOKEN}"
            answer = await http.post(url, headers=headers, json=VOIP)
            assert answer.status_code == (200 if name == "production" else 400)
    [push] = await push_sink.wait(1)
    assert push.payload == VOIP
    assert await poll_until(lambda: '"event": "delivered"' in double.output(), within_s=5)
    assert TOKEN not in double.output()
    await double.stop()
    events = [json.loads(line)["event"] for line in double.output().splitlines()]
    assert sorted(events) == ["delivered", "listening", "push", "push"]
