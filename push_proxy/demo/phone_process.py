"""A simulated phone as a child process, followed by the events that it prints."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Self

from .process import Process, poll_until


class PhoneProcess:
    """One `push-proxy phone`."""

    def __init__(self, directory: Path, name: str, *options: str) -> None:
        self.process = Process(
            [sys.executable, "-m", "push_proxy.phone", *options],
            name=f"phone {name}",
            log=directory / f"{name}.log",
        )

    async def __aenter__(self) -> Self:
        self.process.start()
        await self.event("listening")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.stop()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Its events so far, all or those called `name`, oldest first."""
        lines = (line for line in self.process.output().splitlines() if line.startswith("{"))
        events = [json.loads(line) for line in lines]
        return [event for event in events if name in (None, event["event"])]

    async def event(self, name: str, *, nth: int = 1, within_s: float = 10.0) -> dict[str, Any]:
        """The `nth` event called `name`, now or within `within_s`. Raises `ProcessError`."""
        if not await poll_until(lambda: len(self.events(name)) >= nth, within_s=within_s):
            raise self.process.failure(f"had no {nth}. event {name!r} within {within_s} s")
        return self.events(name)[nth - 1]

    @property
    def url(self) -> str:
        """Where it takes pushes."""
        return str(self.events("listening")[0]["url"])

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
