"""Missed calls: those that nobody has seen yet, and that somebody has."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from ..core.ids import CallId
from ..core.missed import MissedCall
from ..core.model import Verdict
from ..errors import InvalidInput
from .access import AnyCaller, need, visible_account
from .callers import Scope
from .deps import Deps
from .fields import AccountInPath, Body, Conditions, Timestamp, View, rfc3339
from .openapi import BODY, errors

router = APIRouter(prefix="/v1/accounts/{account}/missed-calls", tags=["calls"])

MissedId = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,64}$")]


class MissedQuery(Conditions):
    """Which page of the list."""

    limit: Annotated[int, Query(ge=1, le=100)] = 50
    cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor`.")] = None


class SeenBody(Body):
    """Which ones: `ids`, or `up_to`."""

    ids: Annotated[list[MissedId], Field(min_length=1, max_length=100)] | None = Field(
        None, description="`call_id` of each.", examples=[["4b1f0a52-8a3b-4c19-9f0e-2d5a6f7c8e90"]]
    )
    up_to: MissedId | None = Field(
        None,
        description="A `call_id`: this one, and all that were missed before it. One that was "
        "missed meanwhile stays.",
    )


class MissedCallView(View):
    """A call that nobody took."""

    call_id: str = Field(description="`GET /v1/calls/{call}` tells its story.")
    sip_call_id: str
    caller_number: str = Field(description="Empty when the caller asked for privacy.")
    caller_name: str
    video: bool
    verdict: Verdict = Field(description="Why nobody took it.")
    started_at: Timestamp
    missed_at: Timestamp = Field(description="When it was over.")


class MissedCallList(View):
    """A page of missed calls, newest first."""

    missed_calls: list[MissedCallView]
    next_cursor: str | None


@router.get(
    "",
    summary="Missed calls that nobody has seen",
    response_model=MissedCallList,
    responses=errors(403, 404, 503),
)
async def list_missed_calls(
    account: AccountInPath,
    query: Annotated[MissedQuery, Query()],
    caller: AnyCaller,
    deps: Deps,
) -> MissedCallList:
    """The newest hundred of the last ninety days, newest first."""
    need(caller, Scope.CALLS)
    key = visible_account(deps.accounts, caller, account).key
    page = await deps.missed_calls.page(key, limit=query.limit, cursor=query.cursor)
    return MissedCallList(
        missed_calls=[_view(missed) for missed in page.calls], next_cursor=page.next_cursor
    )


@router.post(
    "/seen",
    summary="They were seen",
    status_code=204,
    responses=errors(*BODY, 403, 404, 503),
)
async def see_missed_calls(
    account: AccountInPath, body: SeenBody, caller: AnyCaller, deps: Deps
) -> None:
    """On one device, for the whole account: they leave the list, and no device is told any more.

    Say it as often as you like; calls that are not in the list change nothing.
    """
    need(caller, Scope.CALLS)
    key = visible_account(deps.accounts, caller, account).key
    if (body.ids is None) == (body.up_to is None):
        raise InvalidInput("say which were seen: either ids or up_to", field="ids")
    await deps.missed_calls.see(
        key,
        [CallId(call) for call in body.ids or ()],
        up_to=None if body.up_to is None else CallId(body.up_to),
    )


def _view(missed: MissedCall) -> MissedCallView:
    return MissedCallView(
        call_id=missed.call,
        sip_call_id=missed.sip_call_id,
        caller_number=missed.caller,
        caller_name=missed.caller_name,
        video=missed.video,
        verdict=missed.verdict,
        started_at=rfc3339(missed.started_at),
        missed_at=rfc3339(missed.missed_at),
    )
