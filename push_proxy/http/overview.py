"""How everything does, at a glance: the console's health view."""

from fastapi import APIRouter
from pydantic import Field

from ..cluster.node import NodeRecord, NodeState
from ..core.ids import TenantId
from ..core.model import Verdict
from ..core.push_advice import known_advice
from ..core.registration_status import RegistrationState
from ..ports import AppState
from ..runtime.survey import PbxCount
from ..runtime.wake_latency import BUCKETS_S, WakeLatency
from ..version import VERSION
from .access import CallsOperator
from .backend import ReadyState
from .deps import Deps, HttpDeps
from .fields import Timestamp, View, maybe_rfc3339, rfc3339
from .openapi import errors

router = APIRouter(prefix="/v1", tags=["health"])
_IMPAIRED = frozenset({AppState.THROTTLED, AppState.BLOCKED})


class NodeView(View):
    """The node that answers."""

    id: str
    version: str
    status: ReadyState
    reasons: list[str] = Field(description="Why it is not `ready`, and what to do.")


class ClusterNode(View):
    """One of several nodes."""

    id: str
    status: NodeState
    since: Timestamp
    version: str
    sip: str = Field(description="Where other nodes reach its SIP.")
    waiting_calls: int = Field(description="Calls there that have no final response yet.")
    this: bool = Field(description="The node that answers.")


class DeviceCounts(View):
    """Devices of all accounts."""

    total: int
    wakeable: int = Field(description="Have a push target.")
    connected: int = Field(description="Are registered with us now.")


class VerdictCount(View):
    """How many calls ended like this."""

    verdict: Verdict
    calls: int


class RecentCalls(View):
    """Calls that ended on this node within the last hour."""

    since: Timestamp = Field(description="Not longer ago than this node's start.")
    total: int
    verdicts: list[VerdictCount] = Field(description="Most frequent first.")


class ProviderView(View):
    """One app at its push provider."""

    provider: str
    app_id: str
    state: AppState
    reason: str
    advice: str = Field(description="What to do; empty while nothing is wrong.")
    credential_ends_at: Timestamp | None = Field(description="Null: it does not end.")


class PbxHealth(View):
    """One PBX and the tenant's accounts at it."""

    name: str = Field(description="As configured, else the registrar that its accounts name.")
    reachable: bool | None = Field(description="Null: not known, or not watched.")
    reason: str
    accounts: int
    registrations: dict[RegistrationState, int]


class LatencyBucket(View):
    """Wakes that took up to so long, and longer than the bucket before."""

    up_to_ms: float | None = Field(description="Null: longer than all others.")
    count: int


class LatencyView(View):
    """How fast the devices of one platform and vendor woke on this node, within a day."""

    platform: str
    vendor: str
    wakes: int
    rate: float | None = Field(description="Share of them that worked.")
    p50_ms: float | None
    p95_ms: float | None
    histogram: list[LatencyBucket]


class Overview(View):
    """The tenant's numbers, and the node's health."""

    at: Timestamp
    node: NodeView
    nodes: list[ClusterNode] = Field(description="All living nodes, by id.")
    accounts: int
    devices: DeviceCounts
    registrations: dict[RegistrationState, int]
    calls: RecentCalls
    providers: list[ProviderView]
    pbxs: list[PbxHealth] = Field(description="The worst first; not more than 100.")
    pbxs_total: int
    wake_latency: list[LatencyView] = Field(
        description="From the INVITE to the woken device's REGISTER; those with most wakes first."
    )


@router.get(
    "/overview",
    summary="How everything does",
    response_model=Overview,
    responses=errors(403),
)
async def get_overview(caller: CallsOperator, deps: Deps) -> Overview:
    """Numbers of the tenant, counted anew every five seconds; providers and node as they are."""
    count = await deps.survey.of(caller.tenant)
    ready = deps.readiness()
    return Overview(
        at=rfc3339(deps.clock.now()),
        node=NodeView(
            id=deps.settings.node.id,
            version=VERSION,
            status=ready.state,
            reasons=list(ready.reasons),
        ),
        nodes=[_node(one, deps.settings.node.id) for one in deps.elsewhere.nodes()],
        accounts=count.accounts,
        devices=DeviceCounts(
            total=count.devices, wakeable=count.wakeable, connected=count.connected
        ),
        registrations=dict(count.registrations),
        calls=_recent(deps, caller.tenant),
        providers=_providers(deps),
        pbxs=[_pbx(pbx) for pbx in count.pbxs],
        pbxs_total=count.pbxs_total,
        wake_latency=[_latency(one) for one in deps.wake_latencies.of(caller.tenant)],
    )


def _node(record: NodeRecord, me: str) -> ClusterNode:
    return ClusterNode(
        id=record.id,
        status=record.state,
        since=rfc3339(record.started_at),
        version=record.version,
        sip=str(record.sip),
        waiting_calls=record.waiting,
        this=record.id == me,
    )


def _recent(deps: HttpDeps, tenant: TenantId) -> RecentCalls:
    since, verdicts = deps.verdicts.of(tenant)
    return RecentCalls(
        since=rfc3339(since),
        total=verdicts.total(),
        verdicts=[VerdictCount(verdict=one, calls=n) for one, n in verdicts.most_common()],
    )


def _providers(deps: HttpDeps) -> list[ProviderView]:
    return [
        ProviderView(
            provider=provider,
            app_id=app.app_id,
            state=app.state,
            reason=app.reason,
            advice=known_advice(provider, app.reason) if app.state in _IMPAIRED else "",
            credential_ends_at=maybe_rfc3339(app.credential_ends_at),
        )
        for provider, app in deps.provider_health()
    ]


def _pbx(pbx: PbxCount) -> PbxHealth:
    return PbxHealth(
        name=pbx.name,
        reachable=pbx.state.reachable if pbx.state else None,
        reason=pbx.state.reason if pbx.state else "",
        accounts=pbx.accounts,
        registrations=dict(pbx.registrations),
    )


def _latency(found: WakeLatency) -> LatencyView:
    edges = (*(edge * 1000.0 for edge in BUCKETS_S), None)
    return LatencyView(
        platform=found.platform,
        vendor=found.vendor,
        wakes=found.wakes,
        rate=found.woken / found.wakes if found.wakes else None,
        p50_ms=None if found.p50_s is None else round(found.p50_s * 1000.0, 1),
        p95_ms=None if found.p95_s is None else round(found.p95_s * 1000.0, 1),
        histogram=[
            LatencyBucket(up_to_ms=edge, count=count)
            for edge, count in zip(edges, found.histogram, strict=True)
        ],
    )
