"""Devices: push targets of an account, and the keys that apps call us with."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from ..core.ids import AccountKey, DeviceId
from ..core.model import Device
from ..errors import InvalidInput, NotFound, PreconditionFailed
from ..runtime.kept_devices import Displaced
from . import device_body, etags
from .access import AnyCaller, check_own_device, need, own_device, visible_account
from .callers import App, Scope
from .deps import Deps, HttpDeps
from .device_body import DeviceBody
from .device_view import DeviceList, DeviceView, PutDeviceView, put_view, view
from .fields import OWN_NAME_PATTERN, AccountInPath, DeviceInPath
from .openapi import BODY, ETAG_HEADER, errors

router = APIRouter(prefix="/v1/accounts/{account}/devices", tags=["devices"])
_ATTEMPTS = 5

NewDeviceInPath = Annotated[
    DeviceId,
    Path(
        alias="device",
        pattern=OWN_NAME_PATTERN,
        min_length=1,
        max_length=64,
        description="The device's name, chosen by the app. A leading `~` is ours: phones known "
        "by their REGISTER only.",
        examples=["phone-1"],
    ),
]


@router.put(
    "/{device}",
    summary="Register or rotate a push target",
    response_model=PutDeviceView,
    responses={
        200: {"headers": ETAG_HEADER},
        201: {"description": "Created", "model": PutDeviceView, "headers": ETAG_HEADER},
        **errors(*BODY, 403, 404, 412, 503),
    },
)
async def put_device(
    account: AccountInPath,
    device: NewDeviceInPath,
    body: DeviceBody,
    caller: AnyCaller,
    deps: Deps,
    response: Response,
    if_match: etags.IfMatch = None,
    if_none_match: etags.IfNoneMatch = None,
) -> PutDeviceView:
    """Repeat it freely, best at each start of the app.

    The device's key stays. The same device again is no new version, but a sign of life, and its
    token counts as named now: one that had ended is used again.
    """
    need(caller, Scope.DEVICES)
    key = visible_account(deps.accounts, caller, account).key
    check_own_device(caller, device)
    if not deps.serves(body.provider, body.app_id):
        raise InvalidInput(
            f"no {body.provider} for the app {body.app_id!r} is configured; "
            f"add it under providers.{body.provider}",
            field="app_id",
        )
    stored = deps.accounts.device(key, device)
    etags.check(stored, if_match, if_none_match)
    once = if_match is not None or if_none_match is not None
    new, displaced = await _apply(deps, key, device, body, once=once)
    if stored is None:
        response.status_code = 201
        response.headers["Location"] = f"/v1/accounts/{account}/devices/{device}"
    response.headers["ETag"] = etags.etag(new)
    return put_view(deps, new, displaced)


async def _apply(
    deps: HttpDeps, key: AccountKey, device: DeviceId, body: DeviceBody, *, once: bool
) -> tuple[Device, Displaced]:
    for attempt in range(_ATTEMPTS):
        stored = deps.accounts.device(key, device)
        new = device_body.changed(
            body, account=key, device=device, stored=stored, now=deps.clock.now()
        )
        if new is stored:
            deps.accounts.touch_device(key, device, token=body.token is not None)
            return deps.accounts.device(key, device) or new, Displaced()
        try:
            displaced = await deps.accounts.put_device(
                new, expected_version=stored.version if stored else 0
            )
        except PreconditionFailed:
            if once or attempt == _ATTEMPTS - 1:
                raise
        else:
            return new, displaced
    raise AssertionError("unreachable")


@router.get(
    "",
    summary="Devices of an account",
    response_model=DeviceList,
    responses=errors(403, 404),
)
async def list_devices(account: AccountInPath, caller: AnyCaller, deps: Deps) -> DeviceList:
    """A device key sees its own device only."""
    need(caller, Scope.DEVICES)
    key = visible_account(deps.accounts, caller, account).key
    own = caller.device if isinstance(caller, App) else None
    found = (one for one in deps.accounts.devices(key) if own in {None, one.device})
    return DeviceList(devices=[view(deps, one) for one in found])


@router.get(
    "/{device}",
    summary="A device",
    response_model=DeviceView,
    responses={200: {"headers": ETAG_HEADER}, **errors(403, 404)},
)
async def get_device(
    account: AccountInPath,
    device: DeviceInPath,
    caller: AnyCaller,
    deps: Deps,
    response: Response,
) -> DeviceView:
    """With what the app needs to register with us."""
    found = own_device(deps.accounts, caller, account, device)
    response.headers["ETag"] = etags.etag(found)
    return view(deps, found)


@router.delete(
    "/{device}",
    summary="Forget a device",
    status_code=204,
    responses=errors(403, 404, 503),
)
async def delete_device(
    account: AccountInPath, device: DeviceInPath, caller: AnyCaller, deps: Deps
) -> None:
    """It gets no more pushes; its key opens nothing any more."""
    found = own_device(deps.accounts, caller, account, device)
    if not await deps.accounts.delete_device(found.account, device):
        raise NotFound(f"the account {account!r} has no device {device!r}")
