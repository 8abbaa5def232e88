"""Many accounts at once, as NDJSON: one JSON object per line."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ..errors import InvalidInput
from ..tasks import spawn
from .access import AccountsOperator
from .account_view import export_row
from .deps import Deps
from .fields import Conditions
from .import_body import Batch, Upload, batches
from .import_rows import Import
from .openapi import errors
from .outbox import Outbox

router = APIRouter(prefix="/v1", tags=["accounts"])
MEDIA_TYPE = "application/x-ndjson"
_AT_ONCE = 16
"""Rows stored concurrently. Between batches the loop is free for calls."""
_UNREAD_BYTES = 32 * 2**20
"""Results kept for a client that sends all before it reads: those of some 400,000 rows."""
_PAGE = 200
_NDJSON: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}


class ImportQuery(Conditions):
    """How to import."""

    dry_run: Annotated[bool, Query(description="Check only, change nothing.")] = False


class _NdjsonResponse(StreamingResponse):
    media_type = MEDIA_TYPE


class _Duplex(_NdjsonResponse):
    """Sent while the request still arrives: its content, not the framework, receives that."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """ASGI."""
        await self.stream_response(send)


@router.post(
    "/accounts:import",
    summary="Create or replace many accounts",
    response_class=_NdjsonResponse,
    responses={
        200: {"description": "A result per row, and a summary as the last line.", **_NDJSON},
        **errors(403, 413),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "One JSON object per line: `account`, and the fields of PUT.",
            "content": {
                MEDIA_TYPE: {
                    "schema": {"type": "string"},
                    "example": '{"account": "101", "aor": "sip:101@pbx.example.com", '
                    '"registrar": "sip:pbx.example.com", "password": "a secret"}\n',
                }
            },
        }
    },
)
async def import_accounts(
    request: Request, query: Annotated[ImportQuery, Query()], caller: AccountsOperator, deps: Deps
) -> StreamingResponse:
    """A row that fails does not keep the others from being taken.

    Each line of the answer is `{"row", "account", "result"}`: `created`, `updated`,
    `unchanged`, or `failed` with `detail` and `errors`; they come while the rows still arrive.
    The last line is `{"done": true, "rows", "created", "updated", "unchanged", "failed"}`;
    without it the import was interrupted, and can be repeated as it is: rows that were taken
    are `unchanged` then.
    """
    upload = Upload(request.receive)
    limit = deps.settings.http.max_body_bytes
    found = batches(upload.chunks(), rows=_AT_ONCE, row_bytes=limit)
    try:
        first = await anext(found, None)
    except ClientDisconnect:
        first = None  # nobody reads the refusal
    if first is None:
        raise InvalidInput("the body holds no row: send one JSON object per line")
    work = Import(caller=caller, deps=deps, dry_run=query.dry_run)
    return _Duplex(_import(upload, work, first=first, others=found))


@router.get(
    "/accounts:export",
    summary="All accounts, as an import takes them",
    response_class=_NdjsonResponse,
    responses={
        200: {"description": "One account per line, without secrets.", **_NDJSON},
        **errors(403, 503),
    },
)
async def export_accounts(caller: AccountsOperator, deps: Deps) -> StreamingResponse:
    """Secrets are left out: imported again, each account keeps the one that it has."""
    first = await deps.store.list_accounts(caller.tenant, limit=_PAGE, cursor=None)

    async def lines() -> AsyncIterator[bytes]:
        page = first
        while True:
            yield b"".join(_line(export_row(account)) for account in page.accounts)
            if page.next_cursor is None:
                return
            page = await deps.store.list_accounts(
                caller.tenant, limit=_PAGE, cursor=page.next_cursor
            )

    return _NdjsonResponse(lines())


async def _import(
    upload: Upload, work: Import, *, first: Batch, others: AsyncIterator[Batch]
) -> AsyncIterator[bytes]:
    """Results as they come. Rows are taken whether or not the client reads meanwhile.

    Most clients read only when they have sent all: waiting for them would be for ever.
    """
    outbox = Outbox(_UNREAD_BYTES)
    task = spawn(_take_all(upload, work, outbox, first, others), name="import of accounts")
    task.add_done_callback(lambda _: outbox.close())
    try:
        async for piece in outbox.pieces():
            yield piece
        await task
    finally:
        task.cancel()


async def _take_all(
    upload: Upload, work: Import, outbox: Outbox, first: Batch, others: AsyncIterator[Batch]
) -> None:
    hung_up: asyncio.Task[None] | None = None
    try:
        await _take(work, first, outbox)
        async for batch in others:
            if upload.whole and hung_up is None:
                hung_up = spawn(upload.gone(), name="end of an import's client")
            if hung_up is not None and hung_up.done():
                return
            await _take(work, batch, outbox)
    except ClientDisconnect:
        return
    except HTTPException as error:
        # The answer has begun: its status can tell this no more.
        await outbox.put(_line({"done": False, "detail": error.detail}))
        return
    finally:
        if hung_up is not None:
            hung_up.cancel()
    await outbox.put(_line(work.summary()))


async def _take(work: Import, batch: Batch, outbox: Outbox) -> None:
    # Shielded: a client that hangs up must not leave a row stored that memory lacks.
    results = await asyncio.shield(
        asyncio.gather(*(work.take(number, text) for number, text in batch))
    )
    await outbox.put(b"".join(map(_line, results)))
    await asyncio.sleep(0)


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=True).encode("ascii") + b"\n"
