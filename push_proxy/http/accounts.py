"""Accounts: create, look at, list, erase."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from ..core.ids import AccountId
from ..core.message_summary import summary
from ..core.model import Account
from ..errors import NotFound, PreconditionFailed, StoreUnavailable
from ..ports import CallQuery
from . import account_change, etags
from .access import AccountsOperator, AnyCaller, key_of, need, visible_account
from .account_body import AccountBody
from .account_view import AccountList, AccountView, view
from .callers import App, Operator, Scope
from .deps import Deps, HttpDeps
from .device_status import statuses
from .fields import AccountInPath, Conditions
from .openapi import BODY, ETAG_HEADER, errors

router = APIRouter(prefix="/v1", tags=["accounts"])
_ATTEMPTS = 5
_RECENT_CALLS = 5


class PageQuery(Conditions):
    """Which page of a list."""

    limit: Annotated[int, Query(ge=1, le=500)] = 50
    cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor`.")] = None


@router.put(
    "/accounts/{account}",
    summary="Create or replace an account",
    response_model=AccountView,
    responses={
        200: {"headers": ETAG_HEADER},
        201: {"description": "Created", "model": AccountView, "headers": ETAG_HEADER},
        **errors(*BODY, 403, 409, 412, 503),
    },
)
async def put_account(
    account: AccountInPath,
    body: AccountBody,
    caller: AccountsOperator,
    deps: Deps,
    response: Response,
    if_match: etags.IfMatch = None,
    if_none_match: etags.IfNoneMatch = None,
) -> AccountView:
    """The same account again changes nothing and sends no SIP."""
    stored = deps.accounts.account(key_of(caller, account))
    etags.check(stored, if_match, if_none_match)
    new, created = await apply(
        deps, caller, account, body, once=if_match is not None or if_none_match is not None
    )
    if created:
        response.status_code = 201
        response.headers["Location"] = f"/v1/accounts/{account}"
    response.headers["ETag"] = etags.etag(new)
    return await _full_view(deps, new)


async def apply(
    deps: HttpDeps, caller: Operator, account: AccountId, body: AccountBody, *, once: bool = False
) -> tuple[Account, bool]:
    """Store what a body asks for; the account after it, and whether it is new.

    When another request changed the account meanwhile, decide again upon what that one left,
    except ``once``: then raise `errors.PreconditionFailed`.
    """
    key = key_of(caller, account)
    for attempt in range(_ATTEMPTS):
        stored = deps.accounts.account(key)
        new = account_change.changed(
            body,
            tenant=caller.tenant,
            account=account,
            stored=stored,
            settings=deps.settings,
            now=deps.clock.now(),
        )
        if new is stored:
            return new, False
        try:
            await deps.accounts.put_account(new, expected_version=stored.version if stored else 0)
        except PreconditionFailed:
            if once or attempt == _ATTEMPTS - 1:
                raise
        else:
            return new, stored is None
    raise AssertionError("unreachable")


@router.get(
    "/accounts/{account}",
    summary="An account and how it does",
    response_model=AccountView,
    responses={200: {"headers": ETAG_HEADER}, **errors(403, 404)},
)
async def get_account(
    account: AccountInPath, caller: AnyCaller, deps: Deps, response: Response
) -> AccountView:
    """With its registration at the PBX and its devices; a device key sees its own device."""
    need(caller, Scope.ACCOUNTS)
    found = visible_account(deps.accounts, caller, account)
    response.headers["ETag"] = etags.etag(found)
    return await _full_view(deps, found, only=caller if isinstance(caller, App) else None)


@router.get(
    "/accounts",
    summary="List accounts",
    response_model=AccountList,
    responses=errors(403, 503),
)
async def list_accounts(
    page: Annotated[PageQuery, Query()], caller: AccountsOperator, deps: Deps
) -> AccountList:
    """The tenant's accounts by name, a page at a time."""
    found = await deps.store.list_accounts(caller.tenant, limit=page.limit, cursor=page.cursor)
    registrations = await deps.elsewhere.registrations([one.key for one in found.accounts])
    views = [view(one, registrations[one.key], None) for one in found.accounts]
    return AccountList(accounts=views, next_cursor=found.next_cursor)


@router.delete(
    "/accounts/{account}",
    summary="Erase an account",
    status_code=204,
    responses=errors(403, 404, 503),
)
async def delete_account(account: AccountInPath, caller: AccountsOperator, deps: Deps) -> None:
    """With its devices and its history; it is unregistered at the PBX."""
    if not await deps.accounts.delete_account(key_of(caller, account)):
        raise NotFound(f"there is no account {account!r}")


async def _full_view(deps: HttpDeps, account: Account, *, only: App | None = None) -> AccountView:
    registration = await deps.elsewhere.registration(account.key)
    query = CallQuery(tenant=account.tenant, account=account.key, limit=_RECENT_CALLS)
    try:
        recent = (await deps.store.find_calls(query)).calls
    except StoreUnavailable:
        recent = ()  # the status shows what memory knows, even while the store is away
    devices = statuses(
        deps.accounts,
        account,
        registration,
        recent=recent,
        health=await deps.wake_history.of_account(account.key),
        only=only.device if only else None,
    )
    said = await deps.mailbox(account.key)
    return view(
        account,
        registration,
        devices,
        voicemail=summary(said) if said else None,
        missed_calls=await deps.missed_calls.count(account.key),
        pbx=deps.pbx_state(account),
    )
