"""What HTTP says before the service knows its accounts: alive, but not ready, and why."""

from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .backend import Readiness

_RETRY_S = "2"


class Front:
    """The ASGI app that a server is given; what stands behind it comes when it is ready."""

    def __init__(self, readiness: Callable[[], Readiness]) -> None:
        self._readiness = readiness
        self._app: ASGIApp | None = None

    def open(self, app: ASGIApp) -> None:
        """From now on ``app`` answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        app = self._app or self._waiting(scope)
        await app(scope, receive, send)

    def _waiting(self, scope: Scope) -> ASGIApp:
        if scope.get("path") == "/healthz":
            return JSONResponse({"status": "alive"})
        found = self._readiness()
        body: dict[str, Any] = {
            "status": found.state,
            "reasons": list(found.reasons),
            "providers": [],
        }
        if scope.get("path") != "/readyz":
            body = {
                "type": "about:blank",
                "title": "Starting",
                "status": 503,
                "detail": " ".join(found.reasons) or "The service is starting; try again.",
            }
        kind = "application/json" if "reasons" in body else "application/problem+json"
        return JSONResponse(
            body, status_code=503, media_type=kind, headers={"Retry-After": _RETRY_S}
        )
