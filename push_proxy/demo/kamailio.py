"""Kamailio as a small PBX: digest, registrar, parallel forking, calls to a trunk peer."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .kamailio_options import KamailioOptions
from .pbx_log import PbxEvent, parse_log
from .ports import free_port
from .process import Process, ProcessError, poll_until

CONFIG = Path(__file__).with_name("kamailio.cfg")
START_S = 10.0


@dataclass(frozen=True, slots=True)
class PbxContact:
    """One binding in the PBX's registrar."""

    uri: str
    expires_s: int
    call_id: str
    cseq: int
    user_agent: str
    path: str
    received: str
    instance: str


@dataclass(slots=True)
class Kamailio:
    """One Kamailio on `options.host`:`port` (UDP and TCP; TLS at `tls_port`), in `directory`.

    Keep `directory` short: it holds a Unix socket, whose path may have 107 bytes at most.
    """

    directory: Path
    port: int
    options: KamailioOptions = field(default_factory=KamailioOptions)
    process: Process = field(init=False)
    tls_port: int = field(init=False, default=0)
    """0 without TLS."""

    def __post_init__(self) -> None:
        if self.options.tls is not None:
            self.tls_port = free_port()
        self.process = Process(
            ["kamailio", *self._arguments()],
            name="Kamailio",
            log=self.directory / "kamailio.log",
        )

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.options.host, self.port

    @property
    def domain(self) -> str:
        """Host and port as they stand in its users' addresses of record."""
        return f"{self.options.host}:{self.port}"

    def address_for(self, transport: str) -> tuple[str, int]:
        """Where it listens for `udp`, `tcp` or `tls`. Raises ValueError without TLS."""
        if transport != "tls":
            return self.address
        if not self.tls_port:
            raise ValueError("this Kamailio has no TLS: give it options.tls")
        return self.options.host, self.tls_port

    def uri(self, transport: str = "udp") -> str:
        """Itself as a registrar, such as `sip:127.0.0.1:15001;transport=tls`."""
        by = "" if transport == "udp" else f";transport={transport}"
        return "sip:{}:{}".format(*self.address_for(transport)) + by

    def aor(self, user: str) -> str:
        """The address of record of `user`, such as `sip:101@127.0.0.1:15000`."""
        return f"sip:{user}@{self.domain}"

    def password(self, user: str) -> str:
        """The digest password of `user`."""
        return f"{self.options.password_prefix}{user}"

    async def start(self) -> None:
        """Start it and wait until it answers. Raises ProcessError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._rpc_socket.unlink(missing_ok=True)
        if self.options.tls is not None:
            self._tls_config.write_text(self.options.tls.configuration())
        self.process.start()
        if not await poll_until(self._listens_or_ended, within_s=START_S):
            raise self.process.failure(f"did not listen within {START_S} s")
        if not self.process.running:
            raise self.process.failure(f"ended with status {self.process.returncode}")

    async def stop(self) -> None:
        """Stop it; every binding is lost, nobody is told. Idempotent."""
        await self.process.stop()

    async def restart(self) -> None:
        """Stop and start: a PBX that has forgotten every registration."""
        await self.stop()
        await self.start()

    def events(self) -> list[PbxEvent]:
        """Everything the PBX has logged so far, oldest first."""
        return parse_log(self.process.output())

    async def wait_for(self, *, within_s: float = 5.0, **fields: str | int) -> PbxEvent:
        """The first logged event whose attributes equal `fields`, now or within `within_s`.

        Raises ProcessError with the log when there is none.
        """
        found: list[PbxEvent] = []

        def seen() -> bool:
            found.extend(event for event in self.events() if event.matches(**fields))
            return bool(found)

        if not await poll_until(seen, within_s=within_s):
            raise self.process.failure(f"saw no event with {fields} within {within_s} s")
        return found[0]

    async def bindings(self, user: str) -> list[PbxContact]:
        """The contacts that are registered for `user` at this moment; empty for none."""
        answer = await self.rpc("ul.lookup", ["location", user])
        if "error" in answer:
            return []
        contacts = [entry["Contact"] for entry in answer["result"]["Contacts"]]
        return [
            PbxContact(
                uri=contact["Address"],
                expires_s=int(contact["Expires"]) if str(contact["Expires"]).isdigit() else 0,
                call_id=contact["Call-ID"],
                cseq=int(contact["CSeq"]),
                user_agent=contact["User-Agent"],
                path=_unset(contact["Path"]),
                received=_unset(contact["Received"]),
                instance=_unset(contact["Instance"]),
            )
            for contact in contacts
        ]

    async def binding_count(self) -> int:
        """How many contacts are registered, of all users."""
        answer = await self.rpc("stats.get_statistics", ["location_contacts"])
        return int(answer["result"][0].rpartition("=")[2])

    async def rpc(self, method: str, parameters: Sequence[str | int] = ()) -> dict[str, Any]:
        """One JSON-RPC call on Kamailio's control socket; the whole answer object."""
        request = {"jsonrpc": "2.0", "method": method, "params": list(parameters), "id": 1}
        reply = await asyncio.to_thread(self._exchange, json.dumps(request).encode())
        answer: dict[str, Any] = json.loads(reply)
        return answer

    @property
    def _rpc_socket(self) -> Path:
        return self.directory / "rpc"

    @property
    def _tls_config(self) -> Path:
        return self.directory / "tls.cfg"

    def _exchange(self, request: bytes) -> bytes:
        ours = self.directory / f"rpc-client-{id(request)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(START_S)
            client.bind(str(ours))
            try:
                client.sendto(request, str(self._rpc_socket))
                return client.recv(1 << 20)
            except OSError as error:
                raise ProcessError(f"Kamailio's control socket: {error}") from error
            finally:
                ours.unlink()

    def _listens_or_ended(self) -> bool:
        if not self.process.running:
            return True
        probe = (
            f"OPTIONS sip:{self.domain} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self.options.host};rport;branch=z9hG4bKready\r\n"
            f"From: <sip:ready@{self.domain}>;tag=1\r\nTo: <sip:{self.domain}>\r\n"
            "Call-ID: ready\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\nContent-Length: 0\r\n\r\n"
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.05)
            client.connect(self.address)
            try:
                client.send(probe.encode())
                return client.recv(4096).startswith(b"SIP/2.0 ")
            except OSError:  # refused or silent: it does not listen yet
                return False

    def _arguments(self) -> list[str]:
        defines = [f'RPC_SOCKET="{self._rpc_socket}"', *self.options.defines()]
        listen = [f"-l{kind}:{self.options.host}:{self.port}" for kind in ("udp", "tcp")]
        if self.tls_port:
            listen.append(f"-ltls:{self.options.host}:{self.tls_port}")
            defines.append(f'TLS_CONFIG="{self._tls_config}"')
        listen.append(f"--alias={self.options.realm}")
        place = ["-f", str(CONFIG), "-w", str(self.directory), "-Y", str(self.directory)]
        memory = ["-m", str(self.options.shared_memory_mib), "-M", "4"]
        settings = [argument for define in defines for argument in ("-A", define)]
        return ["-DD", "-E", *place, *memory, *listen, *settings]


def _unset(text: str) -> str:
    return "" if text in ("[not set]", "[no socket]") else text
