"""Logs of apps, handed in for whoever looks into why a phone did not ring."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, TypeVar
from uuid import uuid4

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from ..core.app_log import AppLog
from ..core.ids import AccountKey, CallId
from ..core.rates import Buckets
from ..errors import InvalidInput, NotFound
from .access import AnyCaller, own_device
from .app_log_body import MAX_BYTES, MAX_TEXT_BYTES, is_packed, kept, text_of
from .deps import Deps, HttpDeps, SharedDep
from .fields import AccountInPath, Conditions, DeviceInPath, Timestamp, View, rfc3339
from .idempotency import IdempotencyKey
from .openapi import errors
from .problems import TooManyRequests, UnsupportedType

router = APIRouter(prefix="/v1/accounts/{account}/devices/{device}/logs", tags=["devices"])

_T = TypeVar("_T")
_PACKER = ThreadPoolExecutor(1, thread_name_prefix="app-logs")
"""One at a time, even when all apps hand in their logs after an outage: calls need the rest."""
_PATHS = re.compile(r"/v1/accounts/[^/]+/devices/[^/]+/logs")
_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
_GZIP: dict[str, Any] = {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}
_SAFE = {
    # Whatever an app or a stranger behind it has written is never run in a browser.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
}

LogInPath = Annotated[
    str, Path(alias="log", pattern=r"^[0-9A-Za-z-]{1,64}$", description="`id` of a log.")
]


class UploadQuery(Conditions):
    """What the log is about."""

    call_id: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9A-Za-z-]{1,64}$",
            description="`call_id` of the push: the call that the log is about.",
        ),
    ] = None


class AppLogView(View):
    """What is known of a log."""

    id: str
    at: Timestamp = Field(description="When it came.")
    size: int = Field(description="Bytes of its text.")
    call_id: str | None = Field(description="The call that it is about, if the app said so.")


class AppLogList(View):
    """A device's logs, newest first."""

    logs: list[AppLogView]


class _Text(Response):
    media_type = "text/plain"


def upload_rates() -> Buckets:
    """How many logs a device may hand in: ten at once, then one every six seconds."""
    return Buckets(per_second=1 / 6, burst=10)


def body_limit(path: str) -> int | None:
    """How large a body may be here; None: elsewhere."""
    return MAX_BYTES if _PATHS.fullmatch(path) else None


@router.post(
    "",
    summary="Hand in a log of the app",
    status_code=201,
    response_model=AppLogView,
    responses=errors(400, 403, 404, 409, 413, 415, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": f"Text in UTF-8, at most {MAX_BYTES} bytes; or the same packed, with "
            "`Content-Encoding: gzip` or as `application/gzip`, at most "
            f"{MAX_TEXT_BYTES} bytes when unpacked.",
            "content": {**_TEXT, **_GZIP},
        }
    },
)
async def put_log(
    request: Request,
    account: AccountInPath,
    device: DeviceInPath,
    query: Annotated[UploadQuery, Query()],
    caller: AnyCaller,
    shared: SharedDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The newest five of a device are kept, for seven days.

    Best right after a call that did not ring, when the app finds out by
    `GET /v1/calls/{call}`, and when its user asks for help.
    """
    deps = shared.deps
    key = own_device(deps.accounts, caller, account, device).account
    if wait_s := shared.app_logs.take((key, device), deps.clock.now()):
        raise TooManyRequests("this device hands in too many logs", retry_after_s=wait_s)
    headers = request.headers
    packed = is_packed(headers.get("content-type", ""), headers.get("content-encoding", ""))
    if packed is None:
        raise UnsupportedType(
            "send the log as text/plain, or packed: with Content-Encoding: gzip or as "
            "application/gzip"
        )
    body = await request.body()
    call = await _call(deps, key, query.call_id)

    async def work() -> tuple[int, dict[str, Any]]:
        content, size = await _apart(partial(kept, body, packed=packed))
        log = AppLog(id=str(uuid4()), at=deps.clock.now(), size=size, call=call)
        if not await deps.store.put_app_log(key, device, log, content):
            raise NotFound(f"the account {account!r} has no device {device!r} any more")
        deps.accounts.touch_device(key, device)
        return 201, _view(log).model_dump(mode="json")

    return await shared.idempotency.once(
        request, idempotency_key, tenant=caller.tenant, secret=request.state.key, work=work
    )


@router.get(
    "",
    summary="Logs of the app",
    response_model=AppLogList,
    responses=errors(403, 404, 503),
)
async def list_logs(
    account: AccountInPath, device: DeviceInPath, caller: AnyCaller, deps: Deps
) -> AppLogList:
    """Newest first."""
    key = own_device(deps.accounts, caller, account, device).account
    return AppLogList(logs=[_view(log) for log in await deps.store.app_logs(key, device)])


@router.get(
    "/{log}",
    summary="A log's text",
    response_class=_Text,
    responses={200: {"description": "The text.", "content": _TEXT}, **errors(403, 404, 503)},
)
async def get_log(
    account: AccountInPath, device: DeviceInPath, log: LogInPath, caller: AnyCaller, deps: Deps
) -> Response:
    """As the app wrote it, to be saved as a file."""
    key = own_device(deps.accounts, caller, account, device).account
    content = await deps.store.app_log(key, device, log)
    if content is None:
        raise NotFound(f"the device {device!r} has no log {log!r}; GET …/logs lists those kept")
    text = await _apart(partial(text_of, content))
    disposition = f'attachment; filename="{account}-{device}-{log[:8]}.log"'
    return _Text(text, headers={**_SAFE, "Content-Disposition": disposition})


async def _apart(work: Callable[[], _T]) -> _T:
    """Done beside the loop: a megabyte takes 20 ms to pack, and no call waits for that."""
    return await asyncio.get_running_loop().run_in_executor(_PACKER, work)


async def _call(deps: HttpDeps, key: AccountKey, name: str | None) -> CallId | None:
    """The call that a log is about. Raises `errors.InvalidInput`."""
    if name is None:
        return None
    call = CallId(name)
    record = deps.calls.get(call) or await deps.store.get_call(call)
    if record is None or record.account != key:
        raise InvalidInput(f"the account has no call {name!r}", field="call_id")
    return call


def _view(log: AppLog) -> AppLogView:
    return AppLogView(id=log.id, at=rfc3339(log.at), size=log.size, call_id=log.call)
