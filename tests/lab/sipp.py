"""SIPp (Debian `sip-tester`) as callers and phones: scenarios in `sipp/`, one run per call flow.

Debian's knows UDP and TCP; TLS was not built in.

A scenario file reads as a call flow; `<part name="…"/>` stands for `sipp/parts/….xml`.
`<part name="invite"/>` is the plain INVITE, or with a password the whole challenged exchange.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from .ports import free_port
from .process import Process, poll_until
from .sip_message import Message, parse

SCENARIOS = Path(__file__).with_name("sipp")
_PART = re.compile(r' *<part name="([\w-]+)"/>\n')
_TRACE = re.compile(
    rb"^-{10,} (\S+ \S+)\n(?:UDP|TCP) message (sent|received)[^\n]*\n\n(.*?)(?=^-{10,} |\Z)",
    re.MULTILINE | re.DOTALL,
)

_MODES = {"udp": "u1", "tcp": "t1"}


def scenario_text(name: str, *, challenged: bool) -> str:
    """The scenario `name` with its parts put in. Raises FileNotFoundError for unknown names."""
    last = "invite-authenticated" if challenged else "invite-plain"
    flows = {
        "invite": ["invite-plain", "challenge", last] if challenged else [last],
        "invite-again": [last],
    }

    def part(match: re.Match[str]) -> str:
        names = flows.get(match[1], [match[1]])
        return "".join((SCENARIOS / "parts" / f"{part}.xml").read_text() for part in names)

    return _PART.sub(part, (SCENARIOS / f"{name}.xml").read_text())


@dataclass(slots=True)
class SippRun:
    """One SIPp process that plays one scenario."""

    process: Process
    port: int
    trace: Path
    host: str = "127.0.0.1"

    async def finish(self, *, within: float = 20.0) -> list[Message]:
        """Wait until the scenario has ended well; all its messages.

        Raises ProcessError with SIPp's own reasons when a step went otherwise.
        """
        status = await self.process.wait_exit(within_s=within)
        if status != 0:
            raise self.process.failure(
                f"failed with status {status}\n{self._errors()}\n{self._trace_text()}"
            )
        return [message for _, message in self.messages()]

    async def stop(self) -> None:
        """End it before it is done. Idempotent."""
        await self.process.stop()

    def messages(self) -> list[tuple[str, Message]]:
        """(`sent` or `received`, message) so far, in order."""
        data = self.trace.read_bytes() if self.trace.exists() else b""
        # SIPp's trace ends each message with one line feed of its own.
        return [
            (match[2].decode(), parse(match[3].removesuffix(b"\n")))
            for match in _TRACE.finditer(data)
        ]

    def received(self, start: str) -> list[Message]:
        """What it received so far whose start line begins with `start`."""
        return self._which("received", start)

    def sent(self, start: str) -> list[Message]:
        """What it sent so far whose start line begins with `start`."""
        return self._which("sent", start)

    async def wait_received(self, start: str, *, within: float = 5.0, count: int = 1) -> Message:
        """The `count`-th message received that begins with `start`. Raises ProcessError."""
        return await self._wait("received", start, within, count)

    async def wait_sent(self, start: str, *, within: float = 5.0, count: int = 1) -> Message:
        """The `count`-th message sent that begins with `start`. Raises ProcessError."""
        return await self._wait("sent", start, within, count)

    async def registered(self, *, within: float = 5.0) -> None:
        """Waits for the 200 to a phone's REGISTER. Raises ProcessError."""
        await self.wait_received("SIP/2.0 200", within=within)

    async def _wait(self, direction: str, start: str, within: float, count: int) -> Message:
        def enough() -> bool:
            return len(self._which(direction, start)) >= count

        if not await poll_until(enough, within_s=within):
            raise self.process.failure(
                f"{direction} fewer than {count} {start!r} within {within} s\n"
                f"{self._errors()}\n{self._trace_text()}"
            )
        return self._which(direction, start)[count - 1]

    def _which(self, direction: str, start: str) -> list[Message]:
        return [
            message
            for way, message in self.messages()
            if way == direction and message.start.startswith(start)
        ]

    def _errors(self) -> str:
        path = self.trace.with_suffix(".errors")
        return path.read_text(errors="replace")[-4000:] if path.exists() else "no error file"

    def _trace_text(self) -> str:
        return self.trace.read_text(errors="replace")[-8000:] if self.trace.exists() else ""


@dataclass(slots=True)
class Sipp:
    """Starts SIPp processes in `directory`."""

    directory: Path
    runs: list[SippRun] = field(default_factory=list)

    def caller(
        self,
        scenario: str,
        *,
        proxy: tuple[str, int],
        caller: str,
        callee: str,
        domain: str,
        password: str | None = None,
        hold_ms: int = 0,
        calls: int = 1,
        rate: int = 10,
        host: str = "127.0.0.1",
        transport: str = "udp",
    ) -> SippRun:
        """Play a `uac-…` scenario toward `proxy`: `caller` calls `callee`, both at `domain`.

        With `password` the INVITE must be challenged with 407. `hold_ms` fills `<pause/>`.
        """
        arguments = ["-m", str(calls), "-r", str(rate), "-d", str(hold_ms)]
        if scenario == "uac-cancel":
            arguments.append("-pause_msg_ign")  # the 180 that may come while it makes up its mind
        names = {"caller": caller, "callee": callee, "domain": domain}
        credentials = None if password is None else (caller, password)
        return self._start(
            scenario,
            proxy,
            directory=self._directory(scenario),
            names=names,
            credentials=credentials,
            more=arguments,
            host=host,
            transport=transport,
        )

    def phone(
        self,
        scenario: str,
        *,
        registrar: tuple[str, int],
        user: str,
        domain: str,
        password: str,
        hold_ms: int = 0,
        host: str = "127.0.0.1",
        transport: str = "udp",
    ) -> SippRun:
        """Register `user` with digest (401), then take calls as the `uas-…` scenario says.

        One socket: the call is an out-of-call scenario of the registering SIPp. It ends by
        `stop`; whether the call went well show its messages.
        """
        directory = self._directory(scenario)
        called = directory / "called.xml"
        called.write_text(scenario_text(scenario, challenged=False))
        return self._start(
            "register-and-wait",
            registrar,
            directory=directory,
            names={"callee": user, "domain": domain},
            credentials=(user, password),
            more=["-m", "1", "-d", str(hold_ms), "-oocsf", str(called)],
            host=host,
            transport=transport,
        )

    async def stop(self) -> None:
        """Stop every run. Idempotent."""
        for run in self.runs:
            await run.stop()

    def _directory(self, scenario: str) -> Path:
        directory = self.directory / f"sipp{len(self.runs)}-{scenario}"
        directory.mkdir(parents=True)
        return directory

    def _start(
        self,
        scenario: str,
        remote: tuple[str, int],
        *,
        directory: Path,
        names: dict[str, str],
        credentials: tuple[str, str] | None,
        more: list[str],
        host: str,
        transport: str,
    ) -> SippRun:
        file = directory / "scenario.xml"
        file.write_text(scenario_text(scenario, challenged=credentials is not None))
        port, trace = free_port(), directory / "messages.log"
        names = {**names, "attempt": "1" if credentials is None else "2"}
        arguments = ["sipp", "{}:{}".format(*remote), "-t", _MODES[transport]]
        arguments += [
            "-sf",
            str(file),
            "-i",
            host,
            "-p",
            str(port),
            "-bind_local",
            "-nostdin",
            "-aa",
        ]
        arguments += ["-cp", str(free_port()), "-trace_msg", "-message_file", str(trace)]
        arguments += ["-trace_err", "-error_file", str(trace.with_suffix(".errors"))]
        for name, value in names.items():
            arguments += ["-key", name, value]
        if credentials is not None:
            arguments += ["-au", credentials[0], "-ap", credentials[1]]
        process = Process(
            [*arguments, *more],
            name=f"SIPp {directory.name}",
            log=directory / "screen.log",
            env={"TERM": "dumb"},
        )
        process.start()
        run = SippRun(process, port, trace, host)
        self.runs.append(run)
        return run
