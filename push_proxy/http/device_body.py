"""The body of PUT /v1/accounts/{account}/devices/{device}, and the device it makes."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from ..core.ids import AccountKey, DeviceId
from ..core.model import Device
from ..errors import InvalidInput
from .fields import Body, Text

_EXAMPLE: JsonDict = {
    "provider": "webhook",
    "app_id": "com.example.phone",
    "token": "opaque-to-us",
    "platform": "android",
    "permissions": {"notifications": True},
}


class PermissionsBody(Body):
    """What the person and the system allow the app; null or omitted: unknown."""

    notifications: bool | None = None
    lock_screen: bool | None = None
    overlay: bool | None = None
    full_screen: bool | None = None
    sound: bool | None = None
    media: bool | None = None
    background_data: bool | None = None
    cellular_data: bool | None = None
    battery_unrestricted: bool | None = None
    battery_saver: bool | None = None
    data_saver: bool | None = None
    phone_account: bool | None = None


class DeviceBody(Body):
    """A push target. Omitted fields take their defaults; an omitted token is kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    provider: Literal["webhook"]
    app_id: Text
    token: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=4096)] | (
        None
    ) = Field(
        None,
        repr=False,
        description="What the provider knows the app installation by. Write-only: omitted keeps "
        "it, so it is needed the first time.",
    )
    token_kind: Literal["token"] = "token"  # noqa: S105 - a kind, no token
    exclusive: bool = Field(
        True,  # noqa: FBT003
        description="The same app and token leave other accounts and devices.",
    )
    platform: Text | None = Field(None, examples=["android", "ios"])
    vendor: Text | None = None
    model: Text | None = None
    os_version: Text | None = None
    app_version: Text | None = None
    install_source: Text | None = None
    instance_id: Text | None = Field(
        None, description="`+sip.instance` of the app's REGISTER (RFC 5626 §4.1)."
    )
    permissions: PermissionsBody = PermissionsBody()


def changed(
    body: DeviceBody,
    *,
    account: AccountKey,
    device: DeviceId,
    stored: Device | None,
    now: float,
) -> Device:
    """The device after this PUT; ``stored`` itself when nothing changes. Its key stays.

    Raises `errors.InvalidInput` that names the field.
    """
    token = body.token or _kept_token(body, stored)
    new = Device(
        account=account,
        device=device,
        provider=body.provider,
        app_id=body.app_id,
        token=token,
        token_kind=body.token_kind,
        exclusive=body.exclusive,
        platform=body.platform,
        vendor=body.vendor,
        model=body.model,
        os_version=body.os_version,
        app_version=body.app_version,
        install_source=body.install_source,
        instance_id=_bare_instance(body.instance_id),
        permissions={
            name: value
            for name in PermissionsBody.model_fields
            if (value := getattr(body.permissions, name)) is not None
        },
        key_sha256=stored.key_sha256 if stored else None,
        created_at=stored.created_at if stored else now,
        updated_at=stored.updated_at if stored else now,
        version=stored.version if stored else 1,
    )
    if stored is None or new == stored:
        return stored or new
    return replace(new, updated_at=now, version=stored.version + 1)


def _kept_token(body: DeviceBody, stored: Device | None) -> str:
    if "token" in body.model_fields_set:
        raise InvalidInput("token cannot be null; DELETE the device to end pushes", field="token")
    if stored is None or not stored.token:
        raise InvalidInput("token is needed: none is kept for this device", field="token")
    if (stored.provider, stored.app_id) != (body.provider, body.app_id):
        raise InvalidInput(
            "the kept token belongs to another provider or app_id; give the new one", field="token"
        )
    return stored.token


def _bare_instance(text: str | None) -> str | None:
    """As it is compared: without the quotes and angle brackets of a Contact."""
    return None if text is None else text.strip().strip('"').removeprefix("<").removesuffix(">")
