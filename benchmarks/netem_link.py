"""Loopback that loses, doubles, delays and reorders UDP, in a network namespace of our own.

By the kernel's `netem` where it has one. Where it has not, all UDP packets of `lo` are redirected
to a TAP device, meet the same fate in a program of ours (`Userspace`), and come back to `lo`: no
address changes, and no program notices.
"""

import asyncio
import fcntl
import os
import shutil
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Self

from tests.lab.impaired_link import Direction, netem

LOST = 0.10
TWICE = 0.05
REORDERED = 0.25
DELAY_S = 0.010
JITTER_S = 0.005
NETEM = "loss 10% duplicate 5% delay 10ms 5ms reorder 25%"
MARK = "PUSH_PROXY_BENCH_NAMESPACE"
_DEVICE = "impaired0"
_MAC = "02:00:00:00:00:01"
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_LARGEST = 65_536
_TO_US = bytes.fromhex(_MAC.replace(":", "")) + bytes(6)
_IS_UDP = "match ip protocol 17 0xff"


def enter_namespace() -> None:
    """Start this program anew in a network namespace of its own, with `lo` up.

    Raises SystemExit when the system lets nobody have one.
    """
    if os.environ.get(MARK):
        run("ip", "link", "set", "lo", "up")
        return
    for program in ("ip", "tc", "unshare"):
        if shutil.which(program) is None:
            sys.exit(f"'{program}' was not found: install iproute2 and util-linux")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    try:
        run("unshare", "--net", *user, "true")
    except subprocess.CalledProcessError as error:
        sys.exit(f"no network namespace of our own: {error.stderr.strip()}; run it as root")
    os.environ[MARK] = "1"
    module = sys.modules["__main__"].__spec__
    assert module is not None
    again = [sys.executable, "-m", module.name, *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "--net", *user, *again])  # noqa: S606


def run(*command: str) -> str:
    """What the command said. Raises subprocess.CalledProcessError with its complaint."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tc(command: str) -> str:
    """`tc` with these words."""
    return run("tc", *command.split())


def kernel_netem() -> str:
    """Let the kernel impair all UDP on `lo`; what it said when it cannot, else nothing."""
    tc("qdisc add dev lo root handle 1: htb default 1")
    tc("class add dev lo parent 1: classid 1:1 htb rate 10gbit")
    tc("class add dev lo parent 1: classid 1:2 htb rate 10gbit")
    try:
        tc(f"qdisc add dev lo parent 1:2 handle 2: netem {NETEM}")
    except subprocess.CalledProcessError as error:
        tc("qdisc del dev lo root")
        return f"`{' '.join(error.cmd)}`: {error.stderr.strip()}"
    tc(f"filter add dev lo parent 1: protocol ip u32 {_IS_UDP} flowid 1:2")
    return ""


class Userspace:
    """Every UDP packet of `lo` passes through this program's event loop; a context manager."""

    def __init__(self, seed: int) -> None:
        make = netem(
            lost=LOST, twice=TWICE, reordered=REORDERED, delay_s=DELAY_S, jitter_s=JITTER_S
        )
        self.way = Direction(make(seed))
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = struct.pack("16sH", _DEVICE.encode(), _IFF_TAP | _IFF_NO_PI)
        fcntl.ioctl(self._fd, _TUNSETIFF, flags)
        run("ip", "link", "set", _DEVICE, "address", _MAC, "mtu", "65521", "up")
        for name, value in (("route_localnet", "1"), ("accept_local", "1"), ("rp_filter", "0")):
            for device in ("all", "lo", _DEVICE):
                Path(f"/proc/sys/net/ipv4/conf/{device}/{name}").write_text(value)
        for device in ("lo", _DEVICE):
            tc(f"qdisc add dev {device} clsact")
        out = f"action mirred egress redirect dev {_DEVICE}"
        tc(f"filter add dev lo egress protocol ip u32 {_IS_UDP} {out}")
        back = "action mirred ingress redirect dev lo"
        tc(f"filter add dev {_DEVICE} ingress protocol ip u32 match u32 0 0 {back}")
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        tc("qdisc del dev lo clsact")
        os.close(self._fd)
        self._fd = -1

    def _read(self) -> None:
        while True:
            try:
                frame = os.read(self._fd, _LARGEST)
            except BlockingIOError:
                return
            if frame[12:14] == b"\x08\x00":
                # Its own address in front, or the kernel takes it for somebody else's.
                self.way.carry(frame, partial(self._back, _TO_US + frame[12:]))

    def _back(self, frame: bytes) -> None:
        if self._fd >= 0:  # one may be late for the end
            os.write(self._fd, frame)
