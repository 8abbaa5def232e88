"""The metrics of docs/contracts.md, in a registry of their own.

No user, number or token is ever a label; values from outside pass `labels` first.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

from ..core.events import PushOutcome
from ..core.held_message import MessageResult
from ..core.model import Outcome
from ..core.outcome import FAULTS
from ..ports import AppHealth
from . import labels
from .cluster_metrics import ClusterMetrics
from .event_metrics import EventMetrics
from .lease_metrics import LeaseMetrics
from .live_levels import LiveLevels
from .provider_health import ProviderHealth
from .ring_metrics import RingMetrics
from .service_state import ServiceState
from .shed_calls import ShedCalls
from .sip_counters import SipCounters
from .wake_metrics import WakeMetrics

# Quarter seconds where people wait, and the service's own 15 s at a bucket's edge.
WAKE_BUCKETS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30)
PUSH_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 5)
# Our own share of a call's delay is measured in fractions of a millisecond.
RELAY_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One per service. Others call the methods; gauges of state are set by callables."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._reason = labels.Bounded()
        self._wake = Histogram(
            "push_proxy_wake_seconds",
            "INVITE received to the device's wake REGISTER accepted",
            ("provider", "platform", "result"),
            buckets=WAKE_BUCKETS,
            registry=registry,
        )
        self._push = Histogram(
            "push_proxy_push_seconds",
            "Push request sent to the provider's verdict",
            ("provider", "result"),
            buckets=PUSH_BUCKETS,
            registry=registry,
        )
        self._relay = Histogram(
            "push_proxy_relay_seconds",
            "Wake REGISTER accepted to INVITE sent to the device",
            buckets=RELAY_BUCKETS,
            registry=registry,
        )
        self._calls = Counter(
            "push_proxy_calls_total", "Calls ended", ("verdict", "fault"), registry=registry
        )
        # From the start: Prometheus sees no increase in a counter that begins with its first.
        for verdict, fault in FAULTS.items():
            self._calls.labels(verdict.value, fault.value)
        self._pushes = Counter(
            "push_proxy_pushes_total",
            "Pushes by what the provider made of them",
            ("provider", "type", "result"),
            registry=registry,
        )
        self.waiting_calls = Gauge(
            "push_proxy_waiting_calls", "Calls held for a device to wake", registry=registry
        )
        self.registrations = Gauge(
            "push_proxy_registrations",
            "Registrations at PBXs by state",
            ("state",),
            registry=registry,
        )
        self._registration_counts: dict[str, int] = {}
        self._attempts = Counter(
            "push_proxy_registration_attempts_total",
            "REGISTER transactions toward PBXs by result",
            ("result",),
            registry=registry,
        )
        self.bindings = Gauge("push_proxy_bindings", "Apps registered with us", registry=registry)
        self.devices = Gauge(
            "push_proxy_devices", "Devices with a push target", ("platform",), registry=registry
        )
        self._messages = Counter(
            "push_proxy_messages_total",
            "MESSAGEs from PBXs by what became of them",
            ("result",),
            registry=registry,
        )
        self._tokens_dropped = Counter(
            "push_proxy_tokens_dropped_total",
            "Push tokens that stopped being used",
            ("provider", "reason"),
            registry=registry,
        )
        self._certificates = Gauge(
            "push_proxy_certificate_expiry_timestamp_seconds",
            "When a configured TLS certificate ends",
            ("section",),
            registry=registry,
        )
        self._pbxs = Gauge(
            "push_proxy_pbxs",
            "PBXs by whether one of their servers answers",
            ("state",),
            registry=registry,
        )
        self.events = EventMetrics(registry)
        self.wakes = WakeMetrics(registry)
        self.rings = RingMetrics(registry)
        self.service = ServiceState(registry)
        self.cluster = ClusterMetrics(registry)
        self.leases = LeaseMetrics(registry)
        self._shed = ShedCalls(self._calls)
        self._sip = SipCounters()
        registry.register(self._sip)
        self._live = LiveLevels()
        registry.register(self._live)
        self._providers = ProviderHealth()
        registry.register(self._providers)
        Info("push_proxy_build", "Version of the service", registry=registry).info(
            {"version": version("push-proxy")}
        )

    def watch_pbxs(self, reachable: Callable[[], Iterable[bool | None]]) -> None:
        """Ask ``reachable`` at each scrape: for each PBX whether it answers, None for unknown."""
        for state, value in (("reachable", True), ("unreachable", False), ("unknown", None)):
            self._pbxs.labels(state).set_function(partial(_count, reachable, value))

    def watch_providers(self, health: Callable[[], Iterable[tuple[str, AppHealth]]]) -> None:
        """Ask ``health`` at each scrape: every configured app with its provider's name."""
        self._providers.watch(health)

    def wake_ended(
        self, seconds: float, *, provider: str, device_platform: str | None, result: str
    ) -> None:
        """A device's part of a wake ended; ``result``: ``registered`` or why not."""
        self._wake.labels(
            labels.provider(provider), labels.platform(device_platform), self._reason(result)
        ).observe(seconds)

    def push_answered(
        self, seconds: float, *, provider: str, push_type: str, outcome: PushOutcome
    ) -> None:
        """A provider took a push, or did not."""
        name = labels.provider(provider)
        self._push.labels(name, outcome.value).observe(seconds)
        self._pushes.labels(name, push_type, outcome.value).inc()

    def relayed(self, seconds: float) -> None:
        """A held INVITE left for the device that registered."""
        self._relay.observe(seconds)

    def call_ended(self, outcome: Outcome) -> None:
        """A call has its verdict."""
        self._calls.labels(outcome.verdict.value, outcome.fault.value).inc()

    def registration_attempted(self, result: str) -> None:
        """A REGISTER toward a PBX was answered: a status, ``timeout`` or the like."""
        self._attempts.labels(self._reason(result)).inc()

    def set_registrations(self, counts: Mapping[str, int]) -> None:
        """How many registrations are in each state now."""
        # Shown when asked for: it changes with every registration, hundreds of times a second.
        self._registration_counts = dict(counts)

    def device_counted(self, platform: str | None, difference: int) -> None:
        """One device more (1) or less (-1) of this platform, as it reports it."""
        self.devices.labels(labels.platform(platform)).inc(difference)

    def token_dropped(self, provider: str, reason: str) -> None:
        """A push token is not used any more."""
        self._tokens_dropped.labels(labels.provider(provider), self._reason(reason)).inc()

    def message_ended(self, result: MessageResult) -> None:
        """A MESSAGE was delivered, refused, kept…; a kept one is counted again at its end."""
        self._messages.labels(result.value).inc()

    def set_certificates(self, ends: Mapping[str, float]) -> None:
        """When each configured certificate ends (Unix time), by its section's name."""
        self._certificates.clear()
        for section, at in ends.items():
            self._certificates.labels(section).set(at)

    def sip_refused(self, reason: str) -> None:
        """A SIP request was refused above the stack."""
        self._sip.refused(reason)

    def watch_sip(self, counters: Callable[[], Mapping[str, int]]) -> None:
        """Read the stack's counters at each scrape."""
        self._sip.watch(counters)
        self._shed.watch(counters)
        self._live.watch_stack(counters)

    def watch_live(self, kind: str, level: Callable[[], int]) -> None:
        """Ask ``level`` at each scrape: so many of this kind are in memory."""
        self._live.watch(kind, level)

    def render(self) -> bytes:
        """All of it in Prometheus' text format (`CONTENT_TYPE`)."""
        self.registrations.clear()
        for state, count in self._registration_counts.items():
            self.registrations.labels(state).set(count)
        self._shed.count()
        return generate_latest(self.registry)


def _count(reachable: Callable[[], Iterable[bool | None]], value: bool | None) -> int:  # noqa: FBT001
    return sum(answers is value for answers in reachable())
