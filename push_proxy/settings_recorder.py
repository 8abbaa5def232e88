"""``recorder`` of the configuration: the SIP of calls, kept and exported."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from .settings_section import Seconds, Section
from .settings_types import check_host


def parse_collector(text: str) -> tuple[str, int]:
    """``udp:HOST:PORT``, a name or an IP address (IPv6 in brackets). Raises `ValueError`."""
    transport, _, rest = text.partition(":")
    host, colon, port = rest.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if transport != "udp" or not colon or not port.isascii() or not port.isdigit():
        raise ValueError(f"{text!r} is no collector; write it like udp:homer.example.com:9060")
    if not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: {port} is no port")
    if ":" in bare and bare == host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, like udp:[::1]:9060")
    return check_host(bare), int(port)


def _check_collector(text: str) -> str:
    parse_collector(text)
    return text


class HepSection(Section):
    """``recorder.hep``: a Homer collector that gets the messages as they come (HEP 3)."""

    address: Annotated[str, AfterValidator(_check_collector)]
    capture_id: Annotated[int, Field(ge=0, le=4_294_967_295)] = 2001
    password_file: Path | None = None


class RecorderSection(Section):
    """``recorder``: the SIP messages of calls."""

    enabled: bool = False
    keep_s: Annotated[Seconds, Field(ge=60, le=30 * 86_400)] = 604_800.0
    messages_per_call: Annotated[int, Field(ge=10, le=10_000)] = 200
    bytes_per_call: Annotated[int, Field(ge=16_384, le=16_777_216)] = 262_144
    hep: HepSection | None = None
