"""How a node's part among others is put together; with the embedded Valkey it is alone."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from .cluster.elsewhere import Elsewhere
from .cluster.feed import Feed, Follower, NoFeed
from .cluster.leases import Leases
from .cluster.membership import Membership
from .cluster.node import NodeState
from .cluster.once import Once
from .cluster.orders import Orders
from .cluster.ownership import Sole
from .observability.metrics import Metrics
from .patience import patiently
from .ports import Clock, Store
from .settings import Settings
from .settings_cluster import KEY_BYTES, node_sip
from .signaling.contract import Signaling
from .version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """This node among others."""

    membership: Membership
    feed: Feed | NoFeed
    settings: Settings
    store: Store
    clock: Clock

    async def enter(self) -> None:
        """Wait until our id is free; what others write from now on will be followed.

        Raises `errors.ConfigurationError` when it stays taken, and `errors.StoreUnavailable`.
        """
        await self.membership.enter()
        await self.feed.begin()

    async def token_keys(self) -> tuple[bytes, ...]:
        """What nodes sign requests with that they pass to one another; none: we are alone.

        Raises `errors.ConfigurationError` and `errors.StoreUnavailable`.
        """
        if not self.membership.clustered:
            return ()
        configured = self.settings.cluster.read_token_keys()
        return configured or (await self.store.secret("cluster-tokens", size=KEY_BYTES),)

    def elsewhere(self, metrics: Metrics, **here: Any) -> Elsewhere:
        """What other nodes have in memory; ``here`` is what we have (`Elsewhere`)."""
        orders = None
        if self.membership.clustered:
            orders = Orders(
                self.membership.name, store=self.store, clock=self.clock, meters=metrics.cluster
            )
        return Elsewhere(membership=self.membership, orders=orders, store=self.store, **here)

    def once(self) -> Once:
        """Which node does what several are about to do."""
        return Once(self.membership.name, self.store)

    def leases(self, metrics: Metrics) -> Leases | Sole:
        """Which accounts are ours; to be started when we are among the others."""
        if not self.membership.clustered:
            return Sole()
        return Leases(store=self.store, members=self.membership, meters=metrics.leases)

    async def start(self, signaling: Signaling) -> None:
        """Live among the others; the SIP stack follows who does. Waits for the store."""
        sip = node_sip(
            self.settings.cluster, signaling.listening(), host=self.settings.node_address
        )
        membership = self.membership

        def tell_stack() -> None:
            signaling.peers([record.sip for record in membership.alive().values()])

        if membership.clustered:
            membership.subscribe(tell_stack)
        await patiently(lambda: membership.start(sip))
        if membership.clustered:
            tell_stack()

    def on_moves(self, moved: Callable[[Collection[str]], None]) -> None:
        """Call ``moved`` with the nodes that came, went, or have another address now."""
        membership = self.membership
        known = {record.id: record.sip for record in membership.others()}

        def compare() -> None:
            found = {record.id: record.sip for record in membership.others()}
            names = {n for n in {*known, *found} if known.get(n) != found.get(n)}
            known.clear()
            known.update(found)
            if names:
                moved(names)

        membership.subscribe(compare)

    def follow(self, follower: Follower) -> None:
        """Take over what the others write, now that everybody who has to hear of it listens."""
        self.feed.start(follower)

    async def aclose(self) -> None:
        """Leave the others."""
        await self.membership.aclose()


def make_cluster(settings: Settings, *, store: Store, clock: Clock, metrics: Metrics) -> Cluster:
    """Our part; nothing runs yet."""
    sip = node_sip(settings.cluster, settings.sip.listen_addresses, host=settings.node_address)
    me = Membership.first_record(settings.node.id, sip, clock=clock, version=VERSION)
    membership = Membership(
        replace(me, state=NodeState.STARTING),
        store=store if settings.redis.url is not None else None,
        clock=clock,
        rules=settings.cluster.rules(),
    )
    if membership.clustered:
        metrics.cluster.watch(lambda: [record.state for record in membership.alive().values()])
    feed = (
        Feed(settings.node.id, store=store, clock=clock, meters=metrics.cluster)
        if membership.clustered
        else NoFeed()
    )
    return Cluster(membership=membership, feed=feed, settings=settings, store=store, clock=clock)
