"""Addresses of PBXs: found in the background, so that no call ever waits for DNS."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import structlog

from ..core.ids import Instant
from ..core.locating import Located, in_order, kept_order, plain_target
from ..core.model import Account, Address
from ..core.next_hop import NextHop
from ..core.own import OwnNames
from ..core.pbx import (
    Endpoint,
    Pbx,
    endpoint,
    is_literal,
    next_hop,
    pbx_of,
    server_name,
    trusted_ends,
)
from ..core.target_health import WELL, TargetHealth, failed, heard
from ..ports import Clock
from ..tasks import spawn
from .changes import AccountChanged, Change
from .directory import Directory
from .pbx_locator import Locator

_log = structlog.get_logger(__name__)
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MIN_TTL_S, MAX_TTL_S = 10.0, 3600.0
RETRY_S = 30.0


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


@dataclass(frozen=True, slots=True)
class _Site:
    """A PBX behind one endpoint."""

    pbx: str
    name: str
    profile: str
    every_s: float


_Place = tuple[Endpoint, _Site]


class PbxAddresses:
    """Answers from memory where a PBX is, which of its servers to ask, and whom to believe.

    Names are looked up at start, when an account brings a new one, and again when the answer's
    lifetime ends; a failure keeps what is known.
    """

    def __init__(
        self,
        directory: Directory,
        pbxes: Mapping[str, Pbx],
        *,
        own: OwnNames,
        clock: Clock,
        locator: Locator,
        min_ttl_s: float = MIN_TTL_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._directory = directory
        self._own = own
        self._clock = clock
        self._locator = locator
        self._min_ttl_s = min_ttl_s
        self._retry_s = retry_s
        self._uses: Counter[Endpoint] = Counter()
        self._sites: dict[Endpoint, Counter[_Site]] = {}
        self._located: dict[Endpoint, Located] = {}
        self._keepers: dict[Endpoint, asyncio.Task[None]] = {}
        self._failed: set[Endpoint] = set()
        self._health: dict[Address, TargetHealth] = {}
        self._gone: set[Address] = set()
        self._trusted: frozenset[str] | None = None
        self._exact: frozenset[tuple[str, int]] = frozenset()
        self._configure(pbxes)
        self._turn = asyncio.Semaphore(8)
        self._listeners: list[Callable[[Endpoint], None]] = []
        self._server_listeners: list[Callable[[Endpoint], None]] = []
        self._return_listeners: list[Callable[[Address], None]] = []
        self._failure_listeners: list[Callable[[Address], None]] = []

    async def start(self, *, timeout_s: float = 5.0) -> None:
        """Look every PBX up once, as far as the time reaches; from then on keep up to date."""
        self._directory.subscribe(self._on_change)
        for pbx in self._pbxes.values():
            if (own := _own_site(pbx)) is not None:
                self._use((own[0],))
                self._move(None, own)
        for account in self._directory.accounts():
            self._use(self._ends(account))
            self._move(None, self._site(account))
        first = [self._keep(end) for end in self._uses]
        try:
            async with asyncio.timeout(timeout_s):
                for tried in first:
                    await tried.wait()
        except TimeoutError:
            _log.warning("PBX names take long to resolve; going on in the background")

    async def aclose(self) -> None:
        """Stop refreshing."""
        tasks = tuple(self._keepers.values())
        self._keepers.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def on_resolved(self, listener: Callable[[Endpoint], None]) -> None:
        """Call with an endpoint whenever its servers become known or change."""
        self._listeners.append(listener)

    def on_servers(self, listener: Callable[[Endpoint], None]) -> None:
        """Call with an endpoint whenever `servers` of it changes."""
        self._server_listeners.append(listener)

    def ends(self) -> tuple[Endpoint, ...]:
        """All endpoints that requests go to, peers aside."""
        return tuple(self._sites)

    def servers(self, end: Endpoint) -> tuple[Server, ...]:
        """The servers found there, once for each PBX that is behind them."""
        host = f"[{end.host}]" if ":" in end.host else end.host
        uri = f"sip:{host}" if end.port is None else f"sip:{host}:{end.port}"
        return tuple(
            Server(site.pbx, self._hop(address, site.name, site.profile), uri, site.every_s)
            for site in self._sites.get(end, ())
            for address in self._known(end).addresses
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
        now = self._clock.now()
        return min(
            hops,
            key=lambda hop: (
                hop.destination in self._gone,
                max(now, self.health(hop.destination).avoided_until),
            ),
        )

    def hops(self, account: Account) -> tuple[NextHop, ...]:
        """All its servers that we can reach, most wanted first, well or not."""
        pbx = self.pbx(account)
        end = None if pbx is None else next_hop(account, pbx)
        if pbx is None or end is None:
            return ()
        located = self._known(end)
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
        return end.transport or self._known(end).transport or "udp"

    # how they are

    def health(self, destination: Address) -> TargetHealth:
        """How this server is."""
        return self._health.get(destination, WELL)

    def is_well(self, destination: Address) -> bool:
        """Whether it is worth being asked."""
        gone = destination in self._gone
        return not gone and self.health(destination).is_well(self._clock.now())

    def set_gone(self, destination: Address, *, gone: bool) -> None:
        """Whoever watches this server takes it to be gone, or back."""
        if gone:
            self._gone.add(destination)
        else:
            self._gone.discard(destination)

    def on_failed(self, listener: Callable[[Address], None]) -> None:
        """Call with a server that did not answer something."""
        self._failure_listeners.append(listener)

    def on_returned(self, listener: Callable[[Address], None]) -> None:
        """Call with a server that is taken to be gone and answered something."""
        self._return_listeners.append(listener)

    def heard(self, destination: Address) -> None:
        """It answered."""
        self._health[destination] = heard(self.health(destination), now=self._clock.now())
        if destination in self._gone:
            for listener in self._return_listeners:
                listener(destination)

    def failed(
        self,
        destination: Address,
        *,
        sent_at: Instant,
        local: bool,
        retry_after_s: float | None = None,
    ) -> None:
        """It did not answer, could not be reached (``local``), or answered 503."""
        before = self.health(destination)
        now = self._clock.now()
        after = failed(before, now=now, sent_at=sent_at, local=local, retry_after_s=retry_after_s)
        self._health[destination] = after
        if before.is_well(now) and not after.is_well(now):
            _log.warning(
                "a PBX's server fails and is avoided where there is another",
                server=str(destination),
                seconds=round(after.avoided_until - now),
            )
        if local and after.heard_at <= sent_at:
            for listener in self._failure_listeners:
                listener(destination)

    # whom to believe

    def is_pbx_of(self, account: Account, host: str, names: Iterable[str] = ()) -> bool:
        """Whether a sender is the account's PBX.

        ``host`` is its IP address (any port and transport), ``names`` those of its verified
        client certificate (`facts.RequestReceived.peer_names`).
        """
        pbx = self.pbx(account)
        if pbx is None:
            return False
        if any(_has(self._known(end), host) for end in trusted_ends(account, pbx)):
            return True
        if _within(host, self._networks.get(pbx.key, ())):
            return True
        known = self._names.get(pbx.key, frozenset())
        return bool(known) and not known.isdisjoint(names)

    def is_pbx(self, host: str, names: Iterable[str] = ()) -> bool:
        """Whether it is any PBX: strangers learn nothing beyond this. As `is_pbx_of`."""
        return (
            host in self._trust()
            or any(_within(host, networks) for networks in self._networks.values())
            or (bool(self._all_names) and not self._all_names.isdisjoint(names))
        )

    def is_pbx_itself(self, source: Address) -> bool:
        """Whether this is the very address and port that we would send a PBX's requests to."""
        self._trust()
        return (source.host, source.port) in self._exact

    def _trust(self) -> frozenset[str]:
        if self._trusted is None:
            self._exact = frozenset(
                (address.host, address.port)
                for end in self._uses
                for address in self._known(end).addresses
            )
            self._trusted = frozenset(host for host, _ in self._exact)
        return self._trusted

    # keeping up to date

    def _known(self, end: Endpoint) -> Located:
        return _literal(end) if is_literal(end.host) else self._located.get(end, _NOTHING)

    def _ends(self, account: Account) -> tuple[Endpoint, ...]:
        pbx = self.pbx(account)
        return () if pbx is None else trusted_ends(account, pbx)

    def _on_change(self, change: Change) -> None:
        if not isinstance(change, AccountChanged):
            return
        old = () if change.old is None else self._ends(change.old)
        new = () if change.new is None else self._ends(change.new)
        if old != new:
            self._use(new)
            self._release(old)
            for end in new:
                self._keep(end)
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
        self._use(end for ends, _ in after for end in ends)
        self._release(end for ends, _ in before for end in ends)
        moved = [self._move(old[1], new[1]) for old, new in zip(before, after, strict=True)]
        for ends, _ in after:
            for end in ends:
                self._keep(end)
        self._tell_servers(dict.fromkeys(end for ends in moved for end in ends))
        return tuple(accounts)

    def _configure(self, pbxes: Mapping[str, Pbx]) -> None:
        self._pbxes = pbxes
        self._networks = {key: _networks(pbx.peers) for key, pbx in pbxes.items()}
        self._names = {key: frozenset(pbx.tls_names) for key, pbx in pbxes.items()}
        self._all_names = frozenset[str]().union(*self._names.values())

    def _places(
        self, keys: Iterable[str], accounts: Iterable[Account]
    ) -> list[tuple[tuple[Endpoint, ...], _Place | None]]:
        """What these PBXs and accounts use, and where they send to."""
        own = [None if (pbx := self._pbxes.get(key)) is None else _own_site(pbx) for key in keys]
        return [
            *(((), None) if place is None else ((place[0],), place) for place in own),
            *((self._ends(account), self._site(account)) for account in accounts),
        ]

    def _tell_servers(self, ends: Iterable[Endpoint]) -> None:
        for end in ends:
            for listener in self._server_listeners:
                listener(end)

    def _site(self, account: Account) -> _Place | None:
        """Where the account sends to; a PBX that is known by its peers alone is not watched."""
        pbx = self.pbx(account)
        if pbx is None or not (ends := trusted_ends(account, pbx)):
            return None
        name = server_name(account, pbx, ends[0])
        return ends[0], _Site(pbx.key, name, pbx.tls_profile, pbx.qualify_s)

    def _move(self, before: _Place | None, after: _Place | None) -> list[Endpoint]:
        """Count an account here and no longer there; the endpoints whose servers changed."""
        changed = list[Endpoint]()
        if before == after:
            return changed
        if after is not None:
            end, site = after
            sites = self._sites.setdefault(end, Counter())
            sites[site] += 1
            if sites[site] == 1:
                changed.append(end)
        if before is not None:
            end, site = before
            sites = self._sites[end]
            sites[site] -= 1
            if not sites[site]:
                del sites[site]
                changed.append(end)
            if not sites:
                del self._sites[end]
        return changed

    def _use(self, ends: Iterable[Endpoint]) -> None:
        for end in ends:
            if not self._uses[end]:
                self._trusted = None
            self._uses[end] += 1

    def _release(self, ends: Iterable[Endpoint]) -> None:
        for end in ends:
            self._uses[end] -= 1
            if self._uses[end] <= 0:
                del self._uses[end]
                self._trusted = None
                self._located.pop(end, None)
                if (keeper := self._keepers.pop(end, None)) is not None:
                    keeper.cancel()

    def _keep(self, end: Endpoint) -> asyncio.Event:
        """Look it up now and again; the event is set when that has been tried once."""
        tried = asyncio.Event()
        if end in self._keepers or is_literal(end.host):
            tried.set()
        else:
            self._keepers[end] = spawn(self._keep_located(end, tried), name="address of a PBX")
        return tried

    async def _keep_located(self, end: Endpoint, tried: asyncio.Event) -> None:
        while True:
            wait_s = await self._locate(end)
            tried.set()
            await asyncio.sleep(wait_s)

    async def _locate(self, end: Endpoint) -> float:
        """Look it up; returns the seconds until the next time."""
        try:
            async with self._turn:
                found = await self._locator.locate(end)
        except (OSError, UnicodeError) as error:  # the latter: no name at all (an empty label)
            if end not in self._failed:
                _log.warning(
                    "PBX name does not resolve: check the name and this machine's DNS",
                    host=end.host,
                    error=str(error),
                    kept=[str(address) for address in self._known(end).addresses],
                )
            self._failed.add(end)
            return self._retry_s
        self._failed.discard(end)
        known = self._known(end)
        if not found.certain and known.targets:
            return self._retry_s
        found = kept_order(known, found)
        if found.targets != known.targets:
            self._located[end] = found
            self._trusted = None
            for listener in (*self._listeners, *self._server_listeners):
                listener(end)
        return min(max(found.ttl_s, self._min_ttl_s), MAX_TTL_S)


_NOTHING = Located()


def _own_site(pbx: Pbx) -> _Place | None:
    """Where a configured PBX is, whether or not an account names it."""
    if pbx.registrar is None:
        return None
    end = endpoint(pbx.registrar, default=pbx.transport)
    name = pbx.server_name or ("" if is_literal(end.host) else end.host)
    return end, _Site(pbx.key, name, pbx.tls_profile, pbx.qualify_s)


@lru_cache(maxsize=4096)
def _literal(end: Endpoint) -> Located:
    return Located(plain_target(end, (end.host,)))


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
