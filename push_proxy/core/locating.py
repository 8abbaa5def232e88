"""Finding a SIP server from DNS answers (RFC 3263), with a stable choice among equals (RFC 2782).

Pure: the answers are handed in. The choice is stable because an account had better stay at the
server where its registration is, whatever order the next answer comes in.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from .model import Address
from .pbx import Endpoint

TRANSPORTS = ("udp", "tcp", "tls")
_SERVICES = {"sip+d2u": "udp", "sip+d2t": "tcp", "sips+d2t": "tls"}
_PREFIXES = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
_TINY_WEIGHT = 0.01
"""Weight 0 beside others: "a very small chance" (RFC 2782)."""
_MANTISSA = 1 << 53


@dataclass(frozen=True, slots=True)
class Naptr:
    """A NAPTR record (RFC 3403)."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Srv:
    """An SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str

    @property
    def host(self) -> str:
        """The target in lower case without the final dot; empty for "not available here"."""
        return self.target.rstrip(".").lower()


@dataclass(frozen=True, slots=True)
class Target:
    """One server, with all its addresses in the order of preference."""

    name: str
    addresses: tuple[Address, ...]
    priority: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Located:
    """What DNS said about an endpoint, and for how long that holds."""

    targets: tuple[Target, ...] = ()
    ttl_s: float = 60.0
    certain: bool = True
    """False: SRV records could not be asked for, so it is a guess that there are none."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Of all targets."""
        return tuple(address for target in self.targets for address in target.addresses)

    @property
    def transport(self) -> str | None:
        """What DNS (or the URI) chose; None while nothing is known."""
        addresses = self.addresses
        return addresses[0].transport if addresses else None


def srv_name(host: str, transport: str) -> str:
    """Where SRV records of a domain stand (RFC 3263 §4.1)."""
    return _PREFIXES[transport] + host


def services(
    records: Iterable[Naptr], transports: Sequence[str] = TRANSPORTS
) -> tuple[tuple[str, str], ...]:
    """Transport and SRV name of each usable NAPTR record, best first (RFC 3263 §4.1)."""
    usable = [
        (record.order, record.preference, _SERVICES[record.service.lower()], record.replacement)
        for record in records
        if record.flags.lower() == "s" and record.service.lower() in _SERVICES
    ]
    return tuple(
        (transport, name.rstrip(".").lower())
        for _, _, transport, name in sorted(usable)
        if transport in transports
    )


def targets_of(
    records: Iterable[Srv], addresses: Mapping[str, Sequence[str]], transport: str
) -> tuple[Target, ...]:
    """The servers that SRV records name, as far as their addresses are known.

    A target of "." says that the service is decidedly not there (RFC 2782).
    """
    found: list[Target] = []
    for record in records:
        host, port = record.host, record.port
        known = tuple(Address(a, port, transport) for a in addresses.get(host, ()))
        if host and known:
            found.append(Target(f"{host}:{port}", known, record.priority, record.weight))
    return tuple(found)


def plain_target(end: Endpoint, addresses: Sequence[str]) -> tuple[Target, ...]:
    """The one server of an endpoint without SRV records, or with a port of its own."""
    if not addresses:
        return ()
    transport = end.transport or "udp"
    port = end.default_port
    return (Target(end.host, tuple(Address(a, port, transport) for a in addresses)),)


def in_order(targets: Iterable[Target], seed: str) -> tuple[Address, ...]:
    """All addresses, most wanted first: by priority, among equals by weight and ``seed``.

    Each seed has an order of its own; over many seeds first places are shared by weight. A
    target that comes or goes moves nobody who did not want it first.
    """
    ranked = sorted(targets, key=lambda target: (target.priority, _rank(target, seed)))
    return tuple(address for target in ranked for address in target.addresses)


def _rank(target: Target, seed: str) -> float:
    """An exponential variate of rate ``weight``: the smallest of several wins by weight."""
    digest = blake2b(f"{seed}|{target.name}".encode(), digest_size=8).digest()
    uniform = ((int.from_bytes(digest, "big") >> 11) + 1) / (_MANTISSA + 1)
    return -math.log(uniform) / (target.weight or _TINY_WEIGHT)


def kept_order(old: Located, new: Located) -> Located:
    """The new answer; where nothing but the order of a server's addresses differs, the old order.

    Name servers rotate addresses, and registrations had better not move each time.
    """
    before = {target.name: target.addresses for target in old.targets}
    targets = tuple(
        Target(target.name, before[target.name], target.priority, target.weight)
        if set(before.get(target.name, ())) == set(target.addresses)
        else target
        for target in new.targets
    )
    return replace(new, targets=tuple(sorted(targets, key=lambda t: (t.priority, t.name))))
