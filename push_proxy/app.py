"""The service as a whole: start, readiness, signals, stop."""

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog

from .advice.texts import load_texts
from .assembly import CallPath, open_call_path
from .assembly_cluster import Cluster, make_cluster
from .configured_providers import configured_providers
from .descriptors import raise_limit
from .errors import PushProxyError, StoreUnavailable
from .events.configured import configured_webhooks
from .events.hub import Events
from .http.app import create_admin_app, create_app
from .http.backend import Readiness, ReadyState
from .http.bootstrap import first_key_text, load_keys
from .http.callers import Callers, new_key
from .http.deps import HttpDeps
from .http.server import HttpServer
from .http.starting import Front
from .observability.logs import configure_logs
from .observability.metrics import Metrics
from .patience import patiently
from .ports import AppState, PushProvider, Store
from .providers.registry import Providers
from .reloading import changed_at_once, need_restart, taken_over
from .runtime.clock import SystemClock
from .runtime.directory import Directory
from .runtime.draining import Draining
from .runtime.live_feed import LiveFeed
from .runtime.store_recovery import StoreRecovery
from .runtime.store_watch import StoreWatch
from .runtime.survey import Survey
from .runtime.verdict_counts import VerdictCounts
from .settings import Settings
from .settings_file import load
from .settings_sip_checks import certificates_end
from .signaling.native import NativeSignaling
from .store.embedded import EmbeddedValkey
from .store.redis import RedisStore
from .store.secrets import load_key_ring
from .tasks import spawn

_log = structlog.get_logger(__name__)
_COLLECT = (20_000, 20, 100)
_IMPAIRED = frozenset({AppState.THROTTLED, AppState.BLOCKED})


class Service:
    """One running service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._metrics.set_certificates(certificates_end(settings))
        self._texts = load_texts(settings.advice.file)
        self._providers = Providers(configured_providers(settings, self._clock))
        self._metrics.watch_providers(self._providers.health)
        self._front = Front(self.readiness)
        self._metrics.service.watch(lambda: self.readiness().state)
        self._watch: StoreWatch | None = None
        self._directory: Directory | None = None
        self._callers: Callers | None = None
        self._store: Store | None = None
        self._events: Events | None = None
        self._path: CallPath | None = None
        self._draining = False
        self._reloading = asyncio.Lock()

    def readiness(self) -> Readiness:
        """Whether calls should be sent here, and why not."""
        watch, directory = self._watch, self._directory
        if self._draining:
            return self._going()
        if self._path is None or watch is None or directory is None:
            fault = watch.fault if watch is not None else "the store is being started"
            return Readiness(ReadyState.STARTING, (fault,) if fault else ())
        reasons = []
        if watch.fault:
            reasons.append(
                f"{watch.fault}: calls to known bindings go on; changes by HTTP are refused."
            )
        if directory.degraded:
            reasons.append("Bindings and tokens wait in memory until the store takes them.")
        state = ReadyState.DEGRADED if reasons else ReadyState.READY
        impaired = tuple(each for each in self._providers.health() if each[1].state in _IMPAIRED)
        return Readiness(state, tuple(reasons), impaired)

    def _going(self) -> Readiness:
        left = 0 if self._path is None else self._path.unanswered()
        waits = f" {left} calls and messages are left." if left else ""
        return Readiness(ReadyState.DRAINING, (f"The service is stopping.{waits}",), left=left)

    async def run(self, stopping: asyncio.Event, impatient: asyncio.Event | None = None) -> None:
        """Start everything, serve until ``stopping``, finish what is begun, stop everything.

        ``impatient`` ends what would still be finished: whoever waits then is answered at once.

        Raises `errors.ConfigurationError` when the configuration cannot be served, and
        `errors.PushProxyError` when the SIP stack has died.
        """
        async with AsyncExitStack() as stack:
            http = self._settings.http
            server = HttpServer(self._front, http.listen_address, key="http.listen")
            await server.start()
            stack.push_async_callback(server.stop)
            await _unless(stopping, self._open(stack))
            if self._path is not None:
                listening = ", ".join(str(address) for address in self._path.own.listening)
                _log.info("starting -> ready", sip=listening)
                await _first(stopping, self._path.stack_ended, self._path.displaced)
                _log.info("ready -> draining", left=self._path.unanswered())
                self._draining = True
                await self._drain(self._path, impatient or asyncio.Event())
            self._draining = True
        if self._path is not None and self._path.stack_ended.is_set():
            raise PushProxyError(
                "the SIP stack has died; the log says why. Start the service again."
            )

    async def _drain(self, path: CallPath, impatient: asyncio.Event) -> None:
        rules = self._settings.drain.rules()
        path.signaling.drain(on=True)

        async def hand_over() -> None:
            await path.leases.hand_over(within_s=rules.hand_over_s)

        draining = Draining(
            rules=rules,
            left=path.unanswered,
            close=lambda: path.intake.close(alone=path.alone()),
            hand_over=hand_over,
        )
        await draining.run(impatient, path.stack_ended)

    async def _open(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        url = settings.redis.url
        where = "redis.url" if url else "the embedded Valkey"
        if url is None:
            embedded = EmbeddedValkey(settings.node.data_dir)
            await embedded.start()
            stack.push_async_callback(embedded.stop)
            url = embedded.url
        ring = load_key_ring(
            keys=settings.secrets.keys,
            key_file=settings.secrets.key_file,
            data_dir=settings.node.data_dir,
        )
        self._store = store = RedisStore(url, ring=ring, clock=self._clock)
        stack.push_async_callback(store.aclose)
        self._watch = watch = StoreWatch(store, where=where)
        cluster = make_cluster(settings, store=store, clock=self._clock, metrics=self._metrics)
        directory = Directory(
            store,
            self._clock,
            max_devices=settings.devices.max_per_account,
            nodes=cluster.membership,
            news=cluster.feed,
        )
        await watch.open(then=partial(_enter, cluster, directory))
        watch.start(StoreRecovery(store, directory, self._clock))
        stack.push_async_callback(watch.aclose)
        stack.push_async_callback(cluster.feed.aclose)
        stack.push_async_callback(directory.aclose)
        stack.push_async_callback(cluster.aclose)
        self._directory = directory
        self._events = events = Events(
            configured_webhooks(settings.events),
            store=store,
            clock=self._clock,
            meters=self._metrics.events,
        )
        self._metrics.events.watch(lambda: events.waiting, lambda: events.letters.total)
        events.start()
        stack.push_async_callback(events.aclose)
        # Before SIP is taken: the first call finds credentials and connections made.
        self._providers.start(store)
        stack.push_async_callback(self._providers.aclose)
        path = await open_call_path(
            settings,
            signaling=NativeSignaling(),
            store=store,
            directory=directory,
            providers=self._providers,
            clock=self._clock,
            metrics=self._metrics,
            notices=events,
            cluster=cluster,
        )
        stack.push_async_callback(path.aclose)
        self._callers = Callers(directory)
        await patiently(partial(_let_in, self._callers, settings, store, new_key()))
        await self._open_api(path, store, directory, self._callers, events, stack)
        # Accounts live for ever: a full collection over them would stop calls for tens of
        # milliseconds, and a young one every 700 objects costs a call several (p99 at 300
        # calls/s: 100 ms before, 4 ms after).
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        self._path = path
        # Last: what comes before takes a second of a busy machine's time, and leases are short.
        path.leases.start()

    async def _open_api(
        self,
        path: CallPath,
        store: Store,
        directory: Directory,
        callers: Callers,
        events: Events,
        stack: AsyncExitStack,
    ) -> None:
        verdicts = VerdictCounts(self._clock)
        path.calls.watch_outcomes(verdicts.on_outcome)
        live = LiveFeed(path.calls, self._clock)
        deps = HttpDeps(
            current_settings=lambda: self._settings,
            store=store,
            accounts=directory,
            clock=self._clock,
            callers=callers,
            registrations=path.registrations,
            calls=path.calls,
            wakes=path.wakes,
            elsewhere=path.elsewhere,
            caught_up=path.caught_up,
            readiness=self.readiness,
            metrics=self._metrics.render,
            serves=self._providers.serves,
            mailbox=path.message_path.mailboxes.of,
            missed_calls=path.missed_book,
            recorder=path.recorder,
            wake_history=path.wake_memory.history,
            wake_latencies=path.wake_memory.latencies,
            sip_listening=path.signaling.listening,
            pbx_state=path.pbx_state,
            dead_letters=events.letters,
            push=path.pusher.send,
            live=live,
            verdicts=verdicts,
            survey=Survey(
                directory,
                registration=path.registrations.state,
                pbx_state=path.pbx_state,
                clock=self._clock,
            ),
            provider_health=self._providers.health,
            texts=lambda: self._texts,
        )
        if (admin := self._settings.http.admin_address) is not None:
            server = HttpServer(create_admin_app(deps), admin, key="http.admin_listen")
            await server.start()
            stack.push_async_callback(server.stop)
        # Before the servers, which wait for the streams that they have open.
        stack.callback(live.close)
        self._front.open(create_app(deps))

    async def reload(self) -> None:
        """Read the configuration again: what `reloading.taken_over` names changes.

        A configuration that cannot be used is told and changes nothing.
        """
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        running = self._settings
        providers: list[PushProvider] = []
        try:
            settings = load()
            webhooks = await asyncio.to_thread(configured_webhooks, settings.events)
            texts = await asyncio.to_thread(load_texts, settings.advice.file)
            # Libraries that a provider is the first to need take half a second to import.
            providers = await asyncio.to_thread(configured_providers, settings, self._clock)
            if self._path is not None:
                await self._path.reload(settings)
        except PushProxyError as error:
            for provider in providers:
                await provider.aclose()
            _log.error("reload refused; the former configuration goes on", error=str(error))
            return
        try:
            if self._callers is not None and self._store is not None:
                await _let_in(self._callers, settings, self._store, new_key())
        except StoreUnavailable as error:
            _log.error(
                "API keys stay as they were, for those in the store cannot be read; all else is "
                "reloaded. Send SIGHUP again when the store is back",
                error=str(error),
            )
        self._providers.replace(providers)
        self._texts = texts
        if self._events is not None:
            await self._events.replace(webhooks)
        self._settings = taken_over(running, settings)
        self._metrics.set_certificates(certificates_end(self._settings))
        for warning in settings.warnings:
            if warning not in running.warnings:
                _log.warning(warning)
        if keys := need_restart(running, settings):
            _log.warning("changes that count after a restart only", keys=", ".join(keys))
        changed = ", ".join(changed_at_once(running, settings)) or "nothing in the configuration"
        _log.info(
            "configuration reloaded", changed=changed, read_again="files of keys, TLS and advice"
        )


async def serve(settings: Settings) -> int:
    """Run the service until SIGTERM or SIGINT, the second of which is obeyed at once.

    Returns the exit status.
    """
    configure_logs(settings.node.log_level)
    raise_limit()
    stopping, impatient = asyncio.Event(), asyncio.Event()
    service = Service(settings)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        (impatient if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(
        signal.SIGHUP, lambda: spawn(service.reload(), name="reload of the configuration")
    )
    await service.run(stopping, impatient)
    # Who starts us again does so after a failure: a dead SIP stack, a node that was displaced.
    return 0 if stopping.is_set() else 1


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work``; a stop cancels it. Raises what it raises."""
    limit = asyncio.timeout(None)
    try:
        async with limit:
            watcher = spawn(_expire_when(stopping, limit), name="stop while starting")
            try:
                await work
            finally:
                watcher.cancel()
    except TimeoutError:
        if not limit.expired():
            raise


async def _let_in(callers: Callers, settings: Settings, store: Store, first: str) -> None:
    """Load the API keys; ``first``, if there were none, is shown, this once."""
    if await load_keys(callers, settings, store, first):
        sys.stderr.write(first_key_text(first))
        sys.stderr.flush()


async def _enter(cluster: Cluster, directory: Directory) -> None:
    """Take our place among the nodes, then learn what there is."""
    await cluster.enter()
    await directory.load()


async def _first(*events: asyncio.Event) -> None:
    """Return when one of these is set."""
    waiting = [spawn(event.wait(), name="stop of the service") for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _expire_when(stopping: asyncio.Event, limit: asyncio.Timeout) -> None:
    await stopping.wait()
    limit.reschedule(asyncio.get_running_loop().time())
