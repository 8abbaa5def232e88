"""One Asterisk on free loopback ports, with its command line and what it saw on the wire."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.lab.ports import free_block
from tests.lab.process import Process, ProcessError, poll_until

from . import config, installation, trace
from .options import AsteriskOptions
from .trace import Packet

START_S = 20.0
COMMAND_S = 10.0
POLL_S = 0.05
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AsteriskContact:
    """One contact of an AOR."""

    uri: str
    status: str
    """`Avail`, `Unavail`, `NonQual` (not qualified), or empty when it was not listed."""
    user_agent: str
    path: str


@dataclass(frozen=True, slots=True)
class Channel:
    """One leg of a call."""

    name: str
    """Such as `PJSIP/101-00000001`."""
    state: str
    """`Up`, `Ring`, `Ringing`, …"""
    bridge: str
    """Whom it talks to share this; empty while it talks to nobody."""

    @property
    def user(self) -> str:
        """The extension."""
        return self.name.partition("/")[2].rpartition("-")[0]


@dataclass(slots=True)
class Asterisk:
    """One Asterisk, working in `directory`; keep that short: it holds a Unix socket.

    Contacts are kept over `restart`, as Asterisk does; `forget` restarts it without them.
    Raises installation.NotInstalled when there is none.
    """

    directory: Path
    options: AsteriskOptions = field(default_factory=AsteriskOptions)
    process: Process = field(init=False)
    _places: config.Places = field(init=False)

    def __post_init__(self) -> None:
        root = installation.root()
        sip = free_block(2)
        self._places = config.Places(
            directory=self.directory,
            root=root,
            port=sip,
            tls_port=sip + 1,
            rtp_port=free_block(config.RTP_PORTS),
            log=self.directory / "asterisk.log",
        )
        self.process = Process(
            installation.command(root, *self._configured, "-f", "-q"),
            name=f"Asterisk {self.directory.name}",
            log=self._places.log,
            # The host's OpenSSL settings are for another version.
            env={"OPENSSL_CONF": "/dev/null", "HOME": str(self.directory)},
        )

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens by UDP and TCP."""
        return self.address_for("udp")

    def address_for(self, transport: str) -> tuple[str, int]:
        """Where it listens over `udp`, `tcp`, or `tls` (with `options.tls`)."""
        places = self._places
        return self.options.host, places.tls_port if transport == "tls" else places.port

    def uri(self, transport: str = "udp") -> str:
        """Its URI as a registrar over this transport."""
        host, port = self.address_for(transport)
        return f"sip:{host}:{port}" + ("" if transport == "udp" else f";transport={transport}")

    @property
    def domain(self) -> str:
        """Host and port."""
        return f"{self.options.host}:{self._places.port}"

    def aor(self, user: str) -> str:
        """The address of record of `user`, by address and port."""
        return f"sip:{user}@{self.domain}"

    def password(self, user: str) -> str:
        """The digest password of `user`."""
        return f"pw-{user}"

    async def start(self) -> None:
        """Start it and wait until all its modules run. Raises ProcessError."""
        config.write(self.options, self._places)
        since = self.process.output_size()
        self.process.start()
        await self.process.wait_for("Asterisk Ready", within_s=START_S, since=since)

    async def stop(self) -> None:
        """Stop it; contacts stay in its database. Idempotent."""
        await self.process.stop(within_s=5)

    async def restart(self) -> None:
        """Stop and start; the contacts come back from its database."""
        await self.stop()
        await self.start()

    async def forget(self) -> None:
        """Restart it without a database: every contact is lost, nobody is told."""
        await self.stop()
        for file in (self.directory / "lib").glob("astdb*"):
            file.unlink()
        await self.start()

    async def command(self, text: str) -> str:
        """What its command line answers. Raises ProcessError."""
        argv = installation.command(self._places.root, *self._configured, "-rx", text)
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"OPENSSL_CONF": "/dev/null", "HOME": str(self.directory)},
        )
        try:
            output, _ = await asyncio.wait_for(child.communicate(), COMMAND_S)
        except TimeoutError:
            child.kill()
            await child.wait()
            raise self.process.failure(f"did not answer {text!r} in {COMMAND_S} s") from None
        if child.returncode:
            raise ProcessError(f"asterisk -rx {text!r}: {output.decode(errors='replace')}")
        return output.decode(errors="replace")

    async def contacts(self, user: str) -> list[AsteriskContact]:
        """The contacts of `user`, oldest first; empty for none."""
        stored = await self.command("database show registrar")
        listed = await self.command("pjsip show contacts")
        found: list[tuple[int, AsteriskContact]] = []
        for match in re.finditer(
            rf"^/registrar/contact/{re.escape(user)};@(\w+)\s*: (\{{.*\}})", stored, re.MULTILINE
        ):
            fields: dict[str, Any] = json.loads(match[2])
            # The list shows the first 10 characters of the same hash.
            status = re.search(rf"\s{match[1][:10]}\s+(\S+)", listed)
            contact = AsteriskContact(
                uri=fields["uri"].replace("^3B", ";"),
                status=status[1] if status else "",
                user_agent=fields.get("user_agent", ""),
                path=fields.get("path", "").replace("^3B", ";"),
            )
            found.append((int(fields.get("expiration_time", 0)), contact))
        return [contact for _, contact in sorted(found, key=lambda pair: pair[0])]

    async def wait_contacts(
        self,
        user: str,
        condition: Callable[[list[AsteriskContact]], bool],
        *,
        within_s: float = 5.0,
    ) -> list[AsteriskContact]:
        """The contacts as soon as `condition` holds for them. Raises ProcessError."""
        return await self._until(lambda: self.contacts(user), condition, within_s)

    async def channels(self) -> list[Channel]:
        """All legs of calls."""
        lines = (await self.command("core show channels concise")).splitlines()
        rows = [line.split("!") for line in lines if line.count("!") >= 13]
        return [Channel(name=row[0], state=row[4], bridge=row[12]) for row in rows]

    async def wait_channels(
        self, condition: Callable[[list[Channel]], bool], *, within_s: float = 5.0
    ) -> list[Channel]:
        """The channels as soon as `condition` holds for them. Raises ProcessError."""
        return await self._until(self.channels, condition, within_s)

    async def wait_bridged(self, *users: str, within_s: float = 5.0) -> None:
        """Waits until these talk to each other: a little later than the ACK of the 200.

        Before that, Asterisk accepts REFER with 202 and then says 400 by NOTIFY.
        """

        def together(found: list[Channel]) -> bool:
            ours = [channel for channel in found if channel.user in users]
            bridges = [{c.bridge for c in ours if c.user == user} - {""} for user in users]
            return bool(set.intersection(*bridges))

        await self.wait_channels(together, within_s=within_s)

    async def wait_hung_up(self, *users: str, within_s: float = 5.0) -> None:
        """Waits until none of these has a call."""
        await self.wait_channels(
            lambda found: not any(channel.user in users for channel in found), within_s=within_s
        )

    def packets(self, *, since: int = 0) -> list[Packet]:
        """Every SIP message so far, from byte `since` of its log."""
        return trace.read(self._places.log.read_bytes()[since:])

    def mark(self) -> int:
        """A mark for `since`."""
        return self.process.output_size()

    async def wait_packet(
        self, condition: Callable[[Packet], bool], *, since: int = 0, within_s: float = 5.0
    ) -> Packet:
        """The first message that fits, now or within `within_s`. Raises ProcessError."""
        found: list[Packet] = []

        def seen() -> bool:
            found.extend(each for each in self.packets(since=since) if condition(each))
            return bool(found)

        if not await poll_until(seen, within_s=within_s):
            raise self.process.failure(f"saw no such message within {within_s} s")
        return found[0]

    def leave_message(self, user: str, name: str = "msg0000") -> None:
        """Put a message into the mailbox of `user`; Asterisk looks every second."""
        inbox = self.directory / "spool/voicemail/default" / user / "INBOX"
        inbox.mkdir(parents=True, exist_ok=True)
        (inbox / f"{name}.wav").write_bytes(b"")
        (inbox / f"{name}.txt").write_text("[message]\norigmailbox=" + user + "\n")

    async def _until(
        self,
        ask: Callable[[], Awaitable[list[T]]],
        condition: Callable[[list[T]], bool],
        within_s: float,
    ) -> list[T]:
        deadline = time.monotonic() + within_s
        while not condition(found := await ask()):
            if time.monotonic() > deadline:
                raise self.process.failure(f"is not as expected after {within_s} s: {found}")
            await asyncio.sleep(POLL_S)
        return found

    @property
    def _configured(self) -> tuple[str, str]:
        return "-C", str(self.directory / "etc/asterisk.conf")
