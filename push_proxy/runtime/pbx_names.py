"""Names of PBXs and what DNS says about them, kept up to date in the background."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache

import structlog

from ..core.locating import Located, kept_order, plain_target
from ..core.pbx import Endpoint, is_literal
from ..tasks import spawn
from .pbx_locator import Locator

_log = structlog.get_logger(__name__)

MIN_TTL_S, MAX_TTL_S = 10.0, 3600.0
RETRY_S = 30.0
_NOTHING = Located()


class PbxNames:
    """Endpoints in use, counted, and their servers.

    A name is looked up when it is first used and again when the answer's lifetime ends, within
    bounds; a failure keeps what is known.
    """

    def __init__(
        self, locator: Locator, *, min_ttl_s: float = MIN_TTL_S, retry_s: float = RETRY_S
    ) -> None:
        self._locator = locator
        self._min_ttl_s = min_ttl_s
        self._retry_s = retry_s
        self._uses: Counter[Endpoint] = Counter()
        self._located: dict[Endpoint, Located] = {}
        self._keepers: dict[Endpoint, asyncio.Task[None]] = {}
        self._failed: set[Endpoint] = set()
        self._turn = asyncio.Semaphore(8)
        self._listeners: list[Callable[[Endpoint], None]] = []
        self._trusted: frozenset[str] | None = None
        self._exact: frozenset[tuple[str, int]] = frozenset()

    async def aclose(self) -> None:
        """Stop looking up."""
        tasks = tuple(self._keepers.values())
        self._keepers.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def on_resolved(self, listener: Callable[[Endpoint], None]) -> None:
        """Call with an endpoint whenever its servers become known or change."""
        self._listeners.append(listener)

    def known(self, end: Endpoint) -> Located:
        """What is known of an endpoint; of an address all there is to know."""
        return _literal(end) if is_literal(end.host) else self._located.get(end, _NOTHING)

    def is_server(self, host: str) -> bool:
        """Whether any server of an endpoint in use has this IP address."""
        return host in self._trust()

    def is_exactly(self, host: str, port: int) -> bool:
        """Whether one has this address and port."""
        self._trust()
        return (host, port) in self._exact

    def use(self, ends: Iterable[Endpoint]) -> list[asyncio.Event]:
        """Count these once more; each event is set when its name has been looked up once."""
        tried = []
        for end in ends:
            if not self._uses[end]:
                self._trusted = None
            self._uses[end] += 1
            if end not in self._keepers and not is_literal(end.host):
                event = asyncio.Event()
                tried.append(event)
                self._keepers[end] = spawn(self._keep(end, event), name="address of a PBX")
        return tried

    def release(self, ends: Iterable[Endpoint]) -> None:
        """Count these once less; what nobody uses is forgotten."""
        for end in ends:
            self._uses[end] -= 1
            if self._uses[end] <= 0:
                del self._uses[end]
                self._trusted = None
                self._located.pop(end, None)
                self._failed.discard(end)
                if (keeper := self._keepers.pop(end, None)) is not None:
                    keeper.cancel()

    async def _keep(self, end: Endpoint, tried: asyncio.Event) -> None:
        while True:
            wait_s = await self.look_up(end)
            tried.set()
            await asyncio.sleep(wait_s)

    async def look_up(self, end: Endpoint) -> float:
        """Look it up now; returns the seconds until it is due again."""
        try:
            async with self._turn:
                found = await self._locator.locate(end)
        except (OSError, UnicodeError) as error:  # the latter: no name at all (an empty label)
            if end not in self._failed:
                _log.warning(
                    "PBX name does not resolve: check the name and this machine's DNS",
                    host=end.host,
                    error=str(error),
                    kept=[str(address) for address in self.known(end).addresses],
                )
            self._failed.add(end)
            return self._retry_s
        self._failed.discard(end)
        known = self.known(end)
        if not found.certain and known.targets:
            return self._retry_s
        found = kept_order(known, found)
        if found.targets != known.targets:
            self._located[end] = found
            self._trusted = None
            for listener in self._listeners:
                listener(end)
        return min(max(found.ttl_s, self._min_ttl_s), MAX_TTL_S)

    def _trust(self) -> frozenset[str]:
        if self._trusted is None:
            self._exact = frozenset(
                (address.host, address.port)
                for end in self._uses
                for address in self.known(end).addresses
            )
            self._trusted = frozenset(host for host, _ in self._exact)
        return self._trusted


@lru_cache(maxsize=4096)
def _literal(end: Endpoint) -> Located:
    return Located(plain_target(end, (end.host,)))
