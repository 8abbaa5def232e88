"""Whether we are alive, whether calls should come here, and the metrics."""

from fastapi import APIRouter, Response
from pydantic import Field

from ..observability.metrics import CONTENT_TYPE
from .backend import ReadyState
from .deps import Deps
from .fields import View

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])


class Alive(View):
    """The process runs."""

    status: str = "alive"


class Ready(View):
    """Whether calls should be sent here."""

    status: ReadyState
    reasons: list[str] = Field(description="Why it is not `ready`, and what to do.")


@router.get("/healthz", summary="Alive?")
async def healthz() -> Alive:
    """Answers as long as the process does its work."""
    return Alive()


@router.get(
    "/readyz",
    summary="Ready for calls?",
    responses={503: {"model": Ready, "description": "Starting or draining."}},
)
async def readyz(deps: Deps, response: Response) -> Ready:
    """200 when ready or degraded (calls still go through, something is amiss), else 503."""
    found = deps.readiness()
    if found.state in {ReadyState.STARTING, ReadyState.DRAINING}:
        response.status_code = 503
    return Ready(status=found.state, reasons=list(found.reasons))


@metrics_router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(deps: Deps) -> Response:
    """In the Prometheus text format."""
    return Response(deps.metrics(), headers={"Content-Type": CONTENT_TYPE})
