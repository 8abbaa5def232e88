"""How a device has woken lately."""

from fastapi import APIRouter

from .access import AnyCaller, own_device
from .deps import Deps
from .fields import AccountInPath, DeviceInPath
from .openapi import errors
from .wake_view import DeviceWakes, wakes_view

router = APIRouter(prefix="/v1/accounts/{account}/devices/{device}", tags=["devices"])


@router.get(
    "/wakes",
    summary="How calls have woken it lately",
    response_model=DeviceWakes,
    responses=errors(403, 404, 503),
)
async def get_wakes(
    account: AccountInPath, device: DeviceInPath, caller: AnyCaller, deps: Deps
) -> DeviceWakes:
    """One entry for each call that found it asleep and was pushed to it."""
    found = own_device(deps.accounts, caller, account, device)
    return wakes_view(await deps.wake_history.of_device(found.account, device))
