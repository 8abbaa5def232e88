"""Defaults that depend on the machine: node name, data directory, our own address."""

import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from .core.model import Address

SYSTEM_DATA_DIR = Path("/var/lib/push-proxy")
LOCAL_DATA_DIR = Path("data")


def default_node_id() -> str:
    """The host's name, reduced to what a node id may hold."""
    name = re.sub(r"[^A-Za-z0-9._~-]", "-", socket.gethostname())[:64]
    return name if name.strip(".") else "proxy-1"


def default_data_dir() -> Path:
    """``/var/lib/push-proxy`` where we may write (or make) it, else ``data`` where we stand."""
    if SYSTEM_DATA_DIR.is_dir():
        usable = os.access(SYSTEM_DATA_DIR, os.W_OK | os.X_OK)
    else:
        usable = os.access(SYSTEM_DATA_DIR.parent, os.W_OK | os.X_OK)
    return SYSTEM_DATA_DIR if usable else LOCAL_DATA_DIR.absolute()


def guess_address(listen: Iterable[Address]) -> str:
    """The address by which others most likely reach us.

    A listening address that is a particular one; else the local end of the default route
    (nothing is sent to find it out); else loopback.
    """
    addresses = tuple(listen)
    for address in addresses:
        if not ipaddress.ip_address(address.host).is_unspecified:
            return address.host
    six = bool(addresses) and all(":" in address.host for address in addresses)
    family, far = (socket.AF_INET6, "2001:db8::1") if six else (socket.AF_INET, "192.0.2.1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))
        except OSError:
            return "::1" if six else "127.0.0.1"
        return str(probe.getsockname()[0])
