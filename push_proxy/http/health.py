"""Whether we are alive, whether calls should come here, and the metrics."""

from fastapi import APIRouter, Response
from pydantic import Field

from ..core.push_advice import push_advice
from ..observability.metrics import CONTENT_TYPE
from ..ports import AppState
from .backend import ReadyState
from .deps import Deps
from .fields import View

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])


class Alive(View):
    """The process runs."""

    status: str = "alive"


class ImpairedApp(View):
    """An app whose pushes do not go through now."""

    provider: str
    app_id: str
    state: AppState = Field(
        description="`throttled` ends by itself; `blocked` needs a person who mends credentials or "
        "configuration."
    )
    reason: str
    advice: str


class Ready(View):
    """Whether calls should be sent here."""

    status: ReadyState
    reasons: list[str] = Field(description="Why it is not `ready`, and what to do.")
    providers: list[ImpairedApp] = Field(
        [],
        description="Apps whose pushes do not go through now, from any node: so it has no part in "
        "`status`.",
    )
    left: int | None = Field(
        None,
        description="Of a service that drains: calls and MESSAGEs that have no final response yet. "
        "It ends when there are none, or when `drain.deadline_s` is over.",
    )


@router.get("/healthz", summary="Alive?")
async def healthz() -> Alive:
    """Answers as long as the process does its work."""
    return Alive()


@router.get(
    "/readyz",
    summary="Ready for calls?",
    response_model_exclude_none=True,
    responses={503: {"model": Ready, "description": "Starting or draining."}},
)
async def readyz(deps: Deps, response: Response) -> Ready:
    """200 when ready or degraded (calls still go through, something is amiss), else 503."""
    found = deps.readiness()
    if found.state in {ReadyState.STARTING, ReadyState.DRAINING}:
        response.status_code = 503
    impaired = [
        ImpairedApp(
            provider=provider,
            app_id=app.app_id,
            state=app.state,
            reason=app.reason,
            advice=push_advice(provider, app.reason),
        )
        for provider, app in found.impaired
    ]
    return Ready(
        status=found.state, reasons=list(found.reasons), providers=impaired, left=found.left
    )


@metrics_router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(deps: Deps) -> Response:
    """In the Prometheus text format."""
    return Response(deps.metrics(), headers={"Content-Type": CONTENT_TYPE})
