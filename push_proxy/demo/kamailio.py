"""Kamailio as a small PBX: digest, registrar, parallel forking, calls to a trunk peer."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .pbx_log import PbxEvent, parse_log
from .process import Process, ProcessError, poll_until

CONFIG = Path(__file__).with_name("kamailio.cfg")
START_S = 10.0
SAVE_ALL_CONTACTS = "0x00"
SAVE_ONE_CONTACT = "0x04"


@dataclass(frozen=True, slots=True)
class Trunk:
    """Calls for some users go to a SIP peer instead of to their registered contacts."""

    host: str
    port: int
    users: str
    """Regular expression over the called user, such as `^(101|102)$`."""
    names_peer: bool = True
    """Whether the Request-URI names the peer (as Asterisk does) or keeps the PBX's own host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KamailioOptions:
    """What kind of PBX it is. Any user may register with the password `pw-<user>`."""

    host: str = "127.0.0.1"
    realm: str = "pbx.test"
    algorithm: str = "MD5"
    """Of its digest challenges: MD5 or SHA-256."""
    password_prefix: str = "pw-"  # noqa: S105 - invented, for a PBX on loopback
    wrong_password_is_forbidden: bool = False
    """403 to a wrong password; otherwise another 401, as most PBXs do."""
    nonce_s: int = 300
    max_contacts: int = 10
    """More than that are refused with 503."""
    single_contact: bool = False
    """A new contact silently replaces the old one."""
    min_expires_s: int = 1
    """A shorter registration gets 423 with Min-Expires."""
    max_expires_s: int = 3600
    ring_s: float = 60.0
    """A call that nobody answers is cancelled after that; the caller gets 408."""
    answer_s: float = 5.0
    """How long a contact may stay wholly silent before the branch counts as 408."""
    qualify_s: int | None = None
    """OPTIONS to every contact that often."""
    qualify_limit_s: int = 4
    """With `qualify_s`: a contact that leaves OPTIONS unanswered so long expires 10 s later."""
    trunk: Trunk | None = None


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
    """One Kamailio on `options.host`:`port` (UDP and TCP), working in `directory`.

    Keep `directory` short: it holds a Unix socket, whose path may have 107 bytes at most.
    """

    directory: Path
    port: int
    options: KamailioOptions = field(default_factory=KamailioOptions)
    process: Process = field(init=False)

    def __post_init__(self) -> None:
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

    async def rpc(self, method: str, parameters: Sequence[str | int] = ()) -> dict[str, Any]:
        """One JSON-RPC call on Kamailio's control socket; the whole answer object."""
        request = {"jsonrpc": "2.0", "method": method, "params": list(parameters), "id": 1}
        reply = await asyncio.to_thread(self._exchange, json.dumps(request).encode())
        answer: dict[str, Any] = json.loads(reply)
        return answer

    @property
    def _rpc_socket(self) -> Path:
        return self.directory / "rpc"

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
        options = self.options
        texts = {
            "RPC_SOCKET": str(self._rpc_socket),
            "REALM": options.realm,
            "PASSWORD_PREFIX": options.password_prefix,
            "ALGORITHM": options.algorithm,
            "SAVE_FLAGS": SAVE_ONE_CONTACT if options.single_contact else SAVE_ALL_CONTACTS,
        }
        words: dict[str, int] = {
            "NONCE_S": options.nonce_s,
            "MAX_CONTACTS": options.max_contacts,
            "MIN_EXPIRES": options.min_expires_s,
            "MAX_EXPIRES": options.max_expires_s,
            "RING_MS": round(options.ring_s * 1000),
            "ANSWER_MS": round(options.answer_s * 1000),
        }
        if options.wrong_password_is_forbidden:
            words["WRONG_PASSWORD_IS_FORBIDDEN"] = 1
        if options.qualify_s is not None:
            words["QUALIFY_S"] = options.qualify_s
            words["QUALIFY_LIMIT_S"] = options.qualify_limit_s
        if (trunk := options.trunk) is not None:
            texts["TRUNK_HOST"] = trunk.host
            texts["TRUNK_USERS"] = trunk.users
            texts["TRUNK_URI"] = f"sip:{trunk.host}:{trunk.port}"
            words["TRUNK_PORT"] = trunk.port
            if trunk.names_peer:
                words["TRUNK_NAMES_PEER"] = 1
        defines = [f'{name}="{value}"' for name, value in texts.items()]
        defines += [f"{name}={value}" for name, value in words.items()]
        listen = [f"-l{kind}:{options.host}:{self.port}" for kind in ("udp", "tcp")]
        place = ["-f", str(CONFIG), "-w", str(self.directory), "-Y", str(self.directory)]
        memory = ["-m", "32", "-M", "4"]
        settings = [argument for define in defines for argument in ("-A", define)]
        return ["-DD", "-E", *place, *memory, *listen, *settings]


def _unset(text: str) -> str:
    return "" if text in ("[not set]", "[no socket]") else text
