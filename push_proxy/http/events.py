"""Events that could not be delivered: look at them, replay them, forget them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from ..core.queued_event import DeadLetter
from ..events import message
from .access import AccountsOperator
from .deps import Deps, SharedDep
from .fields import Body, Conditions, Timestamp, View, rfc3339
from .idempotency import IdempotencyKey
from .openapi import BODY, errors

router = APIRouter(prefix="/v1/events", tags=["events"])

_LETTER_PATTERN = r"^[0-9A-Za-z.-]{1,128}$"
LetterId = Annotated[str, Field(pattern=_LETTER_PATTERN)]


class LettersQuery(Conditions):
    """Which page of the list."""

    limit: Annotated[int, Query(ge=1, le=500)] = 50
    cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor`.")] = None


class WhichQuery(Conditions):
    """What to forget."""

    id: Annotated[
        str | None, Query(pattern=_LETTER_PATTERN, description="Only this one. Default: all.")
    ] = None


class ReplayBody(Body):
    """Which dead letters."""

    ids: Annotated[list[LetterId], Field(min_length=1, max_length=500)] | None = Field(
        None, description="Without it: all of them."
    )


class LetterView(View):
    """An event that a webhook did not take."""

    id: str
    event: dict[str, Any] = Field(description="What the webhook was sent.")
    webhook: str = Field(description="Its host.")
    attempts: int
    last_error: str = Field(description="Like `http_404`, `timeout`, `address_refused`.")
    died_at: Timestamp


class LetterList(View):
    """A page of dead letters, newest first."""

    dead_letters: list[LetterView]
    next_cursor: str | None


class ReplayedView(View):
    """What a replay came to."""

    replayed: int = Field(description="On their way again.")
    skipped: int = Field(description="Their webhook is not configured any more: they stay.")


class DeletedView(View):
    """What a deletion came to."""

    deleted: int


@router.get(
    "/dead-letters",
    summary="Events that could not be delivered",
    response_model=LetterList,
    responses=errors(403, 503),
)
async def list_dead_letters(
    query: Annotated[LettersQuery, Query()], caller: AccountsOperator, deps: Deps
) -> LetterList:
    """The tenant's own, newest first; kept for 30 days. A page may be short."""
    page = await deps.dead_letters.page(caller.tenant, limit=query.limit, cursor=query.cursor)
    return LetterList(
        dead_letters=[_view(letter) for letter in page.letters], next_cursor=page.next_cursor
    )


@router.post(
    "/dead-letters/replay",
    summary="Deliver them once more",
    status_code=202,
    response_model=ReplayedView,
    responses=errors(*BODY, 403, 409, 503),
)
async def replay_dead_letters(
    request: Request,
    caller: AccountsOperator,
    shared: SharedDep,
    body: ReplayBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Those named, or all. Each keeps its event id; one that fails again comes back here."""
    wanted = None if body is None else body.ids

    async def work() -> tuple[int, dict[str, Any]]:
        done = await shared.deps.dead_letters.replay(caller.tenant, wanted)
        return 202, ReplayedView(replayed=done.replayed, skipped=done.skipped).model_dump()

    return await shared.idempotency.once(
        request, idempotency_key, tenant=caller.tenant, secret=request.state.key, work=work
    )


@router.delete(
    "/dead-letters",
    summary="Forget one, or all",
    response_model=DeletedView,
    responses=errors(403, 503),
)
async def delete_dead_letters(
    query: Annotated[WhichQuery, Query()], caller: AccountsOperator, deps: Deps
) -> DeletedView:
    """They are not delivered any more."""
    which = None if query.id is None else [query.id]
    return DeletedView(deleted=await deps.dead_letters.delete(caller.tenant, which))


def _view(letter: DeadLetter) -> LetterView:
    return LetterView(
        id=letter.id,
        event=message.fields(letter.event),
        webhook=letter.host,
        attempts=letter.event.attempts,
        last_error=letter.event.last_error,
        died_at=rfc3339(letter.died_at),
    )
