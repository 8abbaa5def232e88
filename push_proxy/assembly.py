"""How the parts are put together: from settings and an open store to a running call path."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .assembly_cluster import Cluster, make_cluster
from .assembly_messages import MessagePath, open_message_path
from .assembly_wakes import WakeMemory, open_wake_memory
from .cluster.elsewhere import Elsewhere
from .cluster.leases import Leases
from .cluster.ownership import Sole
from .cluster_ports import FeedKind
from .configured import client_tls, configured_pbxes, listener_tls
from .core.model import Account
from .core.nonces import Nonces
from .core.own import OwnNames
from .core.pacing import rate_faults
from .core.payload import Privacy
from .errors import ConfigurationError
from .observability.metrics import Metrics
from .patience import patiently
from .ports import Notices, Store
from .providers.registry import Providers
from .recorder.configured import open_recorder, recorder_rules
from .recorder.recorder import Recorder
from .runtime.calls import Calls
from .runtime.challenger import Challenger
from .runtime.clock import SystemClock
from .runtime.dialog_wakes import DialogWakes
from .runtime.directory import Directory
from .runtime.draining import Intake
from .runtime.gauges import count_directory
from .runtime.idle_devices import IdleDevices
from .runtime.missed_book import MissedBook
from .runtime.missed_calls import MissedCalls
from .runtime.missed_pushes import MissedPushes
from .runtime.node_probe import NodeProbe
from .runtime.outbound import Outbound
from .runtime.outgoing_calls import OutgoingCalls
from .runtime.pbx_addresses import PbxAddresses
from .runtime.pbx_locator import DnsLocator
from .runtime.pbx_names import PbxNames
from .runtime.pbx_watch import PbxState, PbxWatch
from .runtime.push_services import push_services
from .runtime.pusher import Pusher
from .runtime.reaping import Reaping
from .runtime.refresh_pushes import RefreshPushes
from .runtime.refreshing import Refreshing
from .runtime.registrar import Registrar
from .runtime.registration_losses import RegistrationLosses
from .runtime.registrations import Registrations
from .runtime.replacing import Replacing
from .runtime.restoring import Restoring
from .runtime.router import Router
from .runtime.service_routes import ServiceRoutes
from .runtime.tokens import Tokens
from .runtime.wake_looks import WakeLooks
from .runtime.wakes import Wakes
from .runtime.witness import Witness
from .settings import Settings
from .signaling.contract import Signaling, StackSettings
from .signaling.facts import Fact

_KEY_BYTES = 32
_FAREWELL_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPath:
    """Everything between the SIP stack and the store."""

    signaling: Signaling
    own: OwnNames
    directory: Directory
    calls: Calls
    outgoing: OutgoingCalls
    intake: Intake
    unanswered: Callable[[], int]
    """Calls and MESSAGEs without a final response, in either direction."""
    recorder: Recorder
    message_path: MessagePath
    wake_memory: WakeMemory
    missed_book: MissedBook
    missed_pushes: MissedPushes
    wakes: Wakes
    leases: Leases | Sole
    reaping: Reaping
    alone: Callable[[], bool]
    """No other node lives."""
    service_routes: ServiceRoutes
    registrations: Registrations
    losses: RegistrationLosses
    watch: PbxWatch
    addresses: PbxAddresses
    providers: Providers
    pusher: Pusher
    idle: IdleDevices
    refresh_pushes: RefreshPushes
    refreshing: Refreshing
    metrics: Metrics
    stack_ended: asyncio.Event
    """The SIP stack has died: only a new process helps."""
    elsewhere: Elsewhere
    looks: WakeLooks
    caught_up: Callable[[], Awaitable[None]]
    """Return when what other nodes have written is known here."""
    displaced: asyncio.Event
    """Another process has taken our place among the nodes."""

    def pbx_state(self, account: Account) -> PbxState | None:
        """How the account's PBX is, as far as it is watched."""
        pbx = self.addresses.pbx(account)
        return None if pbx is None else self.watch.state(pbx.key)

    async def reload(self, settings: Settings) -> None:
        """Take certificates and PBXs of a new configuration.

        Raises `errors.ConfigurationError` when they cannot be used; then nothing has changed.
        """
        pbxes = configured_pbxes(settings)
        if faults := rate_faults(self.directory.accounts(), pbxes):
            raise ConfigurationError("\n".join(faults))
        tls = listener_tls(settings)
        if tls is None and any(address.transport == "tls" for address in self.own.listening):
            raise ConfigurationError(
                "sip.tls: TLS is being listened on, so certificate and key must stay; a listener "
                "ends with a restart"
            )
        recording = recorder_rules(settings.recorder)
        await self.signaling.renew_tls(tls, client_tls(settings))
        self.recorder.configure(recording)
        self.registrations.reconsider(self.addresses.replace(pbxes))
        self.idle.rules = settings.devices.idle_rules()
        self.refreshing.enabled = settings.devices.refresh_pushes
        self.message_path.messages.rules = settings.messages.rules()
        self.directory.max_devices = settings.devices.max_per_account

    async def aclose(self) -> None:
        """Answer the callers who wait, stop taking SIP, then finish what waits to be written.

        Nothing is unregistered.
        """
        self.idle.aclose()
        self.reaping.aclose()
        self.refreshing.aclose()
        await self.elsewhere.aclose()
        self.looks.aclose()
        await self.refresh_pushes.aclose()
        self.wakes.end_all()
        self.message_path.messages.end_all()
        await self.signaling.stop()
        self.losses.aclose()
        self.watch.aclose()
        await self.addresses.aclose()
        self.service_routes.aclose()
        await self.registrations.aclose()
        await self.leases.aclose()
        await self.wakes.aclose()
        await self.wake_memory.aclose()
        self.outgoing.aclose()
        await self.message_path.aclose()
        await self.calls.aclose()
        await self.recorder.aclose()
        await self.missed_pushes.aclose()
        await self.missed_book.aclose()
        # Phones that were woken are being told that their calls are over.
        await self.providers.settle(within_s=_FAREWELL_S)
        await self.providers.aclose()


async def open_call_path(  # noqa: PLR0913, PLR0915 - every part is connected here
    settings: Settings,
    *,
    signaling: Signaling,
    store: Store,
    directory: Directory,
    providers: Providers,
    clock: SystemClock,
    metrics: Metrics,
    notices: Notices,
    cluster: Cluster | None = None,
) -> CallPath:
    """Bind the SIP sockets and connect every part.

    Raises `errors.ConfigurationError` (a port in use, a pace below the need) and
    `errors.StoreUnavailable`.
    """
    pbxes = configured_pbxes(settings)
    if faults := rate_faults(directory.accounts(), pbxes):
        raise ConfigurationError("\n".join(faults))
    token_key = await _secret(store, "route-token")
    nonce_key = await _secret(store, "digest-nonce")
    cluster = cluster or make_cluster(settings, store=store, clock=clock, metrics=metrics)

    inlet = _Inlet()
    await signaling.start(
        StackSettings(
            listen=settings.sip.listen_addresses,
            public_host=settings.node_address,
            own_hosts=(settings.public_address,),
            tls=listener_tls(settings),
            tls_clients=client_tls(settings),
            token_key=token_key,
            closed=True,
            cluster_keys=await patiently(cluster.token_keys),
            cluster_host=settings.sip.cluster_address or "",
        ),
        inlet.take,
    )
    own = OwnNames.of(
        [settings.public_address, settings.node_address],
        node_host=settings.contact_address,
        listening=signaling.listening(),
    )
    metrics.watch_sip(signaling.counters)
    directory.listening = signaling.listening()
    await cluster.start(signaling)
    count_directory(directory, metrics)
    addresses = PbxAddresses(
        directory,
        pbxes,
        own=own,
        clock=clock,
        names=PbxNames(DnsLocator(settings.sip.nameserver_addresses)),
    )
    await addresses.start()
    tokens = Tokens(directory=directory, clock=clock, metrics=metrics, notices=notices)
    tokens.start()
    pusher = Pusher(providers=providers, clock=clock, metrics=metrics, learn=tokens.learn)
    missed_book = MissedBook(store, news=cluster.feed)
    missed_pushes = MissedPushes(
        book=missed_book, directory=directory, pusher=pusher, clock=clock, once=cluster.once()
    )
    missed_pushes.start()
    cluster.feed.listen(FeedKind.MISSED, missed_pushes.missed_elsewhere)
    missed = MissedCalls(
        book=missed_book,
        pushes=missed_pushes,
        directory=directory,
        notices=notices,
        clock=clock,
        privacy=Privacy(settings.privacy),
    )
    wake_memory = open_wake_memory(
        store=store, directory=directory, notices=notices, clock=clock, metrics=metrics
    )
    calls = Calls(
        store=store,
        clock=clock,
        metrics=metrics,
        on_decided=missed.on_decided,
        witness=Witness(
            directory=directory,
            registration=lambda key: registrations.status(key),  # noqa: PLW0108 - made below
            wakes=wake_memory.history.summary,
        ).evidence,
        node=cluster.membership.name,
    )
    recorder = open_recorder(
        settings.recorder,
        signaling=signaling,
        directory=directory,
        store=store,
        calls=calls,
        clock=clock,
    )
    wakes = Wakes(
        signaling=signaling,
        directory=directory,
        pusher=pusher,
        store=store,
        calls=calls,
        clock=clock,
        metrics=metrics,
        settings=settings.wake.settings(),
        max_waiting=settings.wake.max_waiting,
        watcher=wake_memory.history,
        node=settings.node.id,
        host=settings.node_address,
    )
    challenger = Challenger(
        signaling=signaling,
        directory=directory,
        clock=clock,
        nonces=await _nonces(cluster, store, clock),
        key=nonce_key,
    )
    challenger.start()
    registrar = Registrar(
        signaling=signaling,
        directory=directory,
        wakes=wakes,
        clock=clock,
        challenger=challenger,
        own=own,
        services=lambda: push_services(providers, nonce_key),
    )
    registrar.start()
    cluster.on_moves(registrar.rebind)
    leases = cluster.leases(metrics)
    registrations = Registrations(
        signaling=signaling,
        directory=directory,
        store=store,
        clock=clock,
        addresses=addresses,
        own=own,
        metrics=metrics,
        ownership=leases,
    )
    watch = PbxWatch(
        signaling=signaling,
        clock=clock,
        addresses=addresses,
        registrations=registrations,
    )
    metrics.watch_pbxs(lambda: (state.reachable for state in watch.states().values()))
    message_path = open_message_path(
        settings,
        signaling=signaling,
        directory=directory,
        store=store,
        clock=clock,
        metrics=metrics,
        pusher=pusher,
        own=own,
        cluster=cluster,
    )
    outgoing = OutgoingCalls(calls=calls, clock=clock)
    service_routes = ServiceRoutes(
        own=registrations.service_route, ownership=leases, directory=directory, store=store
    )
    service_routes.start()
    outbound = Outbound(
        signaling=signaling,
        directory=directory,
        calls=outgoing,
        clock=clock,
        challenger=challenger,
        addresses=addresses,
        own=own,
        service_route=service_routes.of,
    )
    fresh_s = settings.wake.settings().fresh_s
    refresh_pushes = RefreshPushes(pusher, clock)
    refreshing = Refreshing(
        directory=directory,
        pushes=refresh_pushes,
        clock=clock,
        fresh_s=fresh_s,
        enabled=settings.devices.refresh_pushes,
    )
    refreshing.start()
    dialog_wakes = DialogWakes(
        directory=directory, pushes=refresh_pushes, calls=calls, clock=clock, fresh_s=fresh_s
    )
    dialog_wakes.start()
    replacing = Replacing(calls=calls, clock=clock)
    restoring = Restoring(
        store=store,
        signaling=signaling,
        directory=directory,
        wakes=wakes,
        clock=clock,
        node=settings.node.id,
        host=settings.node_address,
        hop=addresses.hop,
    )
    node_probe = NodeProbe(signaling, me=lambda: cluster.membership.me.sip)
    router = Router(
        signaling=signaling,
        directory=directory,
        clock=clock,
        addresses=addresses,
        registrar=registrar,
        outbound=outbound,
        wakes=wakes,
        calls=calls,
        pbx_side=watch,
        replacing=replacing,
        mailboxes=message_path.mailboxes,
        messages=message_path.messages,
        dialog_wakes=dialog_wakes,
        metrics=metrics,
        restored=restoring,
        node_asker=node_probe,
    )
    idle = IdleDevices(
        directory=directory,
        pusher=pusher,
        tokens=tokens,
        clock=clock,
        rules=settings.devices.idle_rules(),
        owns=leases.owns,
    )
    idle.start()
    cluster.membership.waiting = lambda: wakes.waiting
    _watch_levels(metrics, wakes=wakes, outbound=outbound, calls=calls)
    inlet.open(router.on_fact)
    cluster.follow(directory)
    elsewhere = cluster.elsewhere(
        metrics, calls=calls, wakes=wakes, registration=registrations.status, owns=leases.owns
    )
    calls.ended_elsewhere = elsewhere.ended
    elsewhere.start()
    looks = WakeLooks(directory, wakes.waiting_accounts)
    looks.start()
    await restoring.run()
    signaling.open()
    reaping = Reaping(
        restoring=restoring,
        members=cluster.membership,
        store=store,
        probe=node_probe,
        owns=leases.owns,
        lease_s=settings.cluster.lease_s,
    )
    cluster.on_moves(reaping.moved)
    reaping.start()
    leases.subscribe(registrations)
    await registrations.start()
    watch.start()
    losses = RegistrationLosses(
        accounts=directory,
        registrations=registrations,
        owns=leases.owns,
        notices=notices,
        clock=clock,
        on_lost=metrics.service.registration_lost,
    )
    losses.start()
    return CallPath(
        signaling=signaling,
        own=own,
        directory=directory,
        calls=calls,
        outgoing=outgoing,
        intake=router.intake,
        unanswered=lambda: (
            wakes.waiting
            + message_path.messages.waiting
            + outbound.unanswered
            + replacing.unanswered
        ),
        recorder=recorder,
        message_path=message_path,
        wake_memory=wake_memory,
        missed_book=missed_book,
        missed_pushes=missed_pushes,
        wakes=wakes,
        leases=leases,
        reaping=reaping,
        alone=lambda: not cluster.membership.others(),
        service_routes=service_routes,
        registrations=registrations,
        losses=losses,
        watch=watch,
        addresses=addresses,
        providers=providers,
        pusher=pusher,
        idle=idle,
        refresh_pushes=refresh_pushes,
        refreshing=refreshing,
        metrics=metrics,
        stack_ended=router.stack_ended,
        elsewhere=elsewhere,
        looks=looks,
        caught_up=cluster.feed.catch_up,
        displaced=cluster.membership.displaced,
    )


async def _nonces(cluster: Cluster, store: Store, clock: SystemClock) -> Nonces:
    """Good at every node; of a node alone they end with the process.

    Which ones were used is forgotten then: among several nodes those of our former life are stale.
    """
    node = cluster.membership.name
    if not node:
        return Nonces(os.urandom(_KEY_BYTES))
    key = await _secret(store, "digest-nonces")
    return Nonces(key, node=node, since=clock.now())


async def _secret(store: Store, name: str) -> bytes:
    return await patiently(lambda: store.secret(name, size=_KEY_BYTES))


def _watch_levels(metrics: Metrics, *, wakes: Wakes, outbound: Outbound, calls: Calls) -> None:
    metrics.watch_live("tasks", lambda: len(asyncio.all_tasks()))
    metrics.watch_live("ended_calls", lambda: wakes.lingering)
    metrics.watch_live("outgoing_calls", lambda: outbound.unanswered)
    metrics.watch_live("call_records", lambda: calls.in_memory)


class _Inlet:
    """Keeps the facts that come between the sockets' opening and the router's."""

    def __init__(self) -> None:
        self._early: list[Fact] = []
        self._to: Callable[[Fact], None] = self._early.append

    def take(self, fact: Fact) -> None:
        """From the stack."""
        self._to(fact)

    def open(self, to: Callable[[Fact], None]) -> None:
        """Hand over what waits, and all that follows."""
        self._to = to
        for fact in self._early:
            to(fact)
