"""Simulated phones in processes of their own, followed by the events that they print."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from push_proxy.demo.process import Process, poll_until

PUSH = {"v": "1", "type": "call", "call_id": "3f1c", "account": "a", "device": "d"}


class PhoneProcess:
    """One `push-proxy phone`."""

    def __init__(self, directory: Path, name: str, *options: str) -> None:
        self.process = Process(
            [sys.executable, "-m", "push_proxy.phone", *options],
            name=f"phone {name}",
            log=directory / f"{name}.log",
            cwd=Path(__file__).parents[2],
        )

    async def __aenter__(self) -> Self:
        self.process.start()
        await self.event("listening")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.stop()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        lines = (line for line in self.process.output().splitlines() if line.startswith("{"))
        events = [json.loads(line) for line in lines]
        return [event for event in events if name in (None, event["event"])]

    async def event(self, name: str, *, nth: int = 1, within_s: float = 10.0) -> dict[str, Any]:
        """The `nth` event called `name`, now or within `within_s`."""
        if not await poll_until(lambda: len(self.events(name)) >= nth, within_s=within_s):
            raise self.process.failure(f"had no {nth}. event {name!r} within {within_s} s")
        return self.events(name)[nth - 1]

    @property
    def url(self) -> str:
        return str(self.events("listening")[0]["url"])

    async def push(self, payload: Any = PUSH, *, key: bytes | None = None, at: int = 0) -> int:
        """POST a push, signed when `key` is given; the HTTP status."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = {}
        if key is not None:
            stamp = str(at or int(time.time()))
            digest = hmac.new(key, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
            headers["X-Push-Proxy-Signature"] = f"t={stamp},sha256={digest}"
        return await self.post("", body, headers)

    async def post(
        self, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> int:
        request = urllib.request.Request(self.url + path, body, headers or {}, method="POST")
        return await asyncio.to_thread(_status_of, request)

    async def status(self) -> dict[str, Any]:
        def get() -> dict[str, Any]:
            with urllib.request.urlopen(self.url + "status", timeout=5) as answer:
                return json.load(answer)

        return await asyncio.to_thread(get)

    def udp_ports(self) -> list[int]:
        """Local ports of the UDP sockets that the process has at this moment."""
        held = set()
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                held.add(str(descriptor.readlink()))
        ports = []
        for table in ("udp", "udp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if f"socket:[{fields[9]}]" in held:
                    ports.append(int(fields[1].rpartition(":")[2], 16))
        return ports


def _status_of(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
