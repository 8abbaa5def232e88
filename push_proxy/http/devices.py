"""Devices: push targets of an account, and the keys that apps call us with."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from ..core.ids import AccountKey, DeviceId
from ..core.model import Device
from ..errors import InvalidInput, NotFound, PreconditionFailed
from . import device_body, etags
from .access import AnyCaller, check_own_device, need, visible_account, visible_device
from .callers import Caller, Scope, hashed, new_key
from .deps import Deps, HttpDeps, SharedDep
from .device_body import DeviceBody
from .fields import OWN_NAME_PATTERN, AccountInPath, DeviceInPath, Timestamp, View, rfc3339
from .idempotency import IdempotencyKey
from .openapi import BODY, ETAG_HEADER, errors
from .sip_block import SipBlock, sip_block

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


class DeviceView(View):
    """A device; never its token or key."""

    device: str
    provider: str | None = Field(description="Null: enrolled, no push target yet.")
    app_id: str | None
    token_kind: str
    has_token: bool
    has_key: bool = Field(description="A device key exists.")
    exclusive: bool
    platform: str | None
    vendor: str | None
    model: str | None
    os_version: str | None
    app_version: str | None
    install_source: str | None
    instance_id: str | None
    permissions: dict[str, bool | None]
    created_at: Timestamp
    updated_at: Timestamp
    sip: SipBlock


class DeviceList(View):
    """All devices of an account."""

    devices: list[DeviceView]


class DeviceKeyView(View):
    """A device's key, shown this once."""

    account: str
    device: str
    device_key: str


@router.put(
    "/{device}",
    summary="Register or rotate a push target",
    response_model=DeviceView,
    responses={
        200: {"headers": ETAG_HEADER},
        201: {"description": "Created", "model": DeviceView, "headers": ETAG_HEADER},
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
) -> DeviceView:
    """Repeat it freely: the device's key stays, and the same device again changes nothing."""
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
    new = await _apply(deps, key, device, body, once=once)
    if stored is None:
        response.status_code = 201
        response.headers["Location"] = f"/v1/accounts/{account}/devices/{device}"
    response.headers["ETag"] = etags.etag(new)
    return view(deps, new)


async def _apply(
    deps: HttpDeps, key: AccountKey, device: DeviceId, body: DeviceBody, *, once: bool
) -> Device:
    for attempt in range(_ATTEMPTS):
        stored = deps.accounts.device(key, device)
        new = device_body.changed(
            body, account=key, device=device, stored=stored, now=deps.clock.now()
        )
        if new is stored:
            return new
        try:
            await deps.accounts.put_device(new, expected_version=stored.version if stored else 0)
        except PreconditionFailed:
            if once or attempt == _ATTEMPTS - 1:
                raise
        else:
            return new
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
    return DeviceList(
        devices=[view(deps, one) for one in deps.accounts.devices(key) if _opens(caller, one)]
    )


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
    found = _visible(deps, caller, account, device)
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
    found = _visible(deps, caller, account, device)
    if not await deps.accounts.delete_device(found.account, device):
        raise NotFound(f"the account {account!r} has no device {device!r}")


@router.post(
    "/{device}/key",
    summary="Make the device a new key",
    response_model=DeviceKeyView,
    responses=errors(403, 404, 409, 412, 503),
)
async def rotate_key(
    request: Request,
    account: AccountInPath,
    device: DeviceInPath,
    caller: AnyCaller,
    shared: SharedDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The former key ends at once. The new one is shown only here."""
    deps = shared.deps
    found = _visible(deps, caller, account, device)

    async def work() -> tuple[int, dict[str, Any]]:
        return 200, (await give_key(deps, found.account, device)).model_dump()

    return await shared.idempotency.once(
        request, idempotency_key, tenant=caller.tenant, secret=request.state.key, work=work
    )


async def give_key(deps: HttpDeps, key: AccountKey, device: DeviceId) -> DeviceKeyView:
    """Give a device a new key; an unknown device begins with nothing but this key."""
    secret, now = new_key(), deps.clock.now()
    stored = deps.accounts.device(key, device)
    if stored is None:
        # No push target yet, and so nothing that it could own alone.
        new = Device(
            account=key,
            device=device,
            provider="",
            app_id="",
            token="",
            exclusive=False,
            key_sha256=hashed(secret),
            created_at=now,
            updated_at=now,
        )
    else:
        new = replace(stored, key_sha256=hashed(secret), updated_at=now, version=stored.version + 1)
    await deps.accounts.put_device(new, expected_version=stored.version if stored else 0)
    return DeviceKeyView(account=key.partition("/")[2], device=device, device_key=secret)


def _visible(deps: HttpDeps, caller: Caller, account: Any, device: DeviceId) -> Device:
    need(caller, Scope.DEVICES)
    key = visible_account(deps.accounts, caller, account).key
    check_own_device(caller, device)
    return visible_device(deps.accounts, key, device)


def _opens(caller: Caller, device: Device) -> bool:
    try:
        check_own_device(caller, device.device)
    except NotFound:
        return False
    return True


def view(deps: HttpDeps, device: Device) -> DeviceView:
    """The device as the API shows it."""
    account = deps.accounts.account(device.account)
    if account is None:
        raise NotFound("the account was deleted meanwhile")
    return DeviceView(
        device=device.device,
        provider=device.provider or None,
        app_id=device.app_id or None,
        token_kind=device.token_kind,
        has_token=bool(device.token),
        has_key=device.key_sha256 is not None,
        exclusive=device.exclusive,
        platform=device.platform,
        vendor=device.vendor,
        model=device.model,
        os_version=device.os_version,
        app_version=device.app_version,
        install_source=device.install_source,
        instance_id=device.instance_id,
        permissions=dict(device.permissions),
        created_at=rfc3339(device.created_at),
        updated_at=rfc3339(device.updated_at),
        sip=sip_block(account, deps.settings, deps.sip_listening()),
    )
