"""A device as the API shows it: never its token or key."""

from pydantic import Field

from ..core.model import Device
from ..errors import NotFound
from .deps import HttpDeps
from .fields import Timestamp, View, rfc3339
from .sip_block import SipBlock, sip_block


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
