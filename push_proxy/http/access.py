"""What a caller may see and do: scopes, tenants, a device key's own corner.

What belongs to another tenant does not exist for the caller: 404, never 403.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ..core.ids import AccountId, AccountKey, DeviceId, account_key, split_account_key
from ..core.model import Account, Device
from ..errors import NotFound
from .backend import Accounts
from .callers import App, Caller, Operator, Scope
from .problems import NotAllowed

_API_KEY = HTTPBearer(
    scheme_name="apiKey",
    auto_error=False,
    description="An operator's or app backend's API key: one tenant, some of the scopes "
    "accounts, devices, calls.",
)
_DEVICE_KEY = HTTPBearer(
    scheme_name="deviceKey",
    auto_error=False,
    description="A device's key, got for a one-time enrolment code: opens its own device, its "
    "account's status, its calls and missed calls.",
)
_Credentials = HTTPAuthorizationCredentials | None


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller  # gate.Gate has put it there
    return caller


async def _either(
    request: Request,
    _api: Annotated[_Credentials, Security(_API_KEY)],
    _device: Annotated[_Credentials, Security(_DEVICE_KEY)],
) -> Caller:
    return _caller(request)


AnyCaller = Annotated[Caller, Depends(_either)]
"""An operator's key or a device's."""


def _operator_with(scope: Scope) -> Callable[..., Coroutine[Any, Any, Operator]]:
    async def operator(
        request: Request, _: Annotated[_Credentials, Security(_API_KEY)]
    ) -> Operator:
        caller = _caller(request)
        if isinstance(caller, App):
            raise NotAllowed("a device key does not open this; an API key does")
        need(caller, scope)
        return caller

    return operator


AccountsOperator = Annotated[Operator, Depends(_operator_with(Scope.ACCOUNTS))]
DevicesOperator = Annotated[Operator, Depends(_operator_with(Scope.DEVICES))]
CallsOperator = Annotated[Operator, Depends(_operator_with(Scope.CALLS))]


def need(caller: Caller, scope: Scope) -> None:
    """Raise `problems.NotAllowed` when an operator's key lacks a scope (apps have none)."""
    if isinstance(caller, Operator) and scope not in caller.scopes:
        raise NotAllowed(f"this key lacks the scope {scope}; use one that has it")


def key_of(caller: Caller, account: AccountId) -> AccountKey:
    """The account's key in the caller's tenant."""
    return account_key(caller.tenant, account)


def visible_account(accounts: Accounts, caller: Caller, account: AccountId) -> Account:
    """The account, if this caller may see it. Raises `errors.NotFound`."""
    key = key_of(caller, account)
    found = accounts.account(key)
    if found is None or (isinstance(caller, App) and caller.account != key):
        raise NotFound(f"there is no account {account!r}; GET /v1/accounts lists them")
    return found


def check_own_device(caller: Caller, device: DeviceId) -> None:
    """Raise `errors.NotFound` when a device key reaches for another device."""
    if isinstance(caller, App) and caller.device != device:
        raise NotFound(f"this key opens the device {caller.device!r} only")


def visible_device(accounts: Accounts, key: AccountKey, device: DeviceId) -> Device:
    """The device. Raises `errors.NotFound`."""
    found = accounts.device(key, device)
    if found is None:
        account = split_account_key(key)[1]
        raise NotFound(f"the account {account!r} has no device {device!r}")
    return found


def own_device(accounts: Accounts, caller: Caller, account: AccountId, device: DeviceId) -> Device:
    """The device, if this caller may handle it. Raises as the checks above."""
    need(caller, Scope.DEVICES)
    key = visible_account(accounts, caller, account).key
    check_own_device(caller, device)
    return visible_device(accounts, key, device)
