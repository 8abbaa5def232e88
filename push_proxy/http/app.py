"""The API as an ASGI app: `create_app`; with console and metrics apart: `create_admin_app`."""

from fastapi import Depends, FastAPI

from .. import __doc__ as package_text
from ..core.rates import Buckets
from ..settings import HttpSection
from ..version import VERSION
from . import (
    accounts,
    app_logs,
    calls,
    device_health,
    device_keys,
    devices,
    enrolments,
    events,
    health,
    import_export,
    live,
    missed_calls,
    openapi,
    overview,
    problems,
    pushes,
    recordings,
)
from .console.routes import router as console_router
from .deps import HttpDeps, Shared
from .gate import BodyLimit, Gate, no_repeats
from .idempotency import Idempotency

IMPORT_PATH = "/v1/accounts:import"
_BURST_S = 2.0
"""A key may use the share of so many seconds at once."""

_DESCRIPTION = """
Accounts, devices and calls of a SIP push-proxy.

Errors are problem documents (RFC 9457). Times are RFC 3339 in UTC. Lists take `limit` and
`cursor` (`next_cursor` of the page before). PUT takes `If-Match` with an `ETag`; POST takes
`Idempotency-Key`. Secrets are write-only: omitted keeps them, null removes them. Unknown
fields are refused.
"""


def create_app(deps: HttpDeps) -> FastAPI:
    """The API (`http.listen`); with console and metrics, unless `http.admin_listen` has them."""
    app = _api(deps, title="push-proxy")
    if deps.settings.http.admin_listen is None:
        _administration(app)
    openapi.describe(app)
    return app


def create_admin_app(deps: HttpDeps) -> FastAPI:
    """Console and metrics (`http.admin_listen`), and the API, from which the console reads."""
    app = _api(deps, title="push-proxy administration")
    _administration(app)
    openapi.describe(app)
    return app


def _administration(app: FastAPI) -> None:
    app.include_router(health.metrics_router)
    app.include_router(console_router)


def _api(deps: HttpDeps, *, title: str) -> FastAPI:
    http = deps.settings.http
    app = _bare_app(deps, title=title)
    for module in (
        import_export,
        accounts,
        devices,
        device_health,
        app_logs,
        device_keys,
        pushes,
        enrolments,
        calls,
        recordings,
        live,
        overview,
        missed_calls,
        events,
        health,
    ):
        app.include_router(module.router, dependencies=[Depends(no_repeats)])
    shared: Shared = app.state.shared
    app.add_middleware(
        Gate,
        callers=deps.callers,
        clock=deps.clock,
        failures=shared.failures,
        requests=Buckets(
            per_second=http.requests_per_second, burst=http.requests_per_second * _BURST_S
        ),
        caught_up=deps.caught_up,
    )
    return app


def _bare_app(deps: HttpDeps, *, title: str) -> FastAPI:
    http = deps.settings.http
    app = FastAPI(
        title=title,
        version=VERSION,
        summary=(package_text or "").partition("\n")[0],
        description=_DESCRIPTION,
        # The documentation pages load scripts from elsewhere: /openapi.json is enough.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    per_second = http.auth_failures_per_minute / 60.0
    app.state.shared = Shared(
        deps=deps,
        idempotency=Idempotency(deps.store),
        failures=Buckets(per_second=per_second, burst=http.auth_failures_per_minute),
        test_pushes=pushes.test_push_rates(),
        app_logs=app_logs.upload_rates(),
    )
    problems.install(app)
    app.add_middleware(
        BodyLimit,
        limit=lambda path: _body_limit(path, http),
    )
    return app


def _body_limit(path: str, http: HttpSection) -> int:
    if path == IMPORT_PATH:
        return http.max_import_bytes
    return app_logs.body_limit(path) or http.max_body_bytes
