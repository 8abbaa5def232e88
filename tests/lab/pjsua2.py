"""The simulated phone of `push-proxy phone` as a test phone: awake from `start` to `stop`."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from push_proxy.demo.phone_process import PhoneProcess

from .process import Process


@dataclass(slots=True, kw_only=True)
class Pjsua2:
    """One phone process with one account; it sends a tone and counts what it hears."""

    directory: Path
    user: str
    domain: str
    """Of the AOR; it is not looked up."""
    proxy: tuple[str, int]
    """Registrar and outbound proxy in one."""
    password: str
    auto_answer: bool = True
    expires_s: int = 60
    transport: str = "udp"
    ca: Path | None = None
    """Whom it believes over TLS."""
    dials: str | None = None
    """It calls this URI when it starts, once it has registered if it does."""
    registers: bool = True
    phone: PhoneProcess = field(init=False)
    _calls: int = 0

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        where = "sip:{}:{}".format(*self.proxy)
        options = [
            *("--aor", f"sip:{self.user}@{self.domain}", "--password", self.password),
            *("--registrar", where, "--proxy", where, "--transport", self.transport),
            *("--answer-after", "0" if self.auto_answer else "3600"),
        ]
        options += ["--expires", str(self.expires_s), "--unregister"]
        options += ["--awake"] if self.dials is None else ["--call", self.dials]
        options += [] if self.registers else ["--no-register"]
        if self.ca is not None:
            options += ["--ca-file", str(self.ca)]
        self.phone = PhoneProcess(self.directory, self.user, *options)

    @property
    def process(self) -> Process:
        """The process."""
        return self.phone.process

    async def start(self) -> None:
        """Start the process, which registers at once. Raises ProcessError."""
        self.process.start()
        await self.phone.event("listening")

    async def stop(self) -> None:
        """It unregisters and ends. Idempotent."""
        await self.process.stop()

    async def registered(self, *, within: float = 10.0) -> None:
        """Waits until its registration stands. Raises ProcessError."""
        await self.phone.event("registered", within_s=within)

    async def established(self, *, within: float = 10.0) -> None:
        """Waits until the next call (the first after the last `established`) is up."""
        self._calls += 1
        await self.phone.event("answered", nth=self._calls, within_s=within)

    async def hang_up(self) -> None:
        """End the current call."""
        await self.post("hangup")

    async def hold(self, *, within: float = 10.0) -> None:
        """Put the call on hold, and wait until the other side has agreed."""
        await self._await_next("held", "hold", within)

    async def resume(self, *, within: float = 10.0) -> None:
        """Take the call off hold, and wait until the other side has agreed."""
        await self._await_next("resumed", "resume", within)

    async def ended(self, *, within: float = 10.0) -> None:
        """Waits until the last established call has ended. Raises ProcessError."""
        await self.phone.event("bye", nth=self._calls, within_s=within)

    async def heard(self) -> int:
        """RTP packets that it has received so far, since the last re-INVITE."""

        def ask() -> int:
            with urllib.request.urlopen(self.phone.url + "status", timeout=5) as answer:
                return int(json.load(answer)["rtp"]["received_packets"])

        return await asyncio.to_thread(ask)

    async def rtp_packets(self, *, within: float = 10.0) -> tuple[int, int]:
        """RTP packets (sent, received) of its first call, known once that has ended."""
        rtp = (await self.phone.event("bye", within_s=within))["rtp"]
        return int(rtp["sent_packets"]), int(rtp["received_packets"])

    async def _await_next(self, event: str, command: str, within: float) -> None:
        nth = len(self.phone.events(event)) + 1
        await self.post(command)
        await self.phone.event(event, nth=nth, within_s=within)

    async def post(self, command: str) -> None:
        """A command of its push listener: `hangup`, `hold` or `resume`."""
        await asyncio.to_thread(self._post, command)

    def _post(self, path: str) -> None:
        request = urllib.request.Request(self.phone.url + path, b"", method="POST")
        urllib.request.urlopen(request, timeout=5).close()
