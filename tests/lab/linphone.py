"""Linphone's daemon, a real softphone without a face or a sound card, over UDP, TCP or TLS."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from .ports import free_block
from .process import Process, ProcessError

START_S = 30.0
ANSWER_S = 10.0
POLL_S = 0.03
_EVENT = re.compile(r"^Event: (\S+)$.*?^Id: (\d+)$", re.MULTILINE | re.DOTALL)
_pipes = itertools.count()


@dataclass(slots=True, kw_only=True)
class Linphone:
    """One phone process with one account, alive from `start` (woken) to `stop` or `kill`."""

    directory: Path
    user: str
    domain: str
    """Of the AOR; it is not looked up."""
    proxy: tuple[str, int]
    """Registrar and outbound proxy in one."""
    password: str
    realm: str
    auto_answer: bool = True
    expires_s: int = 60
    transport: str = "udp"
    ca: Path | None = None
    """Whom it believes over TLS. It compares DNS names only: `Authority.issue(for_linphone=)`."""
    contact_parameters: str = ""
    """URI parameters of its Contact, as on a phone those of its push services."""
    process: Process = field(init=False)
    events: list[str] = field(default_factory=list)
    """Call states since the start, such as `LinphoneCallIncomingReceived`, oldest first."""
    _call: str = ""
    """Number of the call that the last event was about."""
    _pipe: Path = field(init=False)
    _stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        # It puts the socket into /tmp, whatever one says.
        self._pipe = Path("/tmp") / f"pp-linphone-{os.getpid()}-{next(_pipes)}"
        arguments = ["linphone-daemon", "--config", str(self.directory / "linphonerc")]
        arguments += ["--pipe", self._pipe.name, "--log", str(self.directory / "linphone.log")]
        arguments += ["--disable-stats-events"] + ["--auto-answer"] * self.auto_answer
        home = str(self.directory)
        self.process = Process(
            arguments,
            name=f"Linphone {self.user}",
            log=self.directory / "linphone.out",
            env={"HOME": home, "XDG_RUNTIME_DIR": home},
        )

    async def start(self) -> None:
        """Start the process, which registers at once; returns when it takes commands.

        Raises ProcessError.
        """
        # Without its database it does not even listen.
        (self.directory / ".local" / "share" / "linphone").mkdir(parents=True, exist_ok=True)
        self._write_configuration()
        self.events.clear()
        self.process.start()
        deadline = time.monotonic() + START_S
        while self._stream is None:
            try:
                self._stream = await asyncio.open_unix_connection(self._pipe)
            except OSError as error:
                if time.monotonic() > deadline or not self.process.running:
                    raise self._failure(f"takes no commands: {error}") from error
                await asyncio.sleep(0.01)
        if self.auto_answer:
            await self._answer_early_call()

    async def stop(self) -> None:
        """It unregisters and ends. Idempotent."""
        self._hang_up_control()
        await self.process.stop()

    def kill(self) -> None:
        """It is gone without a word, as when the system kills an app."""
        self._hang_up_control()
        self.process.kill()

    async def command(self, text: str) -> str:
        """Any command of its daemon; what it answers. Raises ProcessError when it refuses."""
        if self._stream is None:
            raise ProcessError("Linphone sleeps: start() it first")
        reader, writer = self._stream
        async with self._one_at_a_time:
            writer.write(text.encode())
            answer = (await asyncio.wait_for(reader.read(1 << 16), ANSWER_S)).decode()
        if not answer.startswith("Status: Ok"):
            raise self._failure(f"refused {text!r}: {answer}")
        return answer

    async def registered(self, *, within: float = 10.0) -> None:
        """Waits until its registration stands. Raises ProcessError."""
        await self._answers("register-status ALL", "LinphoneRegistrationOk", within)

    async def dial(self, uri: str) -> None:
        """Call `uri`."""
        await self.command(f"call {uri}")

    async def ringing(self, *, within: float = 10.0) -> None:
        """Waits for a call that it shows to its user. Raises ProcessError."""
        await self._event("LinphoneCallIncomingReceived", within)

    async def answer(self) -> None:
        """Take the call that rings."""
        await self.command("answer")

    async def established(self, *, within: float = 10.0) -> None:
        """Waits until a call is up and its ACK sent or received; it may have to wake first.

        Its media runs before the ACK has come, and over UDP a REFER may overtake the ACK, which
        Linphone does not answer. Raises ProcessError.
        """
        began = time.monotonic()
        await self._event("LinphoneCallStreamsRunning", within)
        while not self._is_acknowledged():
            if time.monotonic() - began > within:
                raise self._failure(f"saw no ACK within {within} s")
            await asyncio.sleep(POLL_S)

    async def hang_up(self) -> None:
        """End the current call, or reject the one that rings."""
        await self.command("terminate")

    async def ended(self, *, within: float = 10.0) -> None:
        """Waits until a call has ended. Raises ProcessError."""
        await self._event("LinphoneCallEnd", within)

    async def hold(self, *, within: float = 10.0) -> None:
        """Put the call on hold, and wait until the other side has agreed."""
        await self.command(f"call-pause {self._call}")
        await self._event("LinphoneCallPaused", within)

    async def resume(self, *, within: float = 10.0) -> None:
        """Take the call off hold, and wait until the other side has agreed."""
        seen = self.events.count("LinphoneCallStreamsRunning")
        await self.command(f"call-resume {self._call}")
        await self._event("LinphoneCallStreamsRunning", within, count=seen + 1)

    async def _answer_early_call(self) -> None:
        """It registers before it has read that it is to answer by itself: a call may be quicker."""
        while await self._pop_events():
            pass
        if self.events[-1:] == ["LinphoneCallIncomingReceived"]:
            # Refused when it has answered just now.
            with contextlib.suppress(ProcessError):
                await self.answer()

    async def _pop_events(self) -> bool:
        found = _EVENT.findall(await self.command("pop-event"))
        for state, call in found:
            self.events.append(state)
            self._call = call
        return bool(found)

    async def _event(self, name: str, within: float, *, count: int = 1) -> None:
        deadline = time.monotonic() + within
        while self.events.count(name) < count:
            if time.monotonic() > deadline:
                raise self._failure(f"had no {count}. {name} within {within} s: {self.events}")
            if self._stream is not None:
                await self._pop_events()
            await asyncio.sleep(POLL_S)

    async def _answers(self, command: str, wanted: str, within: float) -> None:
        deadline = time.monotonic() + within
        while wanted not in (answer := await self.command(command)):
            if time.monotonic() > deadline:
                raise self._failure(f"no {wanted} within {within} s: {answer}")
            await asyncio.sleep(POLL_S)

    def _is_acknowledged(self) -> bool:
        """Whether its newest INVITE, in whichever direction, has had an ACK."""
        said = self.directory.joinpath("linphone.log").read_text(errors="replace")
        return said.rfind("\nACK sip") > said.rfind("\nINVITE sip")

    def _failure(self, what: str) -> ProcessError:
        log = self.directory / "linphone.log"
        tail = log.read_text(errors="replace")[-6000:] if log.exists() else ""
        return ProcessError(f"{self.process.failure(what)}\n{tail}")

    def _hang_up_control(self) -> None:
        if self._stream is not None:
            self._stream[1].close()
            self._stream = None
        self._pipe.unlink(missing_ok=True)

    def _write_configuration(self) -> None:
        first = free_block(4)
        ports = {"udp": "sip_port", "tcp": "sip_tcp_port", "tls": "sip_tls_port"}
        where = "sip:{}:{};transport={}".format(*self.proxy, self.transport)
        sections: dict[str, dict[str, str | int]] = {
            "sip": {
                **{key: first if name == self.transport else 0 for name, key in ports.items()},
                "bind_address": "127.0.0.1",
                "use_ipv6": 0,
                "guess_hostname": 0,
                # Else a machine with loopback alone has no network for it.
                "auto_net_state_mon": 0,
                "register_only_when_network_is_up": 0,
                "root_ca": str(self.ca or ""),
                "verify_server_certs": 1,
                "verify_server_cn": 1,
                "default_proxy": 0,
                # Milliseconds after a registration that failed; a minute by default.
                "refresher_retry_after": 1000,
            },
            "rtp": {"audio_rtp_port": first + 2, "bind_address": "127.0.0.1"},
            "video": {"enabled": 0, "capture": 0, "display": 0},
            "auth_info_0": {
                "username": self.user,
                "passwd": self.password,
                "realm": self.realm,
                "domain": self.domain,
            },
            "proxy_0": {
                "reg_proxy": f"<{where}>",
                "reg_route": f"<{where};lr>",
                "reg_identity": f"sip:{self.user}@{self.domain}",
                "reg_expires": self.expires_s,
                "reg_sendregister": 1,
                "publish": 0,
                "contact_uri_parameters": self.contact_parameters,
            },
        }
        self.directory.joinpath("linphonerc").write_text(
            "\n".join(
                f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in section.items())
                for name, section in sections.items()
            )
        )
