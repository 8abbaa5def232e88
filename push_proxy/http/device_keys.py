"""Device keys: what an app calls us with."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from ..core.ids import AccountKey, DeviceId, split_account_key
from ..core.model import Device
from .access import AnyCaller, own_device
from .callers import hashed, new_key
from .deps import HttpDeps, SharedDep
from .fields import AccountInPath, DeviceInPath, View
from .idempotency import IdempotencyKey
from .openapi import errors

router = APIRouter(prefix="/v1/accounts/{account}/devices", tags=["devices"])


class DeviceKeyView(View):
    """A device's key, shown this once."""

    account: str
    device: str
    device_key: str


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
    found = own_device(deps.accounts, caller, account, device)

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
            seen_at=now,
            created_at=now,
            updated_at=now,
        )
    else:
        new = replace(stored, key_sha256=hashed(secret), updated_at=now, version=stored.version + 1)
    await deps.accounts.put_device(new, expected_version=stored.version if stored else 0)
    return DeviceKeyView(account=split_account_key(key)[1], device=device, device_key=secret)
