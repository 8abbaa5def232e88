"""Addresses of PBXs: resolved in the background, so that no call ever waits for DNS."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache

import structlog

from ..core.model import Account, Address
from ..core.own import OwnNames
from ..core.pbx import Endpoint, Pbx, endpoint, next_hop, pbx_of, trusted_ends
from ..tasks import spawn
from .changes import AccountChanged, Change
from .directory import Directory

_log = structlog.get_logger(__name__)
Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


async def resolve(host: str) -> tuple[str, ...]:
    """A and AAAA by the system's resolver, its order kept. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class PbxAddresses:
    """Answers from memory where a PBX is and whether an address is a PBX's.

    Names are resolved at start, when an account brings a new one, and again every
    ``refresh_s``; a failure keeps the addresses known so far.
    """

    def __init__(
        self,
        directory: Directory,
        pbxes: Mapping[str, Pbx],
        *,
        resolver: Resolve = resolve,
        refresh_s: float = 60.0,
    ) -> None:
        self._directory = directory
        self._pbxes = pbxes
        self._resolver = resolver
        self._refresh_s = refresh_s
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._failed: set[str] = set()
        self._wanted: set[Endpoint] = set()
        self._trusted: frozenset[str] | None = None
        self._exact: frozenset[tuple[str, int]] = frozenset()
        self._networks = {key: _networks(pbx.peers) for key, pbx in pbxes.items()}
        self._turn = asyncio.Semaphore(8)
        self._listeners: list[Callable[[str], None]] = []
        self._refresher: asyncio.Task[None] | None = None

    async def start(self, *, timeout_s: float = 5.0) -> None:
        """Resolve every PBX's name once, as far as the time reaches; then keep them fresh."""
        self._directory.subscribe(self._on_change)
        self._collect()
        try:
            async with asyncio.timeout(timeout_s):
                await self._resolve_all(self._wanted)
        except TimeoutError:
            _log.warning("PBX names take long to resolve; going on in the background")
        self._refresher = spawn(self._refresh_forever(), name="addresses of PBXs")

    async def aclose(self) -> None:
        """Stop refreshing."""
        if self._refresher is not None:
            self._refresher.cancel()
            await asyncio.wait((self._refresher,))
            self._refresher = None

    def on_resolved(self, listener: Callable[[str], None]) -> None:
        """Call with a host whenever its addresses become known or change."""
        self._listeners.append(listener)

    def pbx(self, account: Account) -> Pbx | None:
        """The account's PBX, if it is configured."""
        return pbx_of(account, self._pbxes)

    def destination(self, account: Account, own: OwnNames) -> Address | None:
        """Where requests of this account toward its PBX go; None while that is unknown.

        The first address that we can reach.
        """
        pbx = self.pbx(account)
        hop = None if pbx is None else next_hop(account, pbx)
        if hop is None:
            return None
        for host in self._known(hop.host):
            if own.can_reach(host):
                return Address(host, hop.port)
        return None

    def is_pbx_of(self, account: Account, host: str) -> bool:
        """Whether ``host``, an IP literal, is one of the account's PBX (any port)."""
        pbx = self.pbx(account)
        if pbx is None:
            return False
        if any(host in self._known(end.host) for end in trusted_ends(account, pbx)):
            return True
        return _within(host, self._networks.get(pbx.key, ()))

    def is_pbx(self, host: str) -> bool:
        """Whether ``host``, an IP literal, is any PBX's: strangers learn nothing beyond this."""
        return host in self._trust() or any(_within(host, n) for n in self._networks.values())

    def is_pbx_itself(self, source: Address) -> bool:
        """Whether this is the very address and port that we would send a PBX's requests to."""
        self._trust()
        return (source.host, source.port) in self._exact

    def _trust(self) -> frozenset[str]:
        if self._trusted is None:
            self._exact = frozenset(
                (host, end.port) for end in self._wanted for host in self._known(end.host)
            )
            self._trusted = frozenset(host for host, _ in self._exact)
        return self._trusted

    def _known(self, host: str) -> tuple[str, ...]:
        return (host,) if _is_literal(host) else self._addresses.get(host, ())

    def _ends(self, account: Account) -> tuple[Endpoint, ...]:
        pbx = self.pbx(account)
        return () if pbx is None else trusted_ends(account, pbx)

    def _collect(self) -> None:
        ends = {endpoint(pbx.registrar) for pbx in self._pbxes.values() if pbx.registrar}
        for account in self._directory.accounts():
            ends.update(self._ends(account))
        self._wanted, self._trusted = ends, None
        hosts = {end.host for end in ends}
        for host in self._addresses.keys() - hosts:
            del self._addresses[host]
        self._failed &= hosts

    def _on_change(self, change: Change) -> None:
        if not isinstance(change, AccountChanged) or change.new is None:
            return
        new = {end for end in self._ends(change.new) if end not in self._wanted}
        if new:
            self._wanted |= new
            self._trusted = None
            spawn(self._resolve_all(new), name="addresses of a new PBX")

    async def _resolve_all(self, ends: Iterable[Endpoint]) -> None:
        hosts = {end.host for end in ends}
        await asyncio.gather(*(self._resolve(host) for host in hosts if not _is_literal(host)))

    async def _resolve(self, host: str) -> None:
        try:
            async with self._turn:
                found = await self._resolver(host)
        except (OSError, UnicodeError) as error:  # the latter: no name at all (an empty label)
            if host not in self._failed:
                _log.warning(
                    "PBX name does not resolve: check the name and this machine's DNS",
                    host=host,
                    error=str(error),
                    kept=self._addresses.get(host, ()),
                )
            self._failed.add(host)
            return
        self._failed.discard(host)
        if found and self._addresses.get(host) != found:
            self._addresses[host] = found
            self._trusted = None
            for listener in self._listeners:
                listener(host)

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            self._collect()
            await self._resolve_all(self._wanted)


def _networks(peers: Iterable[str]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(peer) for peer in peers)


@lru_cache(maxsize=4096)  # asked several times for each request, of the same few PBXs
def _within(host: str, networks: tuple[_Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
