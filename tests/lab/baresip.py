"""baresip, a real softphone without a face: it exists only from `start` (woken) to `stop`."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .baresip_control import ControlChannel
from .ports import free_block
from .process import Process, poll_until

MODULES = Path("/usr/lib/baresip/modules")
START_S = 30.0
# baresip binds TLS on the port after SIP's, unasked, so the ports come as one block.
CONTROL_OFFSET, RTP_OFFSET, RTP_PORTS = 2, 4, 20


@dataclass(slots=True, kw_only=True)
class Baresip:
    """One phone process with one account."""

    directory: Path
    user: str
    domain: str
    """Of the AOR, with the port where the AOR has one."""
    proxy: tuple[str, int]
    """Registrar and outbound proxy in one."""
    password: str
    auto_answer: bool = True
    expires_s: int = 60
    transport: str = "udp"
    """`udp`, `tcp` or `tls`. This version takes any certificate over TLS."""
    process: Process = field(init=False)
    sip_port: int = 0
    _control: ControlChannel | None = None
    _log_start: int = 0

    def __post_init__(self) -> None:
        self.process = Process(
            ["baresip", "-f", str(self.directory)],
            name=f"baresip {self.user}",
            log=self.directory / "baresip.log",
        )

    async def start(self) -> None:
        """Start the process, which registers at once; returns when it takes commands.

        Raises ProcessError.
        """
        self.sip_port = free_block(RTP_OFFSET + RTP_PORTS)
        self._write_configuration()
        self._log_start = self.process.output_size()
        self.process.start()
        deadline = time.monotonic() + START_S
        while self._control is None:
            try:
                self._control = await ControlChannel.connect(self.sip_port + CONTROL_OFFSET)
            except OSError as error:
                if time.monotonic() > deadline or not self.process.running:
                    raise self.process.failure(f"takes no commands: {error}") from error
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """It unregisters and ends. Idempotent."""
        self._hang_up_control()
        await self.process.stop()

    def kill(self) -> None:
        """It is gone without a word, as when the system kills an app."""
        self._hang_up_control()
        self.process.kill()

    async def command(self, name: str, parameters: str = "") -> str:
        """Any command of its menu; the text that it prints. Raises RuntimeError."""
        if self.process.running:
            await poll_until(lambda: self._control is not None, within_s=START_S)
        if self._control is None:
            raise RuntimeError("baresip sleeps: start() it first")
        return await self._control.command(name, parameters)

    async def registered(self, *, within: float = 10.0) -> None:
        """Waits for a 2xx to its REGISTER. Raises ProcessError."""
        pattern = rf"/{self.transport.upper()}/v4\}} 200 OK"
        await self.process.wait_for(pattern, within_s=within, since=self._log_start)

    async def dial(self, uri: str) -> None:
        """Call `uri`."""
        await self.command("dial", uri)

    async def answer(self) -> None:
        """Take the call that rings."""
        await self.command("accept")

    async def hang_up(self) -> None:
        """End the current call, or reject the one that rings."""
        await self.command("hangup")

    async def hold(self) -> None:
        """Put the call on hold with a re-INVITE; the other side notices."""
        await self.command("hold")

    async def resume(self) -> None:
        """Take the call off hold with a re-INVITE."""
        await self.command("resume")

    async def call_status(self) -> str:
        """What it says of the current call."""
        return await self.command("callstat")

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Events since it was started, such as CALL_ESTABLISHED, all or of one type."""
        known = self._control.events if self._control else []
        return [event for event in known if kind in (None, event["type"])]

    async def wait_event(
        self, kind: str, *, within: float = 10.0, count: int = 1
    ) -> dict[str, Any]:
        """The `count`-th event of that type, now or within seconds. Raises ProcessError."""
        if not await poll_until(lambda: len(self.events(kind)) >= count, within_s=within):
            seen = [event["type"] for event in self.events()]
            raise self.process.failure(f"had no {kind} within {within} s, only {seen}")
        return self.events(kind)[count - 1]

    async def established(self, *, within: float = 10.0) -> None:
        """Waits until a call is up; it may have to wake first. Raises ProcessError."""
        await self._logged("Call established", within)

    async def ringing(self, *, within: float = 10.0) -> None:
        """Waits for a call that it shows to its user. Raises ProcessError."""
        await self._logged("Incoming call from", within)

    async def ended(self, *, within: float = 10.0) -> str:
        """Waits until the other side ends a call; the reason that it gives. Raises ProcessError."""
        return (await self._logged("session closed: (.*)", within))[1]

    async def rtp_packets(self, *, within: float = 10.0) -> tuple[int, int]:
        """RTP packets (sent, received) of its first call, known once that has ended."""
        summary = await self.process.wait_for(r"^packets: +(\d+) +(\d+)", within_s=within)
        return int(summary[1]), int(summary[2])

    async def _logged(self, pattern: str, within: float) -> re.Match[str]:
        # Not an event: a woken phone has its call before our control connection.
        deadline = time.monotonic() + within
        await poll_until(lambda: self.process.running, within_s=within)
        left_s = max(deadline - time.monotonic(), 0)
        return await self.process.wait_for(pattern, within_s=left_s, since=self._log_start)

    def _hang_up_control(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

    def _write_configuration(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        first_rtp = self.sip_port + RTP_OFFSET
        settings = {
            "sip_listen": f"127.0.0.1:{self.sip_port}",
            "net_interface": "127.0.0.1",
            "ctrl_tcp_listen": f"127.0.0.1:{self.sip_port + CONTROL_OFFSET}",
            "rtp_ports": f"{first_rtp}-{first_rtp + RTP_PORTS}",
            "rtp_stats": "yes",
            "audio_source": "ausine,440",
            "audio_player": "aubridge,phone",
            "audio_alert": "aubridge,alert",
            "ausrc_srate": "48000",
            "ausrc_channels": "2",
            "module_path": str(MODULES),
        }
        lines = [f"{name} {value}" for name, value in settings.items()]
        lines += [f"module {name}.so" for name in ("g711", "ausine", "aubridge")]
        lines += [f"module_tmp {name}.so" for name in ("uuid", "account")]
        lines += [f"module_app {name}.so" for name in ("menu", "ctrl_tcp")]
        (self.directory / "config").write_text("\n".join(lines) + "\n")
        mode = "auto" if self.auto_answer else "manual"
        host, port = self.proxy
        (self.directory / "accounts").write_text(
            f"<sip:{self.user}@{self.domain};transport={self.transport}>"
            f";auth_user={self.user};auth_pass={self.password}"
            f';outbound="sip:{host}:{port};transport={self.transport}"'
            f";regint={self.expires_s};answermode={mode}\n"
        )
