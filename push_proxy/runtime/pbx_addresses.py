"""Addresses of PBXs: found in the background, so that no call ever waits for DNS."""

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import structlog

from ..core.locating import Located, in_order
from ..core.model import Account, Address
from ..core.next_hop import NextHop
from ..core.own import OwnNames
from ..core.pbx import (
    Endpoint,
    Pbx,
    endpoint,
    next_hop,
    pbx_of,
    server_name,
    trusted_ends,
)
from ..ports import Clock
from .changes import AccountChanged, Change
from .directory import Directory
from .pbx_health import PbxHealth
from .pbx_names import PbxNames

_log = structlog.get_logger(__name__)
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a PBX, for whoever watches it."""

    pbx: str
    """The PBX's key."""
    hop: NextHop
    uri: str
    """What a request to the server itself is addressed to."""
    every_s: float
    """How often it is to be asked; 0: never."""
    users: Mapping[str, None] = field(compare=False)
    """AORs of its accounts, in whose name it is asked: a live view."""


@dataclass(frozen=True, slots=True)
class _Site:
    """A PBX behind one endpoint."""

    pbx: str
    name: str
    profile: str
    every_s: float


_Stay = tuple[Endpoint, _Site, str]
"""Where an account sends to, and its AOR."""


class PbxAddresses:
    """Answers from memory where a PBX is, which of its servers to ask, and whom to believe."""

    def __init__(
        self,
        directory: Directory,
        pbxes: Mapping[str, Pbx],
        *,
        own: OwnNames,
        clock: Clock,
        names: PbxNames,
    ) -> None:
        self._directory = directory
        self._own = own
        self._resolved = names
        self.health = PbxHealth(clock)
        self._sites: dict[Endpoint, dict[_Site, dict[str, None]]] = {}
        self._configure(pbxes)
        self._server_listeners: list[Callable[[Endpoint], None]] = []
        names.on_resolved(lambda end: self._tell_servers((end,)))

    async def start(self, *, timeout_s: float = 5.0) -> None:
        """Look every PBX up once, as far as the time reaches; from then on keep up to date."""
        self._directory.subscribe(self._on_change)
        first: list[asyncio.Event] = []
        for pbx in self._pbxes.values():
            first += self._resolved.use(_own_ends(pbx))
        for account in self._directory.accounts():
            first += self._resolved.use(self._ends(account))
            self._move(None, self._site(account))
        try:
            async with asyncio.timeout(timeout_s):
                for tried in first:
                    await tried.wait()
        except TimeoutError:
            _log.warning("PBX names take long to resolve; going on in the background")

    async def aclose(self) -> None:
        """Stop refreshing."""
        await self._resolved.aclose()

    def on_resolved(self, listener: Callable[[Endpoint], None]) -> None:
        """Call with an endpoint whenever its servers become known or change."""
        self._resolved.on_resolved(listener)

    def on_servers(self, listener: Callable[[Endpoint], None]) -> None:
        """Call with an endpoint whenever `servers` of it changes."""
        self._server_listeners.append(listener)

    def ends(self) -> tuple[Endpoint, ...]:
        """All endpoints that requests go to, peers aside."""
        return tuple(self._sites)

    def accounts_at(self, end: Endpoint) -> Iterator[Account]:
        """Those whose requests go to this endpoint."""
        for aors in self._sites.get(end, {}).values():
            for aor in aors:
                if (account := self._directory.by_aor(aor)) is not None:
                    yield account

    def servers(self, end: Endpoint) -> tuple[Server, ...]:
        """The servers found there, once for each PBX that is behind them."""
        host = f"[{end.host}]" if ":" in end.host else end.host
        uri = f"sip:{host}" if end.port is None else f"sip:{host}:{end.port}"
        return tuple(
            Server(
                site.pbx,
                self._hop(address, site.name, site.profile),
                uri,
                site.every_s,
                aors,
            )
            for site, aors in self._sites.get(end, {}).items()
            for address in self._resolved.known(end).addresses
            if self._own.can_reach(address.host)
        )

    # where to

    def pbx(self, account: Account) -> Pbx | None:
        """The account's PBX, if it is configured."""
        return pbx_of(account, self._pbxes)

    def hop(self, account: Account) -> NextHop | None:
        """Where this account's requests toward its PBX go now; None while that is unknown.

        The first of its servers that is well and that we can reach; where none is well, the one
        that is worth asking again soonest.
        """
        hops = self.hops(account)
        if len(hops) < 2:
            return hops[0] if hops else None
        return min(hops, key=lambda hop: self.health.rank(hop.destination))

    def hops(self, account: Account) -> tuple[NextHop, ...]:
        """All its servers that we can reach, most wanted first, well or not."""
        pbx = self.pbx(account)
        end = None if pbx is None else next_hop(account, pbx)
        if pbx is None or end is None:
            return ()
        located = self._resolved.known(end)
        if len(located.targets) == 1:
            addresses = located.addresses
        else:
            addresses = in_order(located.targets, account.key)
        name = server_name(account, pbx, end)
        return tuple(
            self._hop(address, name, pbx.tls_profile)
            for address in addresses
            if self._own.can_reach(address.host)
        )

    def _hop(self, address: Address, name: str, profile: str) -> NextHop:
        local = self._own.local_for(address.host, address.transport)
        if address.transport != "tls":
            return NextHop(address, local)
        return NextHop(address, local, name, profile)

    def transport(self, account: Account) -> str:
        """How this account's PBX is reached, as far as it is known; else ``udp``."""
        pbx = self.pbx(account)
        end = None if pbx is None else next_hop(account, pbx)
        if end is None:
            return "udp"
        return end.transport or self._resolved.known(end).transport or "udp"

    # whom to believe

    def is_pbx_of(self, account: Account, host: str, names: Iterable[str] = ()) -> bool:
        """Whether a sender is the account's PBX.

        ``host`` is its IP address (any port and transport), ``names`` those of its verified
        client certificate (`facts.RequestReceived.peer_names`).
        """
        pbx = self.pbx(account)
        if pbx is None:
            return False
        if any(_has(self._resolved.known(end), host) for end in trusted_ends(account, pbx)):
            return True
        if _within(host, self._networks.get(pbx.key, ())):
            return True
        known = self._names.get(pbx.key, frozenset())
        return bool(known) and not known.isdisjoint(names)

    def is_pbx(self, host: str, names: Iterable[str] = ()) -> bool:
        """Whether it is any PBX: strangers learn nothing beyond this. As `is_pbx_of`."""
        return (
            self._resolved.is_server(host)
            or any(_within(host, networks) for networks in self._networks.values())
            or (bool(self._all_names) and not self._all_names.isdisjoint(names))
        )

    def is_pbx_itself(self, source: Address) -> bool:
        """Whether this is the very address and port that we would send a PBX's requests to."""
        return self._resolved.is_exactly(source.host, source.port)

    # keeping up to date

    def _ends(self, account: Account) -> tuple[Endpoint, ...]:
        pbx = self.pbx(account)
        return () if pbx is None else trusted_ends(account, pbx)

    def _on_change(self, change: Change) -> None:
        if not isinstance(change, AccountChanged):
            return
        old = () if change.old is None else self._ends(change.old)
        new = () if change.new is None else self._ends(change.new)
        if old != new:
            self._resolved.use(new)
            self._resolved.release(old)
        before = None if change.old is None else self._site(change.old)
        after = None if change.new is None else self._site(change.new)
        self._tell_servers(self._move(before, after))

    def replace(self, pbxes: Mapping[str, Pbx]) -> tuple[Account, ...]:
        """The configured PBXs are these from now on; returns the accounts that this concerns.

        What stays as it was keeps its addresses and its health.
        """
        keys = {*self._pbxes, *pbxes}
        changed = sorted(key for key in keys if self._pbxes.get(key) != pbxes.get(key))
        accounts = [a for a in self._directory.accounts() if a.pbx in changed]
        before = self._places(changed, accounts)
        self._configure(pbxes)
        after = self._places(changed, accounts)
        self._resolved.use(end for ends, _ in after for end in ends)
        self._resolved.release(end for ends, _ in before for end in ends)
        moved = [self._move(old[1], new[1]) for old, new in zip(before, after, strict=True)]
        self._tell_servers(dict.fromkeys(end for ends in moved for end in ends))
        return tuple(accounts)

    def _configure(self, pbxes: Mapping[str, Pbx]) -> None:
        self._pbxes = pbxes
        self._networks = {key: _networks(pbx.peers) for key, pbx in pbxes.items()}
        self._names = {key: frozenset(pbx.tls_names) for key, pbx in pbxes.items()}
        self._all_names = frozenset[str]().union(*self._names.values())

    def _places(
        self, keys: Iterable[str], accounts: Iterable[Account]
    ) -> list[tuple[tuple[Endpoint, ...], _Stay | None]]:
        """What these PBXs and accounts use, and where they send to."""
        return [
            *((_own_ends(self._pbxes.get(key)), None) for key in keys),
            *((self._ends(account), self._site(account)) for account in accounts),
        ]

    def _tell_servers(self, ends: Iterable[Endpoint]) -> None:
        for end in ends:
            for listener in self._server_listeners:
                listener(end)

    def _site(self, account: Account) -> _Stay | None:
        """Where the account sends to; a PBX that is known by its peers alone is not watched."""
        pbx = self.pbx(account)
        if pbx is None or not (ends := trusted_ends(account, pbx)):
            return None
        name = server_name(account, pbx, ends[0])
        return ends[0], _Site(pbx.key, name, pbx.tls_profile, pbx.qualify_s), account.aor

    def _move(self, before: _Stay | None, after: _Stay | None) -> list[Endpoint]:
        """Count an account here and no longer there; the endpoints whose servers changed."""
        changed = list[Endpoint]()
        if before == after:
            return changed
        if after is not None:
            end, site, aor = after
            aors = self._sites.setdefault(end, {}).setdefault(site, {})
            if not aors:
                changed.append(end)
            aors[aor] = None
        if before is not None:
            end, site, aor = before
            sites = self._sites[end]
            del sites[site][aor]
            if not sites[site]:
                del sites[site]
                changed.append(end)
            if not sites:
                del self._sites[end]
        return changed


def _own_ends(pbx: Pbx | None) -> tuple[Endpoint, ...]:
    """Where a configured PBX is, whether or not an account names it."""
    if pbx is None or pbx.registrar is None:
        return ()
    return (endpoint(pbx.registrar, default=pbx.transport),)


def _has(located: Located, host: str) -> bool:
    return any(address.host == host for address in located.addresses)


def _networks(peers: Iterable[str]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(peer) for peer in peers)


@lru_cache(maxsize=4096)  # asked several times for each request, of the same few PBXs
def _within(host: str, networks: tuple[_Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)
