"""Many accounts at once, as NDJSON: one JSON object per line."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from ..core.ids import AccountId
from ..errors import InvalidInput, PushProxyError
from .access import AccountsOperator, key_of
from .account_body import ImportRow
from .account_change import changed
from .account_view import export_row
from .accounts import apply
from .callers import Operator
from .deps import Deps, HttpDeps
from .fields import Conditions
from .openapi import errors
from .problems import describe, summary

router = APIRouter(prefix="/v1", tags=["accounts"])
MEDIA_TYPE = "application/x-ndjson"
_AT_ONCE = 16
"""Rows stored concurrently. Between batches the loop is free for calls."""
_PAGE = 200
_NDJSON: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}


class ImportQuery(Conditions):
    """How to import."""

    dry_run: Annotated[bool, Query(description="Check only, change nothing.")] = False


class _NdjsonResponse(StreamingResponse):
    media_type = MEDIA_TYPE


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
    `unchanged`, or `failed` with `errors`; they come while the import goes on. The last line
    is `{"done": true, "rows", "created", "updated", "unchanged", "failed"}`; without it the
    import was interrupted, and can be repeated as it is.
    """
    # The whole body first: a client that does not read before it has sent all would wait for
    # us while we wait for it.
    rows = (await request.body()).split(b"\n")
    if not any(map(bytes.strip, rows)):
        raise InvalidInput("the body holds no row: send one JSON object per line")
    return _NdjsonResponse(_import(rows, caller=caller, deps=deps, dry_run=query.dry_run))


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
    rows: list[bytes], *, caller: Operator, deps: HttpDeps, dry_run: bool
) -> AsyncIterator[bytes]:
    counts = dict.fromkeys(("created", "updated", "unchanged", "failed"), 0)
    first_seen: dict[str, int] = {}
    total = 0
    for batch in _batches(rows):
        # Shielded: a client that hangs up must not leave a row stored that memory lacks.
        results = await asyncio.shield(
            asyncio.gather(
                *(
                    _import_row(number, text, first_seen, caller=caller, deps=deps, dry_run=dry_run)
                    for number, text in batch
                )
            )
        )
        total += len(results)
        for result in results:
            counts[result["result"]] += 1
        yield b"".join(map(_line, results))
        await asyncio.sleep(0)
    yield _line({"done": True, "dry_run": dry_run, "rows": total, **counts})


def _batches(rows: list[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    numbered = [(number, text) for number, text in enumerate(rows, 1) if text.strip()]
    for start in range(0, len(numbered), _AT_ONCE):
        yield numbered[start : start + _AT_ONCE]


async def _import_row(
    number: int,
    text: bytes,
    first_seen: dict[str, int],
    *,
    caller: Operator,
    deps: HttpDeps,
    dry_run: bool,
) -> dict[str, Any]:
    name: str | None = None
    try:
        content = _parse(text)
        name = content.get("account") if isinstance(content.get("account"), str) else None
        row = ImportRow.model_validate(content)
        if (first := first_seen.setdefault(row.account, number)) != number:
            raise InvalidInput(f"this account is in row {first} already", field="account")
        result = await _take(row, caller=caller, deps=deps, dry_run=dry_run)
    except ValidationError as error:
        found = describe(error.errors(include_url=False))
        failed = [item.model_dump() for item in found]
        return _failed(number, name, summary(found), failed)
    except PushProxyError as error:
        field = getattr(error, "field", None)
        failed = [{"field": field, "message": str(error)}] if field else []
        return _failed(number, name, str(error), failed)
    return {"row": number, "account": name, "result": result}


def _parse(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the row is no valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise InvalidInput("the row must be a JSON object")
    return content


async def _take(row: ImportRow, *, caller: Operator, deps: HttpDeps, dry_run: bool) -> str:
    account = AccountId(row.account)
    stored = deps.accounts.account(key_of(caller, account))
    if dry_run:
        new = changed(
            row,
            tenant=caller.tenant,
            account=account,
            stored=stored,
            settings=deps.settings,
            now=deps.clock.now(),
        )
        created = stored is None
    else:
        new, created = await apply(deps, caller, account, row)
    if created:
        return "created"
    return "unchanged" if new is stored else "updated"


def _failed(
    number: int, name: str | None, detail: str, fields: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "row": number,
        "account": name,
        "result": "failed",
        "detail": detail,
        "errors": fields,
    }


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=True).encode("ascii") + b"\n"
